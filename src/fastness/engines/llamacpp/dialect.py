"""How llama.cpp's server is spoken to: Generations in, Deltas out. Pure."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from fastness.core.request import Delta, FinishReason, Generation, JsonConstraint, TokenLogprob, ToolConstraint, Usage
from fastness.engines.llamacpp.grammar import json_grammar, tool_grammar
from fastness.engines.port import EngineCall, EngineError, Vectors

_encode: Final = msgspec.json.Encoder().encode


class _Details(msgspec.Struct):
    cached_tokens: int = 0


class _Usage(msgspec.Struct):
    prompt_tokens: int
    completion_tokens: int = 0
    prompt_tokens_details: _Details | None = None


class _Token(msgspec.Struct):
    token: str
    bytes: list[int]
    logprob: float | None
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


class _Row(msgspec.Struct):
    embedding: list[float]
    index: int


class _Rows(msgspec.Struct):
    data: list[_Row]
    usage: _Usage


class _Counted(msgspec.Struct):
    input_tokens: int | None = None
    tokens: list[int] | None = None


_answer: Final = msgspec.json.Decoder(_Answer)
_rows: Final = msgspec.json.Decoder(_Rows)
_counted: Final = msgspec.json.Decoder(_Counted)


class LlamaCppDialect:
    """See Dialect."""

    name = "llamacpp"

    def unsupported(self, work: Generation) -> str | None:
        """See Dialect."""
        return None

    def generation(self, work: Generation) -> EngineCall:
        """See Dialect."""
        sampling = work.sampling
        body: dict[str, Any] = {
            "temperature": 1.0 if sampling.temperature is None else sampling.temperature,
            "top_p": 1.0 if sampling.top_p is None else sampling.top_p,
            "top_k": 0,
            "min_p": 0.0,
            "stream": work.stream,
            "cache_prompt": work.cache_prompt,
        }
        for name in ("presence_penalty", "frequency_penalty", "seed"):
            if (value := getattr(sampling, name)) is not None:
                body[name] = value
        if sampling.stop:
            body["stop"] = sampling.stop
        if sampling.logit_bias:
            body["logit_bias"] = [list(pair) for pair in sampling.logit_bias]
        if sampling.max_output_tokens is not None:
            body["max_tokens"] = sampling.max_output_tokens
        if work.stream:
            body["stream_options"] = {"include_usage": True}
        if isinstance(work.constraint, JsonConstraint):
            body["grammar"] = json_grammar(work.constraint)
        elif isinstance(work.constraint, ToolConstraint):
            body["grammar"] = tool_grammar(work.constraint)
        if work.prompt is not None:
            body["prompt"] = work.prompt
            if sampling.top_logprobs is not None:
                body["logprobs"] = max(1, sampling.top_logprobs)
            return EngineCall("/v1/completions", _encode(body))
        body["messages"] = [{"role": one.role, "content": one.content} for one in work.messages]
        if sampling.top_logprobs is not None:
            body["logprobs"] = True
            body["top_logprobs"] = max(1, sampling.top_logprobs)  # with 0 it gives none at all
        return EngineCall("/v1/chat/completions", _encode(body))

    def answer(self, body: bytes) -> Delta:
        """See Dialect."""
        read = _answer.decode(body)
        if len(read.choices) != 1:
            raise ValueError("an answer has one choice")
        return self._delta(read)

    def delta(self, event: bytes) -> Delta | None:
        """See Dialect."""
        read = _answer.decode(event)
        if read.error:
            raise EngineError(read.error.code, read.error.message, read.error.n_prompt_tokens)
        return self._delta(read)

    def count(self, work: Generation) -> EngineCall:
        """See Dialect."""
        if work.prompt is not None:
            return EngineCall("/tokenize", _encode({"content": work.prompt, "add_special": True}))
        messages = [{"role": one.role, "content": one.content} for one in work.messages]
        return EngineCall("/v1/chat/completions/input_tokens", _encode({"messages": messages}))

    def counted(self, body: bytes) -> int:
        """See Dialect."""
        read = _counted.decode(body)
        if read.input_tokens is not None:
            return read.input_tokens
        if read.tokens is None:
            raise ValueError("no count")
        return len(read.tokens)

    def embedding(self, inputs: tuple[str | tuple[int, ...], ...]) -> EngineCall:
        """See Dialect."""
        return EngineCall("/v1/embeddings", _encode({"input": inputs, "encoding_format": "float"}))

    def vectors(self, body: bytes) -> Vectors:
        """See Dialect."""
        read = _rows.decode(body)
        rows = sorted(read.data, key=lambda row: row.index)
        return Vectors(tuple(tuple(row.embedding) for row in rows), _usage(read.usage))

    def error(self, status: int, body: bytes) -> EngineError:
        """See Dialect."""
        try:
            trouble = _answer.decode(body).error or _Trouble()
        except (msgspec.DecodeError, UnicodeDecodeError):
            trouble = _Trouble()
        return EngineError(status, trouble.message, trouble.n_prompt_tokens)

    def _delta(self, read: _Answer) -> Delta:
        usage = _usage(read.usage) if read.usage else None
        if not read.choices:
            return Delta(usage=usage)
        choice = read.choices[0]
        part = choice.message or choice.delta
        text = (part.content if part else choice.text) or ""
        logprobs = tuple(map(_token, choice.logprobs.content or ())) if choice.logprobs else ()
        return Delta(text, logprobs, FinishReason(choice.finish_reason) if choice.finish_reason else None, usage)


def _usage(wire: _Usage) -> Usage:
    details = wire.prompt_tokens_details
    return Usage(wire.prompt_tokens, wire.completion_tokens, details.cached_tokens if details else 0)


def _token(wire: _Token) -> TokenLogprob:
    logprob = -9999.0 if wire.logprob is None else wire.logprob
    return TokenLogprob(wire.token, bytes(wire.bytes), logprob, tuple(map(_token, wire.top_logprobs)))
