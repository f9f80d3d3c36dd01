"""What is committed to, in the one form that a caller can write down alone: canonical JSON of what was asked and said.

docs/reference/receipt.md describes these forms. Sorted names, no spaces, UTF-8, and nothing that was not sent. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

import msgspec

from fastness.core.request import ChatRequest, CompletionRequest, EmbeddingRequest, Message, Sampling

_encode: Final = msgspec.json.Encoder(order="sorted").encode
_TOO_LONG_FOR_POINT: Final = 1e16
_TOO_SMALL_FOR_POINT: Final = 1e-4

Call = tuple[str, str]
"""Name and arguments of a tool call."""


def prompt_bytes(request: ChatRequest | CompletionRequest | EmbeddingRequest) -> bytes:
    """Return the messages of a chat, the prompts of a completion, or the texts to embed."""
    if isinstance(request, ChatRequest):
        return b"[%b]" % b",".join([_message(one) for one in request.messages])
    return _encode(request.prompts if isinstance(request, CompletionRequest) else request.inputs)


def answer_bytes(choices: Iterable[tuple[str, Sequence[Call]]]) -> bytes:
    """Return what was said in each choice, in their order: its text, and the calls of tools."""
    return b"[%b]" % b",".join([_choice(text, calls) for text, calls in choices])


def parameters_bytes(request: ChatRequest | CompletionRequest | EmbeddingRequest) -> bytes:
    """Return what the request set of how the answer is made, by the names of the API."""
    if isinstance(request, EmbeddingRequest):
        return b"{}" if request.dimensions is None else b'{"dimensions":%d}' % request.dimensions
    asked = _sampling(request.sampling)
    if request.choices != 1:
        asked["n"] = request.choices
    return _encode(asked)


def _message(one: Message) -> bytes:
    if one.name is None and not one.tool_calls and one.tool_call_id is None:  # nearly every message
        return b'{"content":%b,"role":"%b"}' % (_encode(one.content), one.role.encode())
    said: dict[str, object] = {"content": one.content, "role": one.role}
    if one.name is not None:
        said["name"] = one.name
    if one.tool_call_id is not None:
        said["tool_call_id"] = one.tool_call_id
    if one.tool_calls:
        said["tool_calls"] = [
            {"arguments": call.arguments, "id": call.id, "name": call.name} for call in one.tool_calls
        ]
    return _encode(said)


def _choice(text: str, calls: Sequence[Call]) -> bytes:
    if not calls:
        return b'{"content":%b}' % _encode(text)
    said = [{"arguments": arguments, "name": name} for name, arguments in calls]
    return b'{"content":%b,"tool_calls":%b}' % (_encode(text), _encode(said))


def _sampling(sampling: Sampling) -> dict[str, object]:
    asked: dict[str, object] = {}
    if sampling.max_output_tokens is not None:
        asked["max_tokens"] = sampling.max_output_tokens
    if sampling.temperature is not None:
        asked["temperature"] = _number(sampling.temperature)
    if sampling.top_p is not None:
        asked["top_p"] = _number(sampling.top_p)
    if sampling.seed is not None:
        asked["seed"] = sampling.seed
    if sampling.stop:
        asked["stop"] = sampling.stop
    if sampling.frequency_penalty is not None:
        asked["frequency_penalty"] = _number(sampling.frequency_penalty)
    if sampling.presence_penalty is not None:
        asked["presence_penalty"] = _number(sampling.presence_penalty)
    if sampling.top_logprobs is not None:
        asked["top_logprobs"] = sampling.top_logprobs
    if sampling.logit_bias:
        asked["logit_bias"] = {str(token): _number(bias) for token, bias in sampling.logit_bias}
    return asked


def _number(value: float) -> object:
    """Write a whole number without a point, and others as Python's `repr` does, so that one writes them alike."""
    if value == int(value):
        return int(value)
    if _TOO_SMALL_FOR_POINT <= abs(value) < _TOO_LONG_FOR_POINT:
        return value
    return msgspec.Raw(repr(value).encode())
