"""How many lines may be under way at once: fewer after each refusal for lack of room, slowly more while all goes well.

Pure: `now_s` is of any clock that only goes forward, in seconds.
"""

from __future__ import annotations

from typing import Final

PAUSE_S_MIN: Final = 0.25
PAUSE_S_MAX: Final = 30.0
"""A pause after a refusal, whatever its Retry-After says."""


class Pace:
    """Additive increase, multiplicative decrease, and a pause for as long as a refusal asks for."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._room = float(most)
        self._resumes_at_s = 0.0
        self.under_way = 0

    @property
    def room(self) -> int:
        """How many may be under way."""
        return int(self._room)

    def wait_s(self, now_s: float) -> float | None:
        """Return 0 when one more may go, the seconds to pause first, or None: until one comes back."""
        if self.under_way >= self.room:
            return None
        return max(0.0, self._resumes_at_s - now_s)

    def go(self) -> None:
        """One goes."""
        self.under_way += 1

    def back(self) -> None:
        """One came back, whatever it brought."""
        self.under_way -= 1

    def answered(self) -> None:
        """It brought an answer."""
        self._room = min(float(self._most), self._room + 1 / self._room)

    def refused(self, now_s: float, retry_after_s: float | None) -> None:
        """There was no room for it. Refusals during a pause are of the same lack of room: they lengthen it at most."""
        pause_s = min(PAUSE_S_MAX, max(PAUSE_S_MIN, retry_after_s or 0.0))
        if now_s >= self._resumes_at_s:
            self._room = max(1.0, self._room / 2)
        self._resumes_at_s = max(self._resumes_at_s, now_s + pause_s)
