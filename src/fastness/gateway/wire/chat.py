"""POST /v1/chat/completions: every field that the official SDK can send, supported or refused by name."""

from __future__ import annotations

from operator import attrgetter
from typing import Final, Literal

import msgspec

from fastness.config import LimitSettings
from fastness.core.error import Refusal
from fastness.core.request import ChatRequest, JsonConstraint, Sampling, Tool, ToolMode
from fastness.gateway.wire.message import WireMessage, to_messages
from fastness.gateway.wire.reading import limit, read_body, refuse_unless, unsupported
from fastness.gateway.wire.sampling import (
    StreamOptions,
    check_logit_bias,
    check_numbers,
    check_output_tokens,
    check_stop,
)
from fastness.gateway.wire.schema import check_name, check_schema
from fastness.gateway.wire.urgency import band_of_tier

_NULL: Final = msgspec.Raw(b"null")
_NO_TOOLS: Final[tuple[ToolMode, tuple[Tool, ...], JsonConstraint | None]] = (ToolMode.NONE, (), None)
_EMPTY_SCHEMA: Final = b'{"type":"object","properties":{},"additionalProperties":false}'


def _null() -> msgspec.Raw:
    """What a raw field that was not sent is; as a plain default it could not be written into the OpenAPI document."""
    return _NULL


class Function(msgspec.Struct, forbid_unknown_fields=True):
    """The function a tool offers."""

    name: str
    description: str | None = None
    parameters: msgspec.Raw = msgspec.field(default_factory=_null)
    strict: bool | None = None


class FunctionTool(msgspec.Struct, forbid_unknown_fields=True):
    """A tool; only functions exist here."""

    type: Literal["function"]
    function: Function


class FunctionName(msgspec.Struct, forbid_unknown_fields=True):
    """Names one function."""

    name: str


class NamedTool(msgspec.Struct, forbid_unknown_fields=True):
    """`tool_choice` naming one function."""

    type: Literal["function"]
    function: FunctionName


class TextFormat(msgspec.Struct, tag_field="type", tag="text", forbid_unknown_fields=True):
    """Plain text, the default."""


class JsonObjectFormat(msgspec.Struct, tag_field="type", tag="json_object", forbid_unknown_fields=True):
    """Any JSON object."""


class JsonSchema(msgspec.Struct, forbid_unknown_fields=True):
    """A named schema. It is enforced whether or not `strict` is set."""

    name: str
    schema: msgspec.Raw = msgspec.field(default_factory=_null)
    description: str | None = None
    strict: bool | None = None


class JsonSchemaFormat(msgspec.Struct, tag_field="type", tag="json_schema", forbid_unknown_fields=True):
    """JSON that fits a schema."""

    json_schema: JsonSchema


class ChatBody(msgspec.Struct, forbid_unknown_fields=True):
    """The body as it arrives. docs/reference/openai-api.md says of each field what it does here."""

    model: str
    messages: list[WireMessage]
    frequency_penalty: float | None = None
    presence_penalty: float | None = None
    temperature: float | None = None
    top_p: float | None = None
    seed: int | None = None
    stop: str | list[str] | None = None
    logit_bias: dict[str, float] | None = None
    logprobs: bool | None = None
    top_logprobs: int | None = None
    max_tokens: int | None = None
    max_completion_tokens: int | None = None
    n: int | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    tools: list[FunctionTool] | None = None
    tool_choice: Literal["none", "auto", "required"] | NamedTool | None = None
    parallel_tool_calls: bool | None = None
    response_format: TextFormat | JsonObjectFormat | JsonSchemaFormat | None = None
    service_tier: str | None = None
    # Accepted: they identify or annotate, and change no answer.
    user: str | None = None
    safety_identifier: str | None = None
    metadata: dict[str, str] | None = None
    prompt_cache_key: str | None = None
    # Accepted at the one value that is true here, refused otherwise.
    store: bool | None = None
    modalities: list[str] | None = None
    verbosity: str | None = None
    prompt_cache_retention: str | None = None
    reasoning_effort: str | None = None
    # Refused unless null.
    audio: msgspec.Raw = msgspec.field(default_factory=_null)
    prediction: msgspec.Raw = msgspec.field(default_factory=_null)
    web_search_options: msgspec.Raw = msgspec.field(default_factory=_null)
    functions: msgspec.Raw = msgspec.field(default_factory=_null)
    function_call: msgspec.Raw = msgspec.field(default_factory=_null)
    moderation: msgspec.Raw = msgspec.field(default_factory=_null)
    prompt_cache_options: msgspec.Raw = msgspec.field(default_factory=_null)


_DECODER: Final = msgspec.json.Decoder(ChatBody)
_ONLY: Final = (
    ("store", (False,), "nothing is stored here"),
    ("modalities", (["text"],), 'this model writes text only; send ["text"]'),
    ("verbosity", ("medium",), "this model has no verbosity control"),
    ("prompt_cache_retention", ("in_memory", "in-memory"), "prefixes are kept in memory only"),
    ("reasoning_effort", ("none",), "this model does not reason before it answers"),
)
_NEVER: Final = (
    ("audio", "this model writes text only"),
    ("prediction", "the engine has no predicted outputs"),
    ("web_search_options", "nothing leaves the perimeter, so nothing searches the web"),
    ("functions", "use `tools`"),
    ("function_call", "use `tool_choice`"),
    ("moderation", "there is no moderation model"),
    ("prompt_cache_options", "prefixes are cached by the engine without options"),
)


def parse_chat(raw: bytes, limits: LimitSettings) -> ChatRequest:
    """Parse a body into a request; raises Refusal naming the first field that cannot be honoured."""
    body = read_body(_DECODER, raw)
    _refuse_unsupported(body)
    mode, tools, constraint = _NO_TOOLS
    if body.tools is not None or body.tool_choice is not None:
        mode, tools = _choice(body.tool_choice, _tools(body.tools or (), limits))
    if body.response_format is not None:
        constraint = _format(body.response_format, limits)
    if constraint and mode is not ToolMode.NONE:
        raise unsupported("response_format", "it cannot be combined with tools; send tool_choice none, or no tools.")
    choices = 1
    if body.n is not None:
        choices = body.n
        refuse_unless(choices >= 1, "n", "at least 1", choices)
        limit(choices, limits.choices_max, "n", "choices")
    stream = body.stream or False
    if body.stream_options is not None and not stream:
        raise Refusal(
            "invalid_value", "`stream_options` is only allowed when `stream` is true.", param="stream_options"
        )
    return ChatRequest(
        model=body.model,
        messages=to_messages(body.messages, limits),
        sampling=_remembered(body, limits),
        choices=choices,
        stream=stream,
        include_usage=bool(body.stream_options and body.stream_options.include_usage),
        tools=tools,
        tool_mode=mode,
        parallel_tool_calls=body.parallel_tool_calls is not False,
        constraint=constraint,
        band=band_of_tier(body.service_tier),
    )


SAMPLINGS_MAX: Final = 4_096
"""Samplings that are remembered; beyond it all are forgotten and read anew."""
_SAMPLED: Final = attrgetter(
    "temperature", "top_p", "presence_penalty", "frequency_penalty", "max_tokens", "max_completion_tokens",
    "logprobs", "top_logprobs",
)  # fmt: skip
_WRITTEN: Final = attrgetter("seed", "stop", "logit_bias", "metadata")
_NOTHING_WRITTEN: Final = (None,) * 4
_samplings: Final[dict[tuple[object, ...], tuple[LimitSettings, Sampling]]] = {}


def _remembered(body: ChatBody, limits: LimitSettings) -> Sampling:
    """Return the sampling. Clients repeat theirs: the same numbers give the same object, read and checked once.

    What a caller writes freely (a seed, stop sequences, biases) is not kept.
    """
    if _WRITTEN(body) != _NOTHING_WRITTEN:
        return _sampling(body, limits)
    numbers = _SAMPLED(body)
    found = _samplings.get(numbers)
    if found is not None and found[0] is limits:
        return found[1]
    sampling = _sampling(body, limits)
    if len(_samplings) >= SAMPLINGS_MAX:
        _samplings.clear()
    _samplings[numbers] = limits, sampling
    return sampling


_LIMITED: Final = attrgetter(*(name for name, _, _ in _ONLY), *(name for name, _ in _NEVER))
_NOT_SENT: Final = (None,) * len(_ONLY) + (_NULL,) * len(_NEVER)


def _refuse_unsupported(body: ChatBody) -> None:
    if _LIMITED(body) != _NOT_SENT:
        for name, allowed, why in _ONLY:
            value = getattr(body, name)
            if value is not None and value not in allowed:
                raise unsupported(name, f"{why}.")
        for name, why in _NEVER:
            if bytes(getattr(body, name)) != b"null":
                raise unsupported(name, f"{why}.")
    if body.stream_options and body.stream_options.include_obfuscation:
        raise unsupported("stream_options.include_obfuscation", "chunks are not padded; leave it out or send false.")


def _sampling(body: ChatBody, limits: LimitSettings) -> Sampling:
    check_numbers(
        temperature=body.temperature,
        top_p=body.top_p,
        presence_penalty=body.presence_penalty,
        frequency_penalty=body.frequency_penalty,
        seed=body.seed,
    )
    if body.metadata:
        limit(len(body.metadata), limits.metadata_max, "metadata", "pairs")
    if body.max_tokens is not None and body.max_completion_tokens is not None:
        message = "`max_tokens` and `max_completion_tokens` say the same; send one of them."
        raise Refusal("invalid_value", message, param="max_tokens")
    bound, name = (
        (body.max_tokens, "max_tokens")
        if body.max_tokens is not None
        else (body.max_completion_tokens, "max_completion_tokens")
    )
    return Sampling(
        temperature=body.temperature,
        top_p=body.top_p,
        presence_penalty=body.presence_penalty,
        frequency_penalty=body.frequency_penalty,
        seed=body.seed,
        stop=check_stop(body.stop, limits) if body.stop is not None else (),
        logit_bias=check_logit_bias(body.logit_bias, limits),
        max_output_tokens=check_output_tokens(bound, limits, name),
        top_logprobs=_top_logprobs(body),
    )


def _top_logprobs(body: ChatBody) -> int | None:
    if body.top_logprobs is not None:
        refuse_unless(0 <= body.top_logprobs <= 20, "top_logprobs", "from 0 to 20", body.top_logprobs)
        refuse_unless(bool(body.logprobs), "top_logprobs", "sent together with `logprobs` true", body.top_logprobs)
    return (body.top_logprobs or 0) if body.logprobs else None


def _tools(wire: list[FunctionTool] | tuple[()], limits: LimitSettings) -> tuple[Tool, ...]:
    limit(len(wire), limits.tools_max, "tools", "tools")
    tools: dict[str, Tool] = {}
    for index, tool in enumerate(wire):
        function, at = tool.function, f"tools[{index}].function"
        check_name(function.name, f"{at}.name")
        refuse_unless(function.name not in tools, f"{at}.name", "different from the other tools'", function.name)
        raw = bytes(function.parameters)
        schema = _EMPTY_SCHEMA if raw == b"null" else check_schema(raw, limits, f"{at}.parameters")
        tools[function.name] = Tool(function.name, function.description or "", schema)
    return tuple(tools.values())


def _choice(
    choice: Literal["none", "auto", "required"] | NamedTool | None, tools: tuple[Tool, ...]
) -> tuple[ToolMode, tuple[Tool, ...]]:
    if isinstance(choice, NamedTool):
        named = tuple(tool for tool in tools if tool.name == choice.function.name)
        refuse_unless(
            bool(named),
            "tool_choice",
            f"one of the tools sent ({', '.join(t.name for t in tools)})",
            choice.function.name,
        )
        return ToolMode.REQUIRED, named
    if not tools:
        refuse_unless(choice in (None, "none"), "tool_choice", "sent together with `tools`", choice)
        return ToolMode.NONE, ()
    return ToolMode(choice or "auto"), tools


def _format(
    wire: TextFormat | JsonObjectFormat | JsonSchemaFormat | None, limits: LimitSettings
) -> JsonConstraint | None:
    if isinstance(wire, JsonObjectFormat):
        return JsonConstraint(None)
    if isinstance(wire, JsonSchemaFormat):
        at = "response_format.json_schema"
        check_name(wire.json_schema.name, f"{at}.name")
        raw = bytes(wire.json_schema.schema)
        return JsonConstraint(None if raw == b"null" else check_schema(raw, limits, f"{at}.schema"))
    return None
