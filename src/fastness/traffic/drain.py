"""How fast a queue drains: measured by those who left their slots while others waited."""

from __future__ import annotations

from typing import Final

WINDOW_S: Final = 15.0
"""Departures are counted in windows of this length; the present one and the one before it count."""
DEPARTURES_MIN: Final = 5
"""With fewer departures than these, the rate follows from how long slots were held (Little's law)."""
HELD_S_MIN: Final = 0.001


class Drain:
    """Departures a second. `held_s` is a moving average of how long a slot is held, in seconds."""

    __slots__ = ("_before", "_count", "_since_s", "held_s")

    def __init__(self) -> None:
        self.held_s = 1.0
        self._since_s = 0.0
        self._count = 0
        self._before: int | None = None

    def begin(self, now_s: float) -> None:
        """Begin to measure: somebody waits from now on, so that each departure makes room for the next."""
        self._since_s, self._count, self._before = now_s, 0, None

    def note(self, now_s: float, held_s: float, busy: bool) -> None:
        """Count a departure after `held_s`; `busy`: somebody waits."""
        self.held_s += 0.1 * (held_s - self.held_s)
        if busy:
            self._turn(now_s)
            self._count += 1

    def rate(self, now_s: float, slots: int) -> float:
        """Departures a second of `slots` slots together; above 0."""
        self._turn(now_s)
        elapsed_s = max(0.0, now_s - self._since_s)
        counted, seen_s = float(self._count), elapsed_s
        if self._before is not None:
            counted += self._before * (1.0 - elapsed_s / WINDOW_S)
            seen_s = WINDOW_S
        if counted >= DEPARTURES_MIN:
            return counted / max(seen_s, HELD_S_MIN)
        return max(1, slots) / max(self.held_s, HELD_S_MIN)

    def _turn(self, now_s: float) -> None:
        passed = int((now_s - self._since_s) / WINDOW_S)
        if passed > 0:
            self._before = self._count if passed == 1 else 0
            self._count = 0
            self._since_s += passed * WINDOW_S
