"""From a request to what engines must do, and the answer in the making; or a refusal of what cannot be done."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from fastness.config import LimitSettings
from fastness.core.error import Refusal
from fastness.core.model import ModelCard
from fastness.core.priority import Band
from fastness.core.request import (
    ChatRequest,
    CompletionRequest,
    EmbeddingRequest,
    Generation,
    Message,
    Sampling,
    ToolConstraint,
    ToolMode,
)
from fastness.engines.port import Dialect
from fastness.gateway.answer.chat import ChatAnswer
from fastness.gateway.answer.completion import CompletionAnswer
from fastness.gateway.answer.port import Answer, Head
from fastness.gateway.tools import tell_of_tools, tool_constraint
from fastness.gateway.trip import Trip

TEMPLATE_TOKENS = 64
"""What a chat template may add around a conversation (a default system message included), at most."""
TEMPLATE_TOKENS_A_MESSAGE = 16
"""What a chat template may add around each message, at most."""
TOKEN_BYTES_MAX = 256
"""The longest text that one token of a language model stands for; the longest known are 128 spaces."""


def prepare_chat(
    request: ChatRequest,
    head: Head,
    card: ModelCard,
    dialect: Dialect,
    limits: LimitSettings,
    band: Band = Band.STANDARD,
    adapter: str | None = None,
) -> tuple[tuple[Generation, ...], Answer]:
    """Return one generation a choice, and the answer; raises Refusal. `adapter` is the digest of what it runs with."""
    tools = _tools(request, card, head.model, limits)
    messages = request.messages
    if request.tools or _tools_shown(messages):
        messages = tell_of_tools(request, card.tool_format)
    streams = request.stream or not dialect.cancels_whole
    bound = tools or request.constraint
    one = Generation(request.sampling, messages, constraint=bound, stream=streams, band=band, adapter=adapter)
    _refuse_unsupported(one, dialect)
    return _choices(one, request.choices), ChatAnswer(request, head, tools)


def prepare_completion(
    request: CompletionRequest, head: Head, dialect: Dialect, band: Band = Band.STANDARD, adapter: str | None = None
) -> tuple[tuple[Generation, ...], Answer]:
    """Return one generation a choice of each prompt, and the answer; raises Refusal."""
    generations: tuple[Generation, ...] = ()
    streams = request.stream or not dialect.cancels_whole
    for prompt in request.prompts:
        one = Generation(request.sampling, prompt=prompt, stream=streams, band=band, adapter=adapter)
        _refuse_unsupported(one, dialect)
        generations += _choices(one, request.choices)
    return generations, CompletionAnswer(request, head)


def check_embedding(request: EmbeddingRequest, card: ModelCard, name: str) -> None:
    """Raise Refusal unless the vectors asked for are those the model makes; callers know it by `name`."""
    if request.dimensions not in (None, card.embedding_dimensions):
        message = (
            f"`dimensions` is {request.dimensions}; {name} makes vectors of {card.embedding_dimensions}, "
            "and shortening them is not supported. Leave it out."
        )
        raise Refusal("unsupported_parameter", message, param="dimensions")


def input_tokens_bound(generation: Generation) -> int:
    """A number that the input's tokens cannot exceed: a token stands for at least one byte of text."""
    if generation.prompt is not None:
        return 1 + (_bytes(generation.prompt) if isinstance(generation.prompt, str) else len(generation.prompt))
    text = 0
    for message in generation.messages:
        text += _bytes(message.content)
    return text + TEMPLATE_TOKENS + TEMPLATE_TOKENS_A_MESSAGE * len(generation.messages)


def input_tokens_least(generation: Generation) -> int:
    """A number of tokens that the input has at least, known without an engine that reads all of it."""
    if isinstance(generation.prompt, tuple):
        return len(generation.prompt)
    texts = [generation.prompt] if generation.prompt is not None else [one.content for one in generation.messages]
    return sum(_bytes(text) for text in texts) // TOKEN_BYTES_MAX


def _bytes(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode())


def inputs_of(trip: Trip) -> Iterator[tuple[Generation, int]]:
    """Yield each different input of a request once, with the output tokens that must fit beside it."""
    if isinstance(trip.request, EmbeddingRequest):
        for text in trip.request.inputs:
            yield Generation(Sampling(), prompt=text), 0
        return
    choices = trip.request.choices if trip.request else 1
    for work in trip.generations[::choices]:
        yield work, work.sampling.max_output_tokens or 1


def overflow(needed: int, output: int, limit: int, name: str, param: str, *, least: bool = False) -> Refusal:
    """Make the refusal for a request that does not fit: needed (with `least`: or more), limit, and what to try."""
    over = needed + output - limit
    asked, what = f"{needed + output:,} tokens", f" ({needed:,} input + {output:,} output)" if output else ""
    if least:
        asked = f"at least {asked}"
    message = (
        f"This request needs {asked}{what}; {name} takes {limit:,} here. Shorten the input by {over:,} tokens"
        f"{', ask for fewer output tokens,' if output > 1 else ''} or use a deployment with a longer context."
    )
    return Refusal("context_length_exceeded", message, param=param)


def longest_text(generation: Generation, limit: int, name: str) -> Refusal:
    """Make the refusal of a text to embed that is too long to be counted.

    That is said in bytes: to a tokeniser of words, a word that it does not know is one token, however long it is.
    """
    text_bytes, bytes_max = _bytes(str(generation.prompt)), limit * TOKEN_BYTES_MAX
    message = (
        f"A text of `input` has {text_bytes:,} bytes; {name} takes {bytes_max:,} here, {TOKEN_BYTES_MAX} for each of "
        f"the {limit:,} tokens of its context. Send it in parts."
    )
    return Refusal("context_length_exceeded", message, param="input")


def _choices(one: Generation, count: int) -> tuple[Generation, ...]:
    """Choices of one seed differ by one in the seed, so that they are reproducible and not all the same."""
    if count == 1:
        return (one,)
    seed = one.sampling.seed
    if seed is None:
        return (one,) * count
    return tuple(replace(one, sampling=_seeded(one.sampling, seed + index)) for index in range(count))


def _seeded(sampling: Sampling, seed: int) -> Sampling:
    return replace(sampling, seed=seed)


def _tools_shown(messages: tuple[Message, ...]) -> bool:
    for message in messages:  # noqa: SIM110 - `any` over a generator costs three times as much for the usual few
        if message.tool_calls or message.role == "tool":
            return True
    return False


def _tools(request: ChatRequest, card: ModelCard, name: str, limits: LimitSettings) -> ToolConstraint | None:
    if not request.tools or request.tool_mode is ToolMode.NONE:
        return None
    if card.tool_format is None:
        raise Refusal(
            "unsupported_parameter",
            f"`tools` is not supported: the model card of {name} names no way to call tools.",
            param="tools",
        )
    return tool_constraint(request, card.tool_format, limits.tool_calls_max)


def _refuse_unsupported(generation: Generation, dialect: Dialect) -> None:
    if why := dialect.unsupported(generation):
        code = "unsupported_schema" if generation.constraint else "unsupported_parameter"
        raise Refusal(code, why, param=None)
