"""What vLLM's server writes, as far as it is read: its answers and events in the shapes of OpenAI's API."""

from __future__ import annotations

import re
from typing import Final

import msgspec

from fastness.core.request import Delta, FinishReason, TokenLogprob, Usage
from fastness.engines.port import EngineError
from fastness.engines.rows import Row

LOGPROB_MIN: Final = -9_999.0
"""OpenAI's number for a token that could not have been chosen."""
_TOO_LONG: Final = re.compile(r"(?:contains|has) (at least )?(\d{1,9}) (?:input )?tokens")
"""How it says that an input does not fit. Often it stops counting behind what fits."""
_TOO_MANY_LETTERS: Final = re.compile(
    r"context length is (\d{1,9}) tokens\. However, your prompt contains \d+ characters"
)
"""How it says so of a text that it did not even begin to read."""


class _Details(msgspec.Struct):
    cached_tokens: int | None = 0


class WireUsage(msgspec.Struct):
    """Tokens, as metered."""

    prompt_tokens: int
    completion_tokens: int | None = 0
    prompt_tokens_details: _Details | None = None


class _Token(msgspec.Struct):
    token: str
    bytes: list[int] | None = None
    logprob: float | None = None
    top_logprobs: list[_Token] = []


class _Logprobs(msgspec.Struct):
    """Of a chat: `content`. Of a completion: the others, of one length each."""

    content: list[_Token] | None = None
    tokens: list[str] | None = None
    token_logprobs: list[float | None] | None = None
    top_logprobs: list[dict[str, float] | None] | None = None


class _Text(msgspec.Struct):
    content: str | None = None


class _Choice(msgspec.Struct):
    finish_reason: str | None = None
    message: _Text | None = None
    delta: _Text | None = None
    text: str | None = None
    logprobs: _Logprobs | None = None


class Trouble(msgspec.Struct):
    """Why it refused."""

    message: str = ""
    code: int | None = 500


class WireAnswer(msgspec.Struct):
    """An answer, an event, or an error."""

    choices: list[_Choice] = []
    usage: WireUsage | None = None
    error: Trouble | None = None


class WireRows(msgspec.Struct):
    """Embeddings."""

    data: list[Row]
    usage: WireUsage


class WireTokens(msgspec.Struct):
    """Tokens of texts; `count` where only that is of interest."""

    tokens: list[int]


class WireTemplate(msgspec.Struct):
    """What messages become."""

    text: str


_REASONS: Final = {one.value: one for one in FinishReason}


def delta_of(read: WireAnswer) -> Delta:
    """Return what an answer or an event says; raises ValueError for an end that is none."""
    usage = None if read.usage is None else usage_of(read.usage)
    if not read.choices:
        return Delta(usage=usage)
    choice = read.choices[0]
    part = choice.delta or choice.message
    text = (choice.text if part is None else part.content) or ""
    logprobs = _logprobs(choice.logprobs) if choice.logprobs is not None else ()
    reason = choice.finish_reason
    finish = None if reason is None else _REASONS.get(reason) or FinishReason(reason)
    return Delta(text, logprobs, finish, usage)


def usage_of(wire: WireUsage) -> Usage:
    """Return the tokens that were metered."""
    details = wire.prompt_tokens_details
    cached = 0 if details is None else details.cached_tokens or 0
    return Usage(wire.prompt_tokens, wire.completion_tokens or 0, cached)


def error_of(status: int, trouble: Trouble) -> EngineError:
    """Return a refusal, with the tokens of an input that it says do not fit."""
    if status == 400:
        if found := _TOO_LONG.search(trouble.message):
            return EngineError(status, trouble.message, int(found[2]), context_least=bool(found[1]))
        if found := _TOO_MANY_LETTERS.search(trouble.message):
            return EngineError(status, trouble.message, int(found[1]) + 1, context_least=True)
    return EngineError(status, trouble.message)


def _logprobs(wire: _Logprobs) -> tuple[TokenLogprob, ...]:
    if wire.content is not None:
        return tuple(map(_token, wire.content))
    tokens = wire.tokens or []
    chosen, tops = wire.token_logprobs or [None] * len(tokens), wire.top_logprobs or [None] * len(tokens)
    found = []
    for token, logprob, top in zip(tokens, chosen, tops, strict=True):
        others = tuple(_plain(text, one) for text, one in (top or {}).items())
        found.append(_plain(token, logprob, others))
    return tuple(found)


def _token(wire: _Token) -> TokenLogprob:
    token_bytes = wire.token.encode() if wire.bytes is None else bytes(wire.bytes)
    return TokenLogprob(wire.token, token_bytes, _bounded(wire.logprob), tuple(map(_token, wire.top_logprobs)))


def _plain(token: str, logprob: float | None, top: tuple[TokenLogprob, ...] = ()) -> TokenLogprob:
    return TokenLogprob(token, token.encode(), _bounded(logprob), top)


def _bounded(logprob: float | None) -> float:
    return LOGPROB_MIN if logprob is None else max(logprob, LOGPROB_MIN)
