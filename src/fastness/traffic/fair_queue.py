"""Who runs now, who waits, and on which replica: one fair queue in front of one model's replicas.

Pure: the caller passes what happened and when, and performs what comes back. A ticket is any hashable of the caller's.

Between tenants, virtual token counters (VTC, OSDI '24): a tenant's counter grows by weighted tokens over its share when
one of its tickets gets a slot, by the estimate; `settle` then puts the real tokens in its place. Of the tenants that
wait, the one with the least counter is next. A tenant that comes back is lifted to where the others are: idle time is
not banked, and the use of idle capacity is no debt. Inside a tenant: bands, then first come, first served. BATCH of any
tenant takes only what nobody more urgent can use. A ticket may be choosy (some replicas only): others pass it. One
whose engine failed waits in front of all: it was in before.

At any time nobody waits who could use a free slot; so nobody is overtaken by somebody who takes one.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass
from heapq import heapify, heappop, heappush
from math import ceil
from typing import Final, NamedTuple

from fastness.core.priority import Band
from fastness.traffic.backlog import Backlog, Entry, Waiting
from fastness.traffic.counters import Account, Ask, Counters, Usable, cost
from fastness.traffic.drain import Drain
from fastness.traffic.lanes import Lane, least_loaded

__all__ = ["Ask", "Band", "FairQueue", "Full", "Lane", "Usable", "least_loaded"]

RETRY_AFTER_S_MAX: Final = 60

_BATCH: Final = Band.BATCH
"""Looked up once: an enum's member costs a quarter of a microsecond each time in Python 3.11."""

Moved = list[tuple[Hashable, str]]


@dataclass(frozen=True, slots=True)
class Full:
    """No place to wait: so many wait, in a queue of `limit` places; of the newcomer's `tenant` alone unless it is None.

    A slot for the newcomer is likely free after `retry_after_s`.
    """

    waiting: int
    retry_after_s: int
    limit: int = 0
    tenant: str | None = None


class Line(NamedTuple):
    """Who waits: how many, without batches and with nothing else; since when the first does that is no batch."""

    waiting: int
    batches: int
    since_s: float | None


def _nobody(_: str) -> None:
    pass


class FairQueue:
    """The state of one model's queue.

    `waiting_max` bounds those without a slot. One tenant may hold `tenant_part` of it when nobody else waits; when
    several flood, each holds less, so that some places are always left for whoever comes next; its batches hold less
    still, so that they do not lock itself out. A lane has room while a slot of it is free and it has fewer than
    `unread_max` tokens unread (0: however many): what waits inside an engine cannot be ordered any more. `choose` picks
    one of the open lanes that have room and that the ticket may use. `dispatched` counts by band; `choosy` counts those
    of the `waiting` that may not use all replicas.
    """

    def __init__(
        self,
        waiting_max: int,
        choose: Callable[[Hashable, Sequence[Lane]], Lane] = least_loaded,
        tenant_part: float = 1.0,
        unread_max: int = 0,
    ) -> None:
        self.waiting_max = waiting_max
        self.choose = choose
        self.lanes: dict[str, Lane] = {}
        self.waiting: dict[Hashable, Waiting] = {}
        self.dispatched = [0] * len(Band)
        self.drain = Drain()
        # n tickets of a tenant may wait while n < ratio * free places: alone, that is `tenant_part` of all.
        self._unread_max = unread_max or float("inf")
        self._ratio = tenant_part / (1.0 - tenant_part) if tenant_part < 1.0 else float("inf")
        self.counters = Counters()
        self._returning, self._urgent, self._batch = Backlog(), Backlog(), Backlog()
        self._deadlines: list[tuple[float, int, Waiting]] = []
        self.emptied: Callable[[str], None] = _nobody
        """Whom to tell of a replica that gets nothing new, when nothing is left there."""
        self.choosy = self.batch_running = 0
        self._arrivals = 0

    def arrive(self, ticket: Hashable, ask: Ask, now_s: float) -> str | Full | None:
        """Return the replica that takes the ticket at once, None when it waits, or Full."""
        account = self.counters.of(ask)
        # While somebody waits who is not choosy, nothing is free. While only choosy ones wait, something may be.
        if (self.choosy or not self.waiting) and (lanes := self._room(ask.usable)):
            if not account.waiting:
                self._lift(account)
            return self._dispatch(ticket, ask, account, lanes)
        if (full := self._full(account, ask, now_s)) is not None:
            return full
        self._wait(ticket, ask, account, now_s)
        return None

    def seize(self, ticket: Hashable, ask: Ask) -> str | None:
        """Return the replica that takes the ticket at once; None: none is free for it, or somebody waits."""
        if self.waiting or not (lanes := self._room(ask.usable)):
            return None
        account = self.counters.of(ask)
        self._lift(account)
        return self._dispatch(ticket, ask, account, lanes)

    def allow(self, ticket: Hashable, usable: Usable) -> None:
        """Let a ticket that waits use these replicas from now on; `advance` then moves it if it can."""
        one = self.waiting.get(ticket)
        if one is not None and one.usable != usable:
            backlog = self._backlog(one.ask)
            backlog.leave(one)
            self.choosy += (usable is not None) - (one.usable is not None)
            one.usable = usable
            backlog.join(one)

    def leave(self, ticket: Hashable) -> bool:
        """Forget a ticket that waits; tell whether it did."""
        one = self.waiting.get(ticket)
        if one is None:
            return False
        self._take_out(one)
        return True

    def read(self, replica: str, ask: Ask) -> Moved:
        """A replica has read the prompt of `ask`: its first token came. Return the tickets that may run now."""
        if (lane := self.lanes.get(replica)) is not None:
            lane.unread = max(0, lane.unread - ask.input_tokens)
        return self.advance() if self.waiting else []

    def release(
        self, replica: str, now_s: float, held_s: float | None = None, ask: Ask | None = None, unread: bool = False
    ) -> Moved:
        """Give back the slot that `ask` had; return the tickets that may run now, each with its replica.

        `unread`: it was not said to be `read`. `settle` first, where real tokens are known: who is next depends on it.
        """
        if ask is not None:
            self.counters.end(ask)
            if ask.band is _BATCH:
                self.batch_running -= 1
            if unread and (lane := self.lanes.get(replica)) is not None:
                lane.unread = max(0, lane.unread - ask.input_tokens)
        if held_s is not None:
            self.drain.note(now_s, held_s, bool(self.waiting))
        if (lane := self.lanes.get(replica)) is not None:
            lane.in_flight -= 1
            if not lane.open and lane.in_flight == 0:
                del self.lanes[replica]
                self.emptied(replica)
        return self.advance() if self.waiting else []

    def settle(self, tenant: str, ask: Ask, input_tokens: int, output_tokens: int) -> None:
        """Put real tokens in the place of those that a dispatch was charged; a tenant that was forgotten stays so."""
        if (account := self.counters.find(tenant)) is not None:
            account.counter += cost(input_tokens - ask.input_tokens, output_tokens - ask.output_tokens, ask.weight)
            if account.waiting:
                self._moved(account)

    def expire(self, now_s: float) -> list[Hashable]:
        """Take out, and return, the tickets whose deadline has passed."""
        expired: list[Hashable] = []
        while (due_s := self.next_deadline_s()) is not None and due_s <= now_s:
            expired.append(self._take_out(heappop(self._deadlines)[2]))
        return expired

    def next_deadline_s(self) -> float | None:
        """When the next ticket that waits expires; None when none does."""
        heap = self._deadlines
        while heap and heap[0][2].line is None:
            heappop(heap)
        return heap[0][0] if heap else None

    def close(self, replica: str) -> None:
        """Send nothing more to a replica, until `set_lanes` names it again."""
        if lane := self.lanes.get(replica):
            lane.open = False

    def set_lanes(self, ready: Iterable[tuple[str, int]]) -> Moved:
        """Take the ready replicas with their capacities; the others get nothing new. Return who may run now."""
        wanted = dict(ready)
        for name, lane in list(self.lanes.items()):
            lane.open = name in wanted
            if not lane.open and lane.in_flight == 0:
                del self.lanes[name]
        for name, capacity in wanted.items():
            self.lanes.setdefault(name, Lane(name, capacity)).capacity = capacity
        return self.advance()

    def advance(self) -> Moved:
        """Move waiting tickets into free slots, whose turn it is: who had one, then the more urgent, then batches."""
        moved: Moved = []
        for backlog in (self._returning, self._urgent, self._batch):
            if backlog.count and (lanes := self._room(None)):
                self._advance(backlog, {lane.replica for lane in lanes}, moved)
        return moved

    def retry_after_s(self, usable: Usable = None, now_s: float = 0.0, ask: Ask | None = None) -> int:
        """Estimate in whole seconds, from 1 to 60, when a newcomer would find a place, at the rate slots get free.

        With an `ask`: at the place in line that it would have under fairness; without: behind all who wait.
        """
        ahead = len(self.waiting) if ask is None else self._ahead(ask)
        slots, all_slots = self._slots(usable), self._slots(None)
        rate = self.drain.rate(now_s, all_slots) * (slots / all_slots if slots else 1.0)
        return max(1, min(RETRY_AFTER_S_MAX, ceil((ahead + 1) / rate)))

    def is_served(self, usable: Usable = None) -> bool:
        """Tell whether any replica is open; of `usable`, unless that is None."""
        for name, lane in self.lanes.items():  # noqa: SIM110 - `any` over a generator costs three times as much
            if lane.open and (usable is None or name in usable):
                return True
        return False

    def waiting_by_band(self) -> tuple[int, ...]:
        """How many wait in each band."""
        counts = [0] * len(Band)
        for one in self.waiting.values():
            counts[one.ask.band] += 1
        return tuple(counts)

    def line(self) -> Line:
        """Tell who waits."""
        batches, since_s = 0, None
        for one in self.waiting.values():  # in the order of their arrival
            if one.ask.band is Band.BATCH:
                batches += 1
            elif since_s is None:
                since_s = one.since_s
        return Line(len(self.waiting) - batches, batches, since_s)

    def _advance(self, backlog: Backlog, free: set[str], moved: Moved) -> None:
        aside: list[Entry] = []
        while free and (one := backlog.first(free, aside)) is not None:
            ticket = self._take_out(one)
            replica = self._dispatch(ticket, one.ask, one.account, self._room(one.usable))
            moved.append((ticket, replica))
            lane = self.lanes[replica]
            if lane.in_flight >= lane.capacity or lane.unread >= self._unread_max:
                free.discard(replica)
        backlog.take_back(aside)

    def _dispatch(self, ticket: Hashable, ask: Ask, account: Account, lanes: Sequence[Lane]) -> str:
        lane = self.choose(ticket, lanes)
        lane.in_flight += 1
        lane.unread += ask.input_tokens
        self.counters.charge(account, ask)
        self.dispatched[ask.band] += 1
        if ask.band is _BATCH:
            self.batch_running += 1
        if account.waiting:
            self._moved(account)
        return lane.replica

    def _wait(self, ticket: Hashable, ask: Ask, account: Account, now_s: float) -> None:
        if not self.waiting:
            self.drain.begin(now_s)
        if not account.waiting:
            self._lift(account)
        account.waiting += 1
        self._arrivals += 1
        one = self.waiting[ticket] = Waiting(ticket, ask, ask.usable, account, self._arrivals, now_s)
        self._backlog(ask).join(one)
        self.choosy += ask.usable is not None
        heappush(self._deadlines, (ask.deadline_s, one.number, one))
        if len(self._deadlines) > 2 * len(self.waiting) + 64:
            self._deadlines = [entry for entry in self._deadlines if entry[2].line is not None]
            heapify(self._deadlines)

    def _take_out(self, one: Waiting) -> Hashable:
        """Let it wait no more; return its ticket. Nothing here holds the ticket any longer."""
        ticket, one.ticket = one.ticket, None
        del self.waiting[ticket]
        self._backlog(one.ask).leave(one)
        self.choosy -= one.usable is not None
        one.account.waiting -= 1
        return ticket

    def _lift(self, account: Account) -> None:
        """Bring a tenant that comes back to where the others are: not counting what they run, which is estimate."""
        level = self.counters.reached
        if self.waiting:
            least = (self._returning.least(), self._urgent.least(), self._batch.least())
            level = max(level, min(one.served for one in least if one is not None))
        account.counter = max(account.counter, level)

    def _full(self, account: Account, ask: Ask, now_s: float) -> Full | None:
        if ask.returns:
            return None  # it was let in before; there are never more of them than slots
        count, own = len(self.waiting), account.waiting
        free = self.waiting_max - count
        if free <= 0:
            return Full(count, self.retry_after_s(ask.usable, now_s, ask), self.waiting_max)
        if own >= self._ratio * (free / 2 if ask.band is Band.BATCH else free):
            return Full(own, self.retry_after_s(ask.usable, now_s, ask), self.waiting_max, ask.tenant)
        return None

    def _ahead(self, ask: Ask) -> int:
        """How many would be served before a newcomer: its own tenant's, and of each other as its share allows."""
        if ask.band is Band.BATCH:
            return len(self.waiting)
        account = self.counters.of(ask)
        rounds = (account.waiting + 1) / ask.weight
        others = (one for one in self._urgent.accounts() if one is not account)
        return account.waiting + int(sum(min(one.waiting, rounds * one.weight) for one in others))

    def _slots(self, usable: Usable) -> int:
        return sum(
            lane.capacity for name, lane in self.lanes.items() if lane.open and (usable is None or name in usable)
        )

    def _room(self, usable: Usable) -> list[Lane]:
        most = self._unread_max
        found = [
            lane for lane in self.lanes.values() if lane.open and lane.in_flight < lane.capacity and lane.unread < most
        ]
        return found if usable is None else [lane for lane in found if lane.replica in usable]

    def _backlog(self, ask: Ask) -> Backlog:
        if ask.returns:
            return self._returning
        return self._batch if ask.band is Band.BATCH else self._urgent

    def _moved(self, account: Account) -> None:
        self._returning.moved(account)
        self._urgent.moved(account)
        self._batch.moved(account)
