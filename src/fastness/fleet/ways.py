"""By which way the letters of a node go: by Ray's, or by the doors' while Ray's is no good. No clock of its own.

Ray may be away, or slow, or lie; a way is as good as what came by it. So what counts is when we wrote the newest report
that something brought by Ray answers, and not whether Ray says that it is well, nor whether it brings anything.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import Final

ANSWERS_MAX: Final = 8
"""Answers that are known again when the other way brings them later."""
FIRST_S: Final = 30.0
"""How long Ray may take to begin; before the head has heard of a node by Ray it takes nothing from its door."""


@dataclass(slots=True)
class Ways:
    """Begun at `begun_s`. Times are seconds of one clock that only goes forward."""

    begun_s: float
    _answers: deque[tuple[bytes, float]] = field(default_factory=lambda: deque(maxlen=ANSWERS_MAX))
    _by_ray_s: float | None = None

    def renewed(self, letter: bytes, written_s: float) -> None:
        """Take note of a letter that renewed the lease, and of when the report that it answers was written."""
        self._answers.append((letter, written_s))

    def knows(self, letter: bytes) -> bool:
        """Tell whether it is one of the last of these."""
        return any(known == letter for known, _ in self._answers)

    def ray_brought(self, letter: bytes) -> None:
        """Take note that Ray brought a letter, be it after the doors did. Only what renewed the lease counts."""
        for known, written_s in self._answers:
            if known == letter and (self._by_ray_s is None or written_s > self._by_ray_s):
                self._by_ray_s = written_s

    def by_door(self, now_s: float, patience_s: float) -> bool:
        """Tell whether the doors have to carry: nothing that Ray brought is as new as `patience_s`."""
        if self._by_ray_s is None:
            return now_s - self.begun_s > FIRST_S
        return now_s - self._by_ray_s > patience_s
