"""What is committed to, in the one form that a caller can write down alone: canonical JSON of what was asked and said.

docs/reference/receipt.md describes these forms. Sorted names, no spaces, UTF-8, and nothing that was not sent. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

import msgspec

from fastness.core.request import ChatRequest, CompletionRequest, EmbeddingRequest, Message, Sampling

_encode: Final = msgspec.json.Encoder(order="sorted").encode
_UNCONSTRAINED: Final = Sampling()
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
        asked: dict[str, object] = {"dimensions": request.dimensions}
    else:
        asked = {"n": request.choices if request.choices != 1 else None} | _sampling(request.sampling)
    return _encode({name: value for name, value in asked.items() if value is not None})


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
    if sampling == _UNCONSTRAINED:
        return {}
    return {
        "frequency_penalty": _number(sampling.frequency_penalty),
        "logit_bias": {str(token): _number(bias) for token, bias in sampling.logit_bias} or None,
        "max_tokens": sampling.max_output_tokens,
        "presence_penalty": _number(sampling.presence_penalty),
        "seed": sampling.seed,
        "stop": list(sampling.stop) or None,
        "temperature": _number(sampling.temperature),
        "top_logprobs": sampling.top_logprobs,
        "top_p": _number(sampling.top_p),
    }


def _number(value: float | None) -> object:
    """Write a whole number without a point, and others as Python's `repr` does, so that one writes them alike."""
    if value is None or value == int(value):
        return None if value is None else int(value)
    if _TOO_SMALL_FOR_POINT <= abs(value) < _TOO_LONG_FOR_POINT:
        return value
    return msgspec.Raw(repr(value).encode())
