"""What the journey needs of an answer being written, whatever the route."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from fastness.core.request import Delta, Usage
from fastness.core.value import quick


@quick
@dataclass(frozen=True, slots=True)
class Head:
    """What every answer and every chunk of it repeats."""

    id: str
    created_s: int
    model: str
    fingerprint: str
    service_tier: str = "default"


class Answer(Protocol):
    """One answer in the making: `take` each delta, then either `whole`, or `last` after streaming what `take` gave."""

    def take(self, choice: int, delta: Delta) -> bytes:
        """Take what the engine added to a choice; return the events to stream now (empty when not streaming)."""
        ...

    def texts(self, choice: int, texts: Sequence[str]) -> bytes:
        """Take several texts at once, none empty, each of which `take` would have taken as a delta of its own."""
        ...

    def whole(self, usage: Usage) -> bytes:
        """Return the body of the answer."""
        ...

    def last(self, usage: Usage) -> bytes:
        """Return the events that end the stream: finish reasons, usage if asked for, and the end mark."""
        ...

    def restart(self, choice: int) -> None:
        """Forget what was taken of a choice, of which nobody has seen anything."""
        ...

    def said(self) -> bytes:
        """Return what was said in all choices in its canonical form: the same of a stream as of a whole answer."""
        ...

    def finish_reasons(self) -> tuple[str, ...]:
        """Return how each choice ended, in order."""
        ...

    def broken(self) -> str | None:
        """Say what is wrong with the finished answer (an enforced format that does not hold), or None."""
        ...


END_OF_STREAM = b"data: [DONE]\n\n"
