"""How llama.cpp's server is spoken to: Generations in, Deltas out. Pure, and on the data path.

Everything that bears on an answer is sent explicitly, in OpenAI's meaning: temperature 1 and top_p 1 when the caller
says nothing, temperature applied before top_p, no top_k, min_p or other sampler. docs/reference/engines.md says where
the engine's meaning differs all the same.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any, Final

import msgspec

from fastness.core.request import Delta, FinishReason, Generation, Sampling, TokenLogprob, Usage
from fastness.engines.llamacpp.grammar import grammar
from fastness.engines.llamacpp.schema import Unenforceable
from fastness.engines.port import EngineCall, EngineError, Vectors, loaded
from fastness.engines.rows import Row, in_order

PENALTY_TOKENS: Final = 64
"""How many of the last tokens, the input's among them, the penalties look at."""
SEEDS: Final = 2**32 - 1
"""The engine takes 32 bits, and reads the highest as `random`."""
LOGPROB_MIN: Final = -9_999.0
"""OpenAI's number for a token that could not have been chosen."""

ENDS_MAX: Final = 4_096
"""Ends of events that are remembered; each stream has its own, and a new one each second. Then all are learnt anew."""
_TEXT_BEFORE: Final = b'{"choices":[{"finish_reason":null,"index":0,"delta":{"content":'
_TEXT_AT: Final = len(_TEXT_BEFORE)
_TEXT_AFTER: Final = b'"}}],'
_PROBE: Final = b'"a text, and no other"'
"""How the event begins that the engine writes for a token, what follows its text, and a text to try."""
_TOO_LARGE: Final = re.compile(r"input \((\d{1,9}) tokens\) is too large")
"""How it says of a text to embed, as a failure of its own, that it does not fit."""
_STREAM_OPTIONS: Final = b',"stream_options":{"include_usage":true}'


class _Details(msgspec.Struct):
    cached_tokens: int = 0


class _Usage(msgspec.Struct):
    prompt_tokens: int
    completion_tokens: int = 0
    prompt_tokens_details: _Details | None = None


class _Token(msgspec.Struct):
    token: str
    bytes: list[int] | None = None
    logprob: float | None = None
    top_logprobs: list[_Token] = []


class _Logprobs(msgspec.Struct):
    content: list[_Token] | None = None


class _Text(msgspec.Struct):
    content: str | None = None


class _Choice(msgspec.Struct):
    finish_reason: str | None = None
    message: _Text | None = None
    delta: _Text | None = None
    text: str | None = None
    logprobs: _Logprobs | None = None


class _Trouble(msgspec.Struct):
    message: str = ""
    code: int = 500
    n_prompt_tokens: int | None = None


class _Answer(msgspec.Struct):
    choices: list[_Choice] = []
    usage: _Usage | None = None
    error: _Trouble | None = None


class _Rows(msgspec.Struct):
    data: list[Row]
    usage: _Usage


class _Count(msgspec.Struct):
    input_tokens: int | None = None
    tokens: list[int] | None = None


class _Template(msgspec.Struct):
    prompt: str


_encode: Final = msgspec.json.Encoder().encode
_REASONS: Final = {one.value: one for one in FinishReason}
_decode_text: Final = msgspec.json.Decoder(str).decode
_decode_answer: Final = msgspec.json.Decoder(_Answer).decode
_decode_rows: Final = msgspec.json.Decoder(_Rows).decode
_decode_count: Final = msgspec.json.Decoder(_Count).decode
_decode_template: Final = msgspec.json.Decoder(_Template).decode


class LlamaCppDialect:
    """See Dialect."""

    name = "llamacpp"
    pins_slots = True  # it has no salt to keep prefixes of one tenant from another: the gateway keeps their slots apart
    salts_prefixes = False
    cancels_whole = False  # measured: it writes a whole answer to its end although nobody waits for it

    def __init__(self) -> None:
        self._ends: set[bytes] = set()

    def unsupported(self, work: Generation) -> str | None:
        """See Dialect."""
        sampling = work.sampling
        if work.prompt is not None and not work.prompt:
            return "The prompt is empty, and this engine generates nothing from nothing. Send at least one token."
        if sampling.max_output_tokens == 0:
            return "`max_tokens` is 0, and this engine writes at least one token. Ask for 1 or more."
        if sampling.top_logprobs is not None and sampling.stop:
            return (
                "Log probabilities cannot be given together with stop sequences: this engine joins tokens that may "
                "begin a stop sequence, and loses some. Leave out one of the two."
            )
        if work.constraint is not None:
            try:
                grammar(work.constraint)
            except Unenforceable as error:
                return str(error)
        return None

    def generation(self, work: Generation) -> EngineCall:
        """See Dialect. Raises Unenforceable (a ValueError) for a constraint that `unsupported` names."""
        parts = [_beginning(work.sampling), b"true" if work.stream else b"false"]
        parts.append(b',"cache_prompt":true' if work.cache_prompt else b',"cache_prompt":false')
        if work.slot is not None:
            parts.append(b',"id_slot":%d' % work.slot)
        if work.cache_salt is not None:
            parts += (b',"cache_salt":', _encode(work.cache_salt))
        if work.adapters or work.adapter:
            parts.append(_scales(work.adapters, loaded(work)))
        if work.stream:
            parts.append(_STREAM_OPTIONS)
        if work.constraint is not None:
            parts += (b',"grammar":', _encode(grammar(work.constraint)))
        top = work.sampling.top_logprobs
        if work.prompt is not None:
            parts += (b',"prompt":', _encode(work.prompt))
            if top is not None:
                parts.append(b',"logprobs":%d' % max(1, top))
            path = "/v1/completions"
        else:
            parts += (b',"messages":', _encode(_messages(work)))
            if top is not None:
                parts.append(b',"logprobs":true,"top_logprobs":%d' % max(1, top))  # for 0 it would give none at all
            path = "/v1/chat/completions"
        parts.append(b"}")
        return EngineCall(path, b"".join(parts))

    def answer(self, body: bytes) -> Delta:
        """See Dialect."""
        read = _decode_answer(body)
        if len(read.choices) != 1:
            raise ValueError(f"an answer has one choice, not {len(read.choices)}")
        return _delta(read)

    def text(self, event: bytes) -> str | None:
        """See Dialect."""
        if event.startswith(_TEXT_BEFORE):
            end = event.find(_TEXT_AFTER, _TEXT_AT) + 1
            if end and event[end:] in self._ends:
                try:
                    return _decode_text(event[_TEXT_AT:end])
                except ValueError:
                    return None  # no string, so it is something else
            if end:
                self._learn(event[end:])
        return None

    def delta(self, event: bytes) -> Delta | None:
        """See Dialect. `logprobs` may have more alternatives than were asked for: at least one."""
        read = _decode_answer(event)
        if read.error is not None:
            raise _engine_error(read.error.code, read.error)
        delta = _delta(read)
        return delta if delta.text or delta.finish or delta.usage or delta.logprobs else None

    def _learn(self, end: bytes) -> None:
        """Remember an end after which the text before it is all that an event adds: it is tried with another text.

        JSON has no other contexts: what holds for one string in that place holds for every other.
        """
        try:
            alone = _delta(read := _decode_answer(_TEXT_BEFORE + _PROBE + end))
        except (ValueError, RecursionError):
            return
        if read.error is None and alone == Delta(_decode_text(_PROBE)):
            if len(self._ends) >= ENDS_MAX:
                self._ends.clear()
            self._ends.add(end)

    def count(self, work: Generation) -> EngineCall:
        """See Dialect."""
        if work.prompt is not None:
            return EngineCall(
                "/tokenize", _encode({"content": work.prompt, "add_special": True, "parse_special": True})
            )
        return EngineCall("/v1/chat/completions/input_tokens", _encode({"messages": _messages(work)}))

    def counted(self, body: bytes) -> int:
        """See Dialect."""
        read = _decode_count(body)
        if read.tokens is not None:
            return len(read.tokens)
        if read.input_tokens is None:
            raise ValueError("neither `input_tokens` nor `tokens` came")
        return read.input_tokens

    def template(self, work: Generation) -> EngineCall:
        """See Dialect."""
        return EngineCall("/apply-template", _encode({"messages": _messages(work)}))

    def templated(self, body: bytes) -> str:
        """See Dialect."""
        return _decode_template(body).prompt

    def tokens(self, texts: list[str], *, begins: bool) -> EngineCall:
        """See Dialect."""
        return EngineCall("/tokenize", _encode({"content": texts, "add_special": begins, "parse_special": True}))

    def tokenised(self, body: bytes) -> tuple[int, ...]:
        """See Dialect."""
        read = _decode_count(body)
        if read.tokens is None:
            raise ValueError("no `tokens` came")
        return tuple(read.tokens)

    def embedding(self, inputs: tuple[str | tuple[int, ...], ...]) -> EngineCall:
        """See Dialect."""
        return EngineCall("/v1/embeddings", _encode({"input": inputs, "encoding_format": "float"}))

    def vectors(self, body: bytes) -> Vectors:
        """See Dialect."""
        read = _decode_rows(body)
        return Vectors(in_order(read.data), _usage(read.usage))

    def error(self, status: int, body: bytes) -> EngineError:
        """See Dialect."""
        try:
            trouble = _decode_answer(body).error
        except (ValueError, RecursionError):
            trouble = None
        return _engine_error(status, trouble or _Trouble())


@lru_cache(maxsize=4_096)
def _scales(adapters: tuple[str, ...], adapter: str | None) -> bytes:
    """Write the scale of every adapter that the engine has, always.

    Without a word of it a request goes on from what its slot read with an adapter, as if it had been read without.
    """
    scales = [{"id": number, "scale": float(one == adapter)} for number, one in enumerate(adapters)]
    return b',"lora":' + _encode(scales)


def _beginning(sampling: Sampling) -> bytes:
    """Write the beginning of a request, up to the value of `stream`; made once for what clients repeat."""
    if sampling.seed is None and not sampling.stop and not sampling.logit_bias:
        return _usual_beginning(sampling)
    return _encode(_sampled(sampling))[:-1] + b',"stream":'


@lru_cache(maxsize=4_096)
def _usual_beginning(sampling: Sampling) -> bytes:
    return _encode(_sampled(sampling))[:-1] + b',"stream":'


def _sampled(sampling: Sampling) -> dict[str, Any]:
    """Write what decides on tokens. Only the samplers that do something are named: each walks the vocabulary."""
    top_p = 1.0 if sampling.top_p is None else sampling.top_p
    samplers = ["temperature"]
    body: dict[str, Any] = {
        "temperature": 1.0 if sampling.temperature is None else sampling.temperature,
        "top_p": top_p,
        "samplers": samplers,
    }
    if top_p < 1.0:
        samplers.append("top_p")
    if sampling.presence_penalty or sampling.frequency_penalty:
        samplers.insert(0, "penalties")
        body["presence_penalty"] = sampling.presence_penalty or 0.0
        body["frequency_penalty"] = sampling.frequency_penalty or 0.0
        body["repeat_last_n"] = PENALTY_TOKENS
    if sampling.seed is not None:
        body["seed"] = sampling.seed % SEEDS
    if sampling.stop:
        body["stop"] = sampling.stop
    if sampling.logit_bias:
        body["logit_bias"] = sampling.logit_bias
    if sampling.max_output_tokens is not None:
        body["max_tokens"] = sampling.max_output_tokens
    return body


def _messages(work: Generation) -> list[dict[str, str]]:
    return [{"role": message.role, "content": message.content} for message in work.messages]


def _delta(read: _Answer) -> Delta:
    usage = None if read.usage is None else _usage(read.usage)
    if not read.choices:
        return Delta(usage=usage)
    choice = read.choices[0]
    part = choice.delta or choice.message
    text = (choice.text if part is None else part.content) or ""
    logprobs = tuple(map(_token, choice.logprobs.content or ())) if choice.logprobs is not None else ()
    reason = choice.finish_reason
    finish = None if reason is None else _REASONS.get(reason) or FinishReason(reason)
    return Delta(text, logprobs, finish, usage)


def _usage(wire: _Usage) -> Usage:
    details = wire.prompt_tokens_details
    return Usage(wire.prompt_tokens, wire.completion_tokens, 0 if details is None else details.cached_tokens)


def _token(wire: _Token) -> TokenLogprob:
    logprob = LOGPROB_MIN if wire.logprob is None else max(wire.logprob, LOGPROB_MIN)
    token_bytes = wire.token.encode() if wire.bytes is None else bytes(wire.bytes)
    return TokenLogprob(wire.token, token_bytes, logprob, tuple(map(_token, wire.top_logprobs)))


def _engine_error(status: int, trouble: _Trouble) -> EngineError:
    if trouble.n_prompt_tokens is None and (found := _TOO_LARGE.match(trouble.message)):
        return EngineError(400, trouble.message, int(found[1]))
    return EngineError(status, trouble.message, trouble.n_prompt_tokens)
