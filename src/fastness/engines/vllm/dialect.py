"""How vLLM's server is spoken to: Generations in, Deltas out. Pure, and on the data path.

Everything that bears on an answer is sent explicitly, in OpenAI's meaning. Constraints are our own grammars, in the
words of LLGuidance, which vLLM runs too (`structured_outputs`). docs/reference/engines.md says where it differs.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any, Final

import msgspec

from fastness.core.request import Delta, Generation, Sampling
from fastness.engines.llamacpp.dialect import SEEDS
from fastness.engines.llamacpp.grammar import grammar
from fastness.engines.llamacpp.schema import Unenforceable
from fastness.engines.port import EngineCall, EngineError, Vectors, loaded
from fastness.engines.rows import in_order
from fastness.engines.vllm.texts import TEMPLATE, TOKENS
from fastness.engines.vllm.wire import (
    Trouble,
    WireAnswer,
    WireRows,
    WireTemplate,
    WireTokens,
    delta_of,
    error_of,
    usage_of,
)

_JSON_TEXT: Final = rb'("(?:[^"\\]|\\.)+")'
_TEXT_EVENT: Final = re.compile(
    rb'\{"id":"[\w-]+","object":"[\w.]+","created":\d+,"model":"\w+","choices":\[\{"index":0,'
    rb'(?:"delta":\{"content":' + _JSON_TEXT + rb'\}|"text":' + _JSON_TEXT + rb"),"
    rb'"logprobs":null,"finish_reason":null(?:,"stop_reason":null|,"prompt_token_ids":null|,"token_ids":null)*\}\]\}'
)
"""The event that it writes for a token: there is nothing in it but its text, wherever that ends."""
_STREAM_OPTIONS: Final = b',"stream_options":{"include_usage":true}'
_encode: Final = msgspec.json.Encoder().encode
_decode_text: Final = msgspec.json.Decoder(str).decode
_decode_answer: Final = msgspec.json.Decoder(WireAnswer).decode
_decode_rows: Final = msgspec.json.Decoder(WireRows).decode
_decode_tokens: Final = msgspec.json.Decoder(WireTokens).decode
_decode_template: Final = msgspec.json.Decoder(WireTemplate).decode


class VllmDialect:
    """See Dialect."""

    name = "vllm"
    cancels_whole = True
    pins_slots = False
    salts_prefixes = True

    def unsupported(self, work: Generation) -> str | None:
        """See Dialect."""
        sampling = work.sampling
        if work.prompt is not None and not work.prompt:
            return "The prompt is empty, and this engine generates nothing from nothing. Send at least one token."
        if sampling.max_output_tokens == 0:
            return "`max_tokens` is 0, and this engine writes at least one token. Ask for 1 or more."
        if sampling.top_logprobs is not None and sampling.stop:
            return (
                "Log probabilities cannot be given together with stop sequences: this engine gives those of the tokens "
                "of the stop sequence too, whose text is not in the answer. Leave out one of the two."
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
        if (adapter := loaded(work)) is not None:
            parts += (b',"model":', _encode(adapter))
        if work.cache_salt is not None:
            parts += (b',"cache_salt":', _encode(work.cache_salt))
        if work.stream:
            parts.append(_STREAM_OPTIONS)
        if work.constraint is not None:
            parts += (b',"structured_outputs":', _encode({"grammar": grammar(work.constraint)}))
        parts.append(b',"priority":%d' % work.band)
        top = work.sampling.top_logprobs
        if work.prompt is not None:
            parts += (b',"prompt":', _encode(work.prompt))
            if top is not None:
                parts.append(b',"logprobs":%d' % top)
            path = "/v1/completions"
        else:
            parts += (b',"messages":', _encode(_messages(work)))
            if top is not None:
                parts.append(b',"logprobs":true,"top_logprobs":%d' % top)
            path = "/v1/chat/completions"
        parts.append(b"}")
        return EngineCall(path, b"".join(parts))

    def answer(self, body: bytes) -> Delta:
        """See Dialect."""
        read = _decode_answer(body)
        if len(read.choices) != 1:
            raise ValueError(f"an answer has one choice, not {len(read.choices)}")
        return delta_of(read)

    def text(self, event: bytes) -> str | None:
        """See Dialect."""
        found = _TEXT_EVENT.fullmatch(event)
        if found is None:
            return None
        try:
            return _decode_text(found[1] or found[2])
        except ValueError:
            return None  # no string, so it is something else

    def delta(self, event: bytes) -> Delta | None:
        """See Dialect."""
        read = _decode_answer(event)
        if read.error is not None:
            raise error_of(read.error.code or 500, read.error)
        delta = delta_of(read)
        return delta if delta.text or delta.finish or delta.usage or delta.logprobs else None

    def count(self, work: Generation) -> EngineCall:
        """See Dialect."""
        if isinstance(work.prompt, tuple):
            return EngineCall(TOKENS, _encode({"texts": [work.prompt], "begins": True}))
        if work.prompt is not None:
            return EngineCall("/tokenize", _encode({"prompt": work.prompt}))
        return EngineCall("/tokenize", _encode({"messages": _messages(work)}))

    def counted(self, body: bytes) -> int:
        """See Dialect."""
        return len(_decode_tokens(body).tokens)

    def template(self, work: Generation) -> EngineCall:
        """See Dialect."""
        return EngineCall(TEMPLATE, _encode({"messages": _messages(work)}))

    def templated(self, body: bytes) -> str:
        """See Dialect."""
        return _decode_template(body).text

    def tokens(self, texts: list[str], *, begins: bool) -> EngineCall:
        """See Dialect."""
        return EngineCall(TOKENS, _encode({"texts": texts, "begins": begins}))

    def tokenised(self, body: bytes) -> tuple[int, ...]:
        """See Dialect."""
        return tuple(_decode_tokens(body).tokens)

    def embedding(self, inputs: tuple[str | tuple[int, ...], ...]) -> EngineCall:
        """See Dialect."""
        return EngineCall("/v1/embeddings", _encode({"input": inputs, "encoding_format": "float"}))

    def vectors(self, body: bytes) -> Vectors:
        """See Dialect."""
        read = _decode_rows(body)
        return Vectors(in_order(read.data), usage_of(read.usage))

    def error(self, status: int, body: bytes) -> EngineError:
        """See Dialect."""
        try:
            trouble = _decode_answer(body).error
        except (ValueError, RecursionError):
            trouble = None
        return error_of(status, trouble or Trouble())


def _beginning(sampling: Sampling) -> bytes:
    """Write the beginning of a request, up to the value of `stream`; made once for what clients repeat."""
    if sampling.seed is None and not sampling.stop and not sampling.logit_bias:
        return _usual_beginning(sampling)
    return _encode(_sampled(sampling))[:-1] + b',"stream":'


@lru_cache(maxsize=4_096)
def _usual_beginning(sampling: Sampling) -> bytes:
    return _encode(_sampled(sampling))[:-1] + b',"stream":'


def _sampled(sampling: Sampling) -> dict[str, Any]:
    """Write what decides on tokens."""
    body: dict[str, Any] = {
        "temperature": 1.0 if sampling.temperature is None else sampling.temperature,
        "top_p": 1.0 if sampling.top_p is None else sampling.top_p,
    }
    if sampling.presence_penalty or sampling.frequency_penalty:
        body["presence_penalty"] = sampling.presence_penalty or 0.0
        body["frequency_penalty"] = sampling.frequency_penalty or 0.0
    if sampling.seed is not None:
        body["seed"] = sampling.seed % SEEDS
    if sampling.stop:
        body["stop"] = sampling.stop
    if sampling.logit_bias:
        body["logit_bias"] = {str(token): bias for token, bias in sampling.logit_bias}
    body["max_tokens"] = sampling.max_output_tokens  # null: all that fits; without it, a prompt would get 16
    return body


def _messages(work: Generation) -> list[dict[str, str]]:
    return [{"role": message.role, "content": message.content} for message in work.messages]
