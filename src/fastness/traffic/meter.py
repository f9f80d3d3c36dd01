"""One number of one limit, as a gateway keeps it in its present window."""

from __future__ import annotations

from typing import Final

from fastness.core.limit import Limit, Metric

SLICES: Final = 16
"""A gateway leases a limit in so many parts, so that one that ends leaves little unused and others find some."""


class Meter:
    """One number of one limit in its present window.

    `held` is what this gateway may use in it, `taken` what it has reserved and used, `others` what is charged to
    everybody else (and to earlier starts of this gateway), as control said at `told_s`. `asked` is what waits for a
    lease; `watched` whether somebody wants to know what is left.
    """

    __slots__ = (
        "asked", "bound", "counts_tokens", "held", "limit", "low", "metric", "others", "period_s", "taken", "taken_s",
        "told_s", "until_s", "watched", "window_s",
    )  # fmt: skip

    def __init__(self, limit: Limit, metric: Metric, bound: int) -> None:
        self.limit, self.metric, self.bound = limit, metric, bound
        self.counts_tokens, self.period_s = metric.counts_tokens, metric.period_s
        self.held = self.taken = self.others = self.asked = self.low = 0
        self.window_s = 0
        self.watched = False
        self.until_s = self.told_s = self.taken_s = 0.0

    @property
    def slice(self) -> int:
        """How much is leased at a time."""
        return -(-self.bound // SLICES)

    @property
    def left(self) -> int:
        """What is left of the whole limit, as far as is known here: never more than there is."""
        return max(0, self.bound - self.others - self.taken)

    def resets_s(self, now_s: float) -> float:
        """Return in how many seconds all of it is there again; 0 for what has no window."""
        return self.metric.window_s(now_s) + self.period_s - now_s if self.period_s else 0.0

    def roll(self, now_s: float) -> None:
        """The lease has ended: with its window, which begins anew, or for want of renewal."""
        if self.period_s:
            self.window_s = self.metric.window_s(now_s)
            self.until_s = self.window_s + self.period_s
            self.taken = self.others = 0
            self.told_s = 0.0
        self.held = self.low = 0
