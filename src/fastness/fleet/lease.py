"""The lease of a node: for how long it may keep its engines up without a word from the head. No clock of its own."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import Final

REPORTS_MAX: Final = 256
"""Reports whose answer may still come; an answer to an older one is worth nothing."""


@dataclass(slots=True)
class Lease:
    """Runs from when the newest report that the head answered was written, for `length_s`.

    Times are seconds of one clock of this machine that only goes forward. A report is known by its `at_ms`. So however
    long an answer is on its way, the lease ends no later than `length_s` after the head could have heard that report.
    """

    length_s: float
    _written: deque[tuple[int, float]] = field(default_factory=lambda: deque(maxlen=REPORTS_MAX))
    _from_s: float | None = None

    def wrote(self, at_ms: int, now_s: float) -> None:
        """Take note that a report was written."""
        self._written.append((at_ms, now_s))

    def answered(self, at_ms: int) -> bool:
        """Renew by the head's answer to the report of `at_ms`; tell whether that made it longer."""
        for known_ms, written_s in self._written:
            if known_ms == at_ms and (self._from_s is None or written_s > self._from_s):
                self._from_s = written_s
                return True
        return False

    @property
    def from_s(self) -> float | None:
        """When the report was written that it runs from; None: there never was one."""
        return self._from_s

    @property
    def until_s(self) -> float:
        """When it ends, or has ended; long ago where there never was one."""
        return float("-inf") if self._from_s is None else self._from_s + self.length_s

    def left_s(self, now_s: float) -> float:
        """Return for how long it still holds; 0.0: it lapsed, or there never was one."""
        return max(0.0, self.until_s - now_s)
