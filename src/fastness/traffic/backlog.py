"""Those who wait, by tenant: the tenant whose counter is the least is next.

Inside a tenant the more urgent band goes first, and within a band first come, first served. A ticket may be choosy
(some replicas only): it is passed over as long as none of them is free, and blocks nobody. To take out the next one
costs O(log n), unless choosy tickets stand in front of it.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Set
from dataclasses import dataclass, field
from heapq import heapify, heappop, heappush

from fastness.core.priority import Band
from fastness.traffic.counters import Account, Ask, Usable


@dataclass(eq=False, slots=True)
class Waiting:
    """One ticket that waits. `number` is its place in the order of arrival, `since_s` when that was.

    `line` is None once it waits no more.
    """

    ticket: Hashable
    ask: Ask
    usable: Usable
    account: Account
    number: int
    since_s: float = 0.0
    line: _Line | None = None


@dataclass(eq=False, slots=True)
class _Line:
    """Tickets of one tenant and band that may use the same replicas, in a heap; who left is dropped when found."""

    usable: Usable
    count: int = 0
    heap: list[tuple[int, Waiting]] = field(default_factory=list)

    def push(self, one: Waiting) -> None:
        one.line = self
        self.count += 1
        heappush(self.heap, (one.number, one))

    def drop(self, one: Waiting) -> None:
        one.line = None
        self.count -= 1
        if len(self.heap) > 2 * self.count + 16:
            self.heap = [entry for entry in self.heap if entry[1].line is self]
            heapify(self.heap)

    def first(self) -> Waiting:
        """The one that came first; there is one."""
        while self.heap[0][1].line is not self:
            heappop(self.heap)
        return self.heap[0][1]


@dataclass(eq=False, slots=True)
class Standing:
    """One tenant's lines, by band and replicas. `entry` numbers its one valid entry in the backlog's heap."""

    account: Account
    entry: int = 0
    lines: dict[tuple[Band, Usable], _Line] = field(default_factory=dict)

    def first(self, free: Set[str]) -> Waiting | None:
        """Return the first of the most urgent band that may use any of the replicas that are free."""
        if len(self.lines) == 1:  # nearly always
            (line,) = self.lines.values()
            return line.first() if line.usable is None or not line.usable.isdisjoint(free) else None
        best: tuple[Band, int] | None = None
        found: Waiting | None = None
        for (band, usable), line in self.lines.items():
            if usable is None or not usable.isdisjoint(free):
                one = line.first()
                if best is None or (band, one.number) < best:
                    best, found = (band, one.number), one
        return found


Entry = tuple[float, int, Standing]


class Backlog:
    """The tenants that have anybody waiting here, by their counters."""

    __slots__ = ("_entries", "_heap", "_standing", "count")

    def __init__(self) -> None:
        self.count = 0
        self._standing: dict[str, Standing] = {}
        self._heap: list[Entry] = []
        self._entries = 0

    def join(self, one: Waiting) -> None:
        """Let a ticket wait."""
        standing = self._standing.get(one.account.tenant)
        if standing is None:
            standing = self._standing[one.account.tenant] = Standing(one.account)
            self._enter(standing)
        key = one.ask.band, one.usable
        line = standing.lines.get(key)
        if line is None:
            line = standing.lines[key] = _Line(one.usable)
        line.push(one)
        self.count += 1

    def leave(self, one: Waiting) -> None:
        """Take a ticket out that waits here."""
        assert one.line
        standing, line = self._standing[one.account.tenant], one.line
        line.drop(one)
        self.count -= 1
        if not line.count:
            del standing.lines[one.ask.band, line.usable]
            if not standing.lines:
                standing.entry = 0
                del self._standing[one.account.tenant]

    def moved(self, account: Account) -> None:
        """Put a tenant where its changed counter belongs."""
        if (standing := self._standing.get(account.tenant)) is not None:
            self._enter(standing)

    def accounts(self) -> Iterator[Account]:
        """The tenants that have anybody waiting here, in no order."""
        return (standing.account for standing in self._standing.values())

    def least(self) -> Account | None:
        """The tenant whose turn would be next; None when nobody waits here."""
        self._prune()
        return self._heap[0][2].account if self._heap else None

    def first(self, free: Set[str], aside: list[Entry]) -> Waiting | None:
        """Return the ticket that is next for the replicas that are free, if any may use them.

        Tenants that can use none of them are put `aside`: they need not be looked at again while nothing else becomes
        free, and are then to be given back to `take_back`.
        """
        while True:
            self._prune()
            if not self._heap:
                return None
            if (one := self._heap[0][2].first(free)) is not None:
                return one
            aside.append(heappop(self._heap))

    def take_back(self, aside: list[Entry]) -> None:
        """Undo what `first` put aside."""
        for entry in aside:
            heappush(self._heap, entry)

    def _enter(self, standing: Standing) -> None:
        self._entries += 1
        standing.entry = self._entries
        heappush(self._heap, (standing.account.counter, self._entries, standing))
        if len(self._heap) > 2 * len(self._standing) + 64:
            self._heap = [entry for entry in self._heap if entry[2].entry == entry[1]]
            heapify(self._heap)

    def _prune(self) -> None:
        heap = self._heap
        while heap and heap[0][2].entry != heap[0][1]:
            heappop(heap)
