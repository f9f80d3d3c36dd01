"""Who runs now, who waits, and on which replica: one queue in front of one model's replicas.

Pure: the caller passes what happened and when, and performs what comes back. A ticket is any hashable the caller
chose. First come, first served; the least loaded ready replica takes the next one. A ticket may be choosy: it may run
on some of the replicas only. It waits for one of those, and whoever can use another replica passes it.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable, Iterable, Iterator
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

    `waiting_max` bounds those without a slot. `choosy` holds, of those who wait, the replicas of the ones that may not
    use all. `service_s` is a moving average of how long a slot is held, from which Retry-After is computed. At any time
    nobody waits who could use a free slot; so nobody is overtaken by somebody who takes one.
    """

    waiting_max: int
    lanes: dict[str, Lane] = field(default_factory=dict)
    waiting: OrderedDict[Hashable, float] = field(default_factory=OrderedDict)
    choosy: dict[Hashable, frozenset[str]] = field(default_factory=dict)
    service_s: float = 1.0

    def arrive(
        self, ticket: Hashable, now_s: float, usable: frozenset[str] | None = None, *, first: bool = False
    ) -> str | Full | None:
        """Return the replica that takes the ticket at once, None when it waits, or Full.

        `usable` are the replicas that may take it; None: any. `first`: it was in before, and waits in front of all.
        """
        # While somebody waits who is not choosy, nothing is free. While only choosy ones wait, something may be.
        if (not self.waiting or self.choosy) and (lane := self._freest(usable)):
            lane.in_flight += 1
            return lane.replica
        if len(self.waiting) >= self.waiting_max and not first:
            return Full(len(self.waiting), self.retry_after_s(usable))
        self.waiting[ticket] = now_s
        if first:
            self.waiting.move_to_end(ticket, last=False)
        if usable is not None:
            self.choosy[ticket] = usable
        return None

    def allow(self, ticket: Hashable, usable: frozenset[str] | None) -> None:
        """Let a ticket that waits use these replicas from now on; `advance` then moves it if it can."""
        if ticket in self.waiting:
            if usable is None:
                self.choosy.pop(ticket, None)
            else:
                self.choosy[ticket] = usable

    def leave(self, ticket: Hashable) -> bool:
        """Forget a ticket that waits; tell whether it did."""
        self.choosy.pop(ticket, None)
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
        if self.choosy:
            return self._advance_choosy()
        moved: list[tuple[Hashable, str]] = []
        while self.waiting and (lane := self._freest()):
            ticket, _ = self.waiting.popitem(last=False)
            lane.in_flight += 1
            moved.append((ticket, lane.replica))
        return moved

    def retry_after_s(self, usable: frozenset[str] | None = None) -> int:
        """Estimate in whole seconds, from 1 to 60, when a newcomer would find a place."""
        slots = sum(lane.capacity for lane in self._open(usable)) or 1
        return max(1, min(60, round(self.service_s * (len(self.waiting) + 1) / slots)))

    def is_served(self, usable: frozenset[str] | None = None) -> bool:
        """Tell whether any replica is open; of `usable`, unless that is None."""
        return any(True for _ in self._open(usable))

    def _open(self, usable: frozenset[str] | None) -> Iterator[Lane]:
        return (lane for name, lane in self.lanes.items() if lane.open and (usable is None or name in usable))

    def _advance_choosy(self) -> list[tuple[Hashable, str]]:
        moved: list[tuple[Hashable, str]] = []
        stuck: set[frozenset[str] | None] = set()  # each set of replicas is looked through once after nothing is free
        for ticket in list(self.waiting):
            usable = self.choosy.get(ticket)
            if usable in stuck:
                continue
            if lane := self._freest(usable):
                lane.in_flight += 1
                self.leave(ticket)
                moved.append((ticket, lane.replica))
            elif usable is None:
                break
            else:
                stuck.add(usable)
        return moved

    def _freest(self, usable: frozenset[str] | None = None) -> Lane | None:
        best: Lane | None = None
        for lane in self.lanes.values():
            if lane.open and lane.in_flight < lane.capacity and (usable is None or lane.replica in usable):
                load = lane.in_flight / lane.capacity
                if best is None or load < best.in_flight / best.capacity:
                    best = lane
        return best
