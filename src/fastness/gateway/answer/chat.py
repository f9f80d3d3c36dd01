"""The answer of /v1/chat/completions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec

from fastness.core.request import (
    ChatRequest,
    Delta,
    FinishReason,
    JsonConstraint,
    TokenLogprob,
    ToolConstraint,
    Usage,
)
from fastness.gateway.answer.port import END_OF_STREAM, Head
from fastness.gateway.canonical import Call, answer_bytes
from fastness.gateway.tools import ArgumentsPiece, CallPiece, Piece, TextPiece, ToolCallReader, joined
from fastness.gateway.wire import out

_encode: Final = msgspec.json.Encoder().encode
_NO_LOGPROBS: Final = b"null"
_PLAIN_WHOLE: Final = (
    b'{"id":%b,"created":%d,"model":%b,"choices":[{"index":0,"message":{"content":%b,"refusal":null,'
    b'"role":"assistant","annotations":[]},"logprobs":null,"finish_reason":%b}],"usage":{"prompt_tokens":%d,'
    b'"completion_tokens":%d,"total_tokens":%d,"prompt_tokens_details":{"cached_tokens":%d,"audio_tokens":0},'
    b'"completion_tokens_details":{"reasoning_tokens":0,"audio_tokens":0,"accepted_prediction_tokens":0,'
    b'"rejected_prediction_tokens":0}},"system_fingerprint":%b,"object":"chat.completion","service_tier":%b}'
)
"""`out.ChatCompletion` with one choice of text; a test holds the two together."""


class _Choice:
    """One choice in the making."""

    __slots__ = ("begun", "finish", "logprobs", "opening", "pieces", "reader", "streamed", "texts")

    def __init__(self, constraint: ToolConstraint | None) -> None:
        self.reader = ToolCallReader(constraint.open, constraint.close) if constraint else None
        self.texts: list[str] = []
        self.pieces: list[Piece] = []
        self.logprobs: list[TokenLogprob] = []
        self.finish: FinishReason | None = None
        self.begun = False
        self.opening = b""
        self.streamed = bytearray()  # the text that went out in events: as bytes, in a tenth of the memory

    def said(self) -> tuple[str, list[Call]]:
        """The text and the calls of tools that the client has got, or will get."""
        return joined(self.pieces) if self.reader else ("".join(self.texts) or self.streamed.decode(), [])

    def reason(self) -> str:
        """How this choice ended, in OpenAI's words."""
        if self.reader and self.reader.calls and self.finish is not FinishReason.LENGTH:
            return "tool_calls"
        return (self.finish or FinishReason.STOP)._value_

    def message(self, call_id: str) -> out.MessageOut:
        """The whole message; ids of calls begin with `call_id`."""
        if not self.reader:
            return out.MessageOut("".join(self.texts))
        text, calls = joined(self.pieces)
        if not calls:
            return out.MessageOut(text)
        wire = [
            out.ToolCallOut(f"{call_id}{n}", out.FunctionOut(name, arguments))
            for n, (name, arguments) in enumerate(calls)
        ]
        return out.MessageOut(text or None, tool_calls=wire)


class ChatAnswer:
    """Builds the answer of one chat request."""

    def __init__(self, request: ChatRequest, head: Head, tools: ToolConstraint | None) -> None:
        self._request = request
        self._head = head
        self._tools = tools
        self._choices = [_Choice(tools) for _ in range(request.choices)]
        self._top_logprobs = request.sampling.top_logprobs
        if request.stream:
            # Everything that every chunk repeats, written once: a chunk is then a join of a few bytes.
            self._open = b"".join((
                b'data: {"id":', _encode(head.id),
                b',"object":"chat.completion.chunk","created":', _encode(head.created_s),
                b',"model":', _encode(head.model),
                b',"service_tier":', _encode(head.service_tier),
                b',"system_fingerprint":', _encode(head.fingerprint),
                b',"choices":[{"index":',
            ))  # fmt: skip
            self._close = b'}],"usage":null}\n\n' if request.include_usage else b"}]}\n\n"
            self._plain = b',"logprobs":null,"finish_reason":null' + self._close
            self._closing = b"}" + self._plain

    def take(self, choice: int, delta: Delta) -> bytes:
        """See Answer."""
        one = self._choices[choice]
        if one.opening and not delta.finish:
            one.streamed += delta.text.encode()
            return b"%b%b%b" % (one.opening, _encode(delta.text), self._closing) if delta.text else b""
        if delta.finish:
            one.finish = delta.finish
        if self._top_logprobs is not None:
            one.logprobs += delta.logprobs
        if not self._request.stream:
            self._keep(one, delta)
            return b""
        events = b"" if one.begun else self._begin(choice, one)
        if one.reader is None:
            if delta.text:
                one.streamed += delta.text.encode()
                events += self._event(choice, one, b'{"content":%b}' % _encode(delta.text))
                if self._request.constraint:
                    one.texts.append(delta.text)
            return events
        pieces = one.reader.feed(delta.text) if delta.text else []
        if delta.finish:
            pieces += one.reader.finish()
        one.pieces += pieces
        return events + b"".join(self._event(choice, one, self._piece(choice, piece)) for piece in pieces)

    def texts(self, choice: int, texts: Sequence[str]) -> bytes:
        """See Answer."""
        one = self._choices[choice]
        if one.opening:  # plain text, begun before: nearly every event of a stream
            opening, closing = one.opening, self._closing
            if len(texts) == 1:
                one.streamed += texts[0].encode()
                return b"%b%b%b" % (opening, _encode(texts[0]), closing)
            one.streamed += "".join(texts).encode()
            return b"".join([b"%b%b%b" % (opening, _encode(text), closing) for text in texts])
        if one.reader is None and not self._request.stream:
            one.texts += texts
            return b""
        return b"".join([self.take(choice, Delta(text)) for text in texts])

    def whole(self, usage: Usage) -> bytes:
        """See Answer."""
        if len(self._choices) == 1 and self._choices[0].reader is None and self._top_logprobs is None:
            return self._plain_whole(self._choices[0], usage)
        choices = [
            out.ChatChoice(
                index,
                one.message(f"call_{self._head.id[-24:]}{index:02d}"),
                None if self._top_logprobs is None else out.chat_logprobs(one.logprobs, self._top_logprobs),
                one.reason(),  # type: ignore[arg-type]  # the reasons are OpenAI's own
            )
            for index, one in enumerate(self._choices)
        ]
        head = self._head
        return _encode(
            out.ChatCompletion(
                head.id,
                head.created_s,
                head.model,
                choices,
                out.usage_out(usage),
                head.fingerprint,
                service_tier=head.service_tier,  # type: ignore[arg-type]  # one of OpenAI's names
            )
        )

    def _plain_whole(self, one: _Choice, usage: Usage) -> bytes:
        """Write what `whole` writes of one choice of text: the same bytes, without a tree of objects first."""
        head = self._head
        return _PLAIN_WHOLE % (
            _encode(head.id), head.created_s, _encode(head.model), _encode("".join(one.texts)), _encode(one.reason()),
            usage.input_tokens, usage.output_tokens, usage.input_tokens + usage.output_tokens, usage.cached_tokens,
            _encode(head.fingerprint), _encode(head.service_tier),
        )  # fmt: skip

    def last(self, usage: Usage) -> bytes:
        """See Answer."""
        events = b""
        for index, one in enumerate(self._choices):
            if not one.begun:
                events += self._begin(index, one)
            events += b'%b%d,"delta":{},"logprobs":%b,"finish_reason":%b%b' % (
                self._open, index, self._logprobs(one), _encode(one.reason()), self._close,
            )  # fmt: skip
        if self._request.include_usage:
            prefix = self._open[: -len(b'{"index":')]
            events += prefix + b'],"usage":%b}\n\n' % _encode(out.usage_out(usage))
        return events + END_OF_STREAM

    def restart(self, choice: int) -> None:
        """See Answer."""
        self._choices[choice] = _Choice(self._tools)

    def said(self) -> bytes:
        """See Answer."""
        return answer_bytes([one.said() for one in self._choices])

    def finish_reasons(self) -> tuple[str, ...]:
        """See Answer."""
        return tuple([one.reason() for one in self._choices])

    def broken(self) -> str | None:
        """See Answer. An engine that dropped a constraint must not pass for one that kept it."""
        if self._request.constraint is None and self._request.tool_mode != "required":
            return None
        for one in self._choices:
            if one.finish is FinishReason.LENGTH or self._request.sampling.stop:
                continue  # cut short by the caller's own bound
            if isinstance(self._request.constraint, JsonConstraint) and not _is_json("".join(one.texts)):
                return "the engine's answer is not the JSON that was asked for"
            if one.reader and self._request.tool_mode == "required" and not one.reader.calls:
                return "the engine called no tool although one was required"
        return None

    def _keep(self, one: _Choice, delta: Delta) -> None:
        if one.reader is None:
            one.texts.append(delta.text)
            return
        one.pieces += one.reader.feed(delta.text)
        if delta.finish:
            one.pieces += one.reader.finish()

    def _begin(self, index: int, one: _Choice) -> bytes:
        one.begun = True
        if one.reader is None and self._top_logprobs is None and self._request.constraint is None:
            one.opening = b'%b%d,"delta":{"content":' % (self._open, index)
        return b'%b%d,"delta":{"role":"assistant","content":"","refusal":null}%b' % (self._open, index, self._plain)

    def _event(self, index: int, one: _Choice, delta: bytes) -> bytes:
        if not one.logprobs:
            return b'%b%d,"delta":%b%b' % (self._open, index, delta, self._plain)
        return b'%b%d,"delta":%b,"logprobs":%b,"finish_reason":null%b' % (
            self._open, index, delta, self._logprobs(one), self._close,
        )  # fmt: skip

    def _logprobs(self, one: _Choice) -> bytes:
        """Write what no chunk has carried yet: text may be held back until it is known whether it is a call."""
        if not one.logprobs:
            return _NO_LOGPROBS
        written = _encode(out.chat_logprobs(one.logprobs, self._top_logprobs or 0))
        one.logprobs.clear()
        return written

    def _piece(self, index: int, piece: Piece) -> bytes:
        if isinstance(piece, TextPiece):
            return b'{"content":%b}' % _encode(piece.text)
        if isinstance(piece, CallPiece):
            call_id = f"call_{self._head.id[-24:]}{index:02d}{piece.index}"
            call = b'{"index":%d,"id":%b,"type":"function","function":{"name":%b,"arguments":""}}' % (
                piece.index, _encode(call_id), _encode(piece.name),
            )  # fmt: skip
        else:
            assert isinstance(piece, ArgumentsPiece)
            call = b'{"index":%d,"function":{"arguments":%b}}' % (piece.index, _encode(piece.text))
        return b'{"tool_calls":[%b]}' % call


def _is_json(text: str) -> bool:
    try:
        msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError):
        return False
    return True
