"""Who runs now, who waits, and on which replica: one queue in front of one model's replicas.

Pure: the caller passes what happened and when, and performs what comes back. A ticket is any hashable the caller
chose. First come, first served; the least loaded ready replica takes the next one.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable, Iterable
from dataclasses import dataclass, field


@dataclass(slots=True)
class Lane:
    """One replica as the queue sees it: `capacity` counts its slots and the few that may wait inside the engine."""

    replica: str
    capacity: int
    in_flight: int = 0
    open: bool = True


@dataclass(frozen=True, slots=True)
class Full:
    """The queue is full; a slot for a newcomer is likely free after `retry_after_s`."""

    waiting: int
    retry_after_s: int


@dataclass(slots=True)
class SlotQueue:
    """The state of one model's queue.

    `waiting_max` bounds those without a slot. `service_s` is a moving average of how long a slot is held, from which
    Retry-After is computed.
    """

    waiting_max: int
    lanes: dict[str, Lane] = field(default_factory=dict)
    waiting: OrderedDict[Hashable, float] = field(default_factory=OrderedDict)
    service_s: float = 1.0

    def arrive(self, ticket: Hashable, now_s: float) -> str | Full | None:
        """Return the replica that takes the ticket at once, None when it waits, or Full."""
        if not self.waiting and (lane := self._freest()):
            lane.in_flight += 1
            return lane.replica
        if len(self.waiting) >= self.waiting_max:
            return Full(len(self.waiting), self.retry_after_s())
        self.waiting[ticket] = now_s
        return None

    def leave(self, ticket: Hashable) -> bool:
        """Forget a ticket that waits; tell whether it did."""
        return self.waiting.pop(ticket, None) is not None

    def release(self, replica: str, held_s: float | None = None) -> list[tuple[Hashable, str]]:
        """Give a slot back; return the tickets that may run now, each with its replica."""
        if held_s is not None:
            self.service_s += 0.1 * (held_s - self.service_s)
        if lane := self.lanes.get(replica):
            lane.in_flight -= 1
            if not lane.open and lane.in_flight == 0:
                del self.lanes[replica]
        return self.advance()

    def close(self, replica: str) -> None:
        """Send nothing more to a replica, until `set_lanes` names it again."""
        if lane := self.lanes.get(replica):
            lane.open = False

    def set_lanes(self, ready: Iterable[tuple[str, int]]) -> list[tuple[Hashable, str]]:
        """Take the ready replicas with their capacities; the others get nothing new. Return who may run now."""
        wanted = dict(ready)
        for name, lane in list(self.lanes.items()):
            lane.open = name in wanted
            if not lane.open and lane.in_flight == 0:
                del self.lanes[name]
        for name, capacity in wanted.items():
            self.lanes.setdefault(name, Lane(name, capacity)).capacity = capacity
        return self.advance()

    def advance(self) -> list[tuple[Hashable, str]]:
        """Move waiting tickets into free slots, first come, first served."""
        moved: list[tuple[Hashable, str]] = []
        while self.waiting and (lane := self._freest()):
            ticket, _ = self.waiting.popitem(last=False)
            lane.in_flight += 1
            moved.append((ticket, lane.replica))
        return moved

    def retry_after_s(self) -> int:
        """Estimate in whole seconds, from 1 to 60, when a newcomer would find a place."""
        slots = sum(lane.capacity for lane in self.lanes.values() if lane.open) or 1
        return max(1, min(60, round(self.service_s * (len(self.waiting) + 1) / slots)))

    def is_served(self) -> bool:
        """Tell whether any replica is open."""
        return any(lane.open for lane in self.lanes.values())

    def _freest(self) -> Lane | None:
        best: Lane | None = None
        for lane in self.lanes.values():
            if lane.open and lane.in_flight < lane.capacity:
                load = lane.in_flight / lane.capacity
                if best is None or load < best.in_flight / best.capacity:
                    best = lane
        return best
