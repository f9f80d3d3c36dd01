"""How many runs may be tried again: a part of what succeeds and a little more, so that retries never become a storm.

Pure. A bucket: each success puts `share` of a retry into it, each second `floor_per_s`, and it holds `burst` at most.
A run that came to its end gives its own retries back: an engine that dies again and again costs nothing as long as
others go on with its work. When everything fails, engines are asked at most what is asked of us, plus the floor.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class RetryBudget:
    """The bucket of one model at one gateway. It begins full: one death may hit as many runs as a replica has slots."""

    share: float
    floor_per_s: float
    burst: float
    since_s: float
    retries: float = 0.0

    def __post_init__(self) -> None:
        self.retries = self.burst

    def succeeded(self, retries: int = 0) -> None:
        """Count a run that came to its end, after so many retries."""
        self.retries = min(self.burst, self.retries + self.share + retries)

    def take(self, now_s: float) -> bool:
        """Take one retry; False when there is none to take."""
        elapsed_s, self.since_s = max(0.0, now_s - self.since_s), max(now_s, self.since_s)
        self.retries = min(self.burst, self.retries + elapsed_s * self.floor_per_s)
        if self.retries < 1.0:
            return False
        self.retries -= 1.0
        return True
