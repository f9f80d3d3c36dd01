"""What is known of an answer whose engine died, and what is left to ask of another one. Pure.

An engine's events say whole characters and hold back what may begin a stop sequence, so the text that came is a point
from which one can go on: what was held back is written again. Each event's text is kept apart from the next, since it
nearly always is one token's: tokenised event by event, the text gives the tokens that the engine had chosen.

A grammar cannot begin in the middle. A constrained answer is made again from its start, with the same seed, and what
came before must come again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from fastness.core.request import Delta, FinishReason, Generation, TokenLogprob, Usage

SEAM: Final = "\ud800"
"""Stands after each event's text where several are kept together: half a character, which no text has."""
TOGETHER: Final = 64
"""So many texts are kept one by one before they are put together, in a tenth of the memory."""


class Diverged(ValueError):  # noqa: N818 - says what happened
    """An answer that was made again did not begin with what had been sent."""


class Written:
    """What came of one generation so far. `prompt` are the tokens of its input, once they were asked for."""

    __slots__ = ("_kept", "_kept_count", "_latest", "finish", "prompt")

    def __init__(self) -> None:
        self._kept = bytearray()
        self._latest: list[str] = []
        self._kept_count = 0
        self.finish: FinishReason | None = None
        self.prompt: tuple[int, ...] | None = None

    def add(self, delta: Delta) -> None:
        """Take what an event added."""
        if delta.text:
            self.add_texts((delta.text,))
        if delta.finish:
            self.finish = delta.finish

    def add_texts(self, texts: Sequence[str]) -> None:
        """Take what events added of which each is a text and nothing else; none is empty."""
        latest = self._latest
        latest += texts
        if len(latest) >= TOGETHER:
            self._kept += (SEAM.join(latest) + SEAM).encode("utf-8", "surrogatepass")
            self._kept_count += len(latest)
            latest.clear()

    @property
    def begun(self) -> bool:
        """Whether anything came."""
        return bool(self._latest or self._kept_count) or self.finish is not None

    @property
    def count(self) -> int:
        """How many events had text."""
        return self._kept_count + len(self._latest)

    @property
    def texts(self) -> list[str]:
        """The text of each event."""
        return self._kept.decode("utf-8", "surrogatepass").split(SEAM)[:-1] + self._latest

    @property
    def text(self) -> str:
        """All of it."""
        return "".join(self.texts)

    def forget(self) -> None:
        """Begin anew."""
        self._kept.clear()
        self._latest.clear()
        self._kept_count, self.finish = 0, None


def continuation(
    work: Generation, prompt: tuple[int, ...], said: tuple[int, ...], context_tokens: int
) -> Generation | None:
    """Return the generation that goes on after `said`; None when no token may follow."""
    limit = work.sampling.max_output_tokens
    left = None if limit is None else limit - len(said)
    if (left is not None and left <= 0) or len(prompt) + len(said) >= context_tokens:
        return None
    return replace(work, messages=(), prompt=prompt + said, sampling=replace(work.sampling, max_output_tokens=left))


def usage_of(prompt: tuple[int, ...], said: tuple[int, ...], rest: Usage) -> Usage:
    """Add up what the whole answer took; `rest` is what the engine metered of its last part."""
    return Usage(len(prompt), len(said) + rest.output_tokens, min(rest.cached_tokens, len(prompt)))


def usage_at_end(prompt: tuple[int, ...], said: tuple[int, ...], finish: FinishReason) -> Usage:
    """What an answer took that had ended, but for its usage: a stop takes one token that has no text."""
    return Usage(len(prompt), len(said) + (finish is FinishReason.STOP))


@dataclass(slots=True)
class Replay:
    """An answer that is made again: `left` of its text is known already."""

    left: str

    def take(self, delta: Delta) -> Delta | None:
        """Return what is new in `delta`, None for nothing; raises Diverged."""
        if not self.left:
            return delta
        known = min(len(self.left), len(delta.text))
        if self.left[:known] != delta.text[:known] or (delta.finish and known < len(self.left)):
            raise Diverged("the answer did not begin again as it had begun")
        self.left = self.left[known:]
        if known == len(delta.text) and not delta.finish:
            return None
        return replace(delta, text=delta.text[known:], logprobs=_after(delta.logprobs, known))


def _after(logprobs: tuple[TokenLogprob, ...], chars: int) -> tuple[TokenLogprob, ...]:
    for index, token in enumerate(logprobs):
        if chars <= 0:
            return logprobs[index:]
        chars -= len(token.token)
    return ()
