"""How long a deployment without a ready replica takes to have one: measured, so that who asks hears the truth. Pure.

Counted from when somebody asked for one that was not there; where nobody ever did, from when an engine was seen to
start. The last few times count: the shortest tells who waits in vain, the longest when to come back.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Set
from dataclasses import dataclass, field
from math import ceil
from typing import Final

KEPT: Final = 3
"""So many of the last times are kept."""
TOOK_S_MAX: Final = 600.0
"""No start counts for longer."""
ASKED_AGAIN_S: Final = 60.0
"""Who asks after nobody did for so long is the first again."""
PLACING_S: Final = 1.0
"""From a request to the start of an engine, where only starts of engines were seen."""
RETRY_AFTER_S_MAX: Final = 300
UNKNOWN_RETRY_S: Final = (2, 30)
"""Bounds of when to come back where no start was ever seen: half of the time since it was asked for."""

Start = tuple[str, int]
"""A start of a replica: its id and epoch."""


@dataclass(slots=True)
class Starts:
    """The starts of one deployment. `asked_s` is since when somebody waits for a first replica; None: nobody does."""

    asked_s: float | None = None
    _asked_last_s: float = 0.0
    _waking: deque[float] = field(default_factory=lambda: deque(maxlen=KEPT))
    _starting: deque[float] = field(default_factory=lambda: deque(maxlen=KEPT))
    _began: dict[Start, float] = field(default_factory=dict)

    def asked(self, now_s: float) -> None:
        """Somebody asks while no replica is ready."""
        if self.asked_s is None or now_s - self._asked_last_s > ASKED_AGAIN_S:
            self.asked_s = now_s
        self._asked_last_s = now_s

    def saw(self, starting: Set[Start], ready: Iterable[Start], now_s: float) -> None:
        """Take what is seen of the replicas now."""
        is_ready = False
        for one in ready:
            is_ready = True
            if (began_s := self._began.pop(one, None)) is not None:
                self._starting.append(min(TOOK_S_MAX, now_s - began_s))
        self._began = {one: self._began.get(one, now_s) for one in starting}
        if is_ready and self.asked_s is not None:
            self._waking.append(min(TOOK_S_MAX, now_s - self.asked_s))
            self.asked_s = None

    def took_s(self) -> tuple[float, float] | None:
        """The shortest and the longest of the last times, from the asking on; None when nothing was seen yet."""
        if self._waking:
            return min(self._waking), max(self._waking)
        if self._starting:
            return min(self._starting), max(self._starting) + PLACING_S
        return None

    def elapsed_s(self, now_s: float) -> float:
        """For how long one has been asked for, or is starting, already."""
        since_s = min((now_s if self.asked_s is None else self.asked_s, *self._began.values()))
        return max(0.0, now_s - since_s)

    def is_vain(self, now_s: float, deadline_s: float) -> bool:
        """Tell whether even the quickest start that was seen would be too late for who must run by `deadline_s`."""
        took = self.took_s()
        return took is not None and now_s - self.elapsed_s(now_s) + took[0] > deadline_s

    def retry_after_s(self, now_s: float) -> int:
        """When one is likely ready, in whole seconds from now, at least 1."""
        elapsed_s, took = self.elapsed_s(now_s), self.took_s()
        if took is not None and elapsed_s < took[1]:
            return max(1, min(RETRY_AFTER_S_MAX, ceil(took[1] - elapsed_s)))
        least, most = UNKNOWN_RETRY_S
        return max(least, min(most, ceil(elapsed_s / 2)))
