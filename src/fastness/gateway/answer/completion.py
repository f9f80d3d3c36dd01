"""The answer of /v1/completions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec

from fastness.core.request import CompletionRequest, Delta, FinishReason, TokenLogprob, Usage
from fastness.gateway.answer.port import END_OF_STREAM, Head
from fastness.gateway.canonical import answer_bytes
from fastness.gateway.wire import out

_encode: Final = msgspec.json.Encoder().encode


class _Choice:
    """One choice in the making; `prompt` is what `echo` puts in front, `length` the characters of tokens sent."""

    __slots__ = ("finish", "length", "logprobs", "prompt", "streamed", "texts")

    def __init__(self, prompt: str) -> None:
        self.prompt = prompt
        self.texts: list[str] = []
        self.logprobs: list[TokenLogprob] = []
        self.finish: FinishReason | None = None
        self.length = 0
        self.streamed = bytearray()  # the text that went out in events: as bytes, in a tenth of the memory

    def reason(self) -> str:
        """How this choice ended, in OpenAI's words."""
        return (self.finish or FinishReason.STOP).value


class CompletionAnswer:
    """Builds the answer of one completion request: choices of the first prompt first."""

    def __init__(self, request: CompletionRequest, head: Head) -> None:
        self._request = request
        self._head = head
        self._top_logprobs = request.sampling.top_logprobs
        self._choices = [
            _Choice(str(prompt) if request.echo else "") for prompt in request.prompts for _ in range(request.choices)
        ]

    def take(self, choice: int, delta: Delta) -> bytes:
        """See Answer."""
        one = self._choices[choice]
        if delta.finish:
            one.finish = delta.finish
        if self._top_logprobs is not None:
            one.logprobs += delta.logprobs
        if not self._request.stream:
            one.texts.append(delta.text)
            return b""
        text = delta.text
        if one.prompt:
            text, one.prompt = one.prompt + text, ""
        one.streamed += text.encode()
        return self._event(choice, one, text, None) if text else b""

    def texts(self, choice: int, texts: Sequence[str]) -> bytes:
        """See Answer."""
        if not self._request.stream:
            self._choices[choice].texts += texts
            return b""
        return b"".join([self.take(choice, Delta(text)) for text in texts])

    def whole(self, usage: Usage) -> bytes:
        """See Answer."""
        choices = [
            out.CompletionChoice(
                index,
                one.prompt + "".join(one.texts),
                self._logprobs(one),
                one.reason(),  # type: ignore[arg-type]  # the reasons are OpenAI's own
            )
            for index, one in enumerate(self._choices)
        ]
        return _encode(self._completion(choices, out.usage_out(usage)))

    def last(self, usage: Usage) -> bytes:
        """See Answer."""
        events = b"".join(self._event(index, one, "", one.reason()) for index, one in enumerate(self._choices))
        if self._request.include_usage:
            events += b"data: %b\n\n" % _encode(self._completion([], out.usage_out(usage)))
        return events + END_OF_STREAM

    def restart(self, choice: int) -> None:
        """See Answer."""
        self._choices[choice] = _Choice(self._choices[choice].prompt)

    def said(self) -> bytes:
        """See Answer."""
        if self._request.stream:
            return answer_bytes([(one.streamed.decode(), ()) for one in self._choices])
        return answer_bytes([(one.prompt + "".join(one.texts), ()) for one in self._choices])

    def finish_reasons(self) -> tuple[str, ...]:
        """See Answer."""
        return tuple(one.reason() for one in self._choices)

    def broken(self) -> str | None:
        """See Answer: nothing is enforced on this route."""
        return None

    def _logprobs(self, one: _Choice) -> out.CompletionLogprobs | None:
        if self._top_logprobs is None:
            return None
        return out.completion_logprobs(one.logprobs, self._top_logprobs, one.length)

    def _event(self, index: int, one: _Choice, text: str, reason: str | None) -> bytes:
        """Write a chunk with the log probabilities that no chunk has carried yet."""
        logprobs = self._logprobs(one) if one.logprobs else None
        one.length += sum(len(token.token) for token in one.logprobs)
        one.logprobs.clear()
        usage = None if self._request.include_usage else msgspec.UNSET
        choice = out.CompletionChoice(index, text, logprobs, reason)  # type: ignore[arg-type]  # as above
        return b"data: %b\n\n" % _encode(self._completion([choice], usage))

    def _completion(
        self, choices: list[out.CompletionChoice], usage: out.UsageOut | msgspec.UnsetType | None
    ) -> out.Completion:
        head = self._head
        return out.Completion(head.id, head.created_s, head.model, choices, head.fingerprint, usage)
