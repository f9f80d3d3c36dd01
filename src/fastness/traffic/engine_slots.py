"""Which slot of an engine takes a generation, and whether it may build on what the slot has read before.

An engine keeps what a slot read last, and skips the part of the next prompt that is the same: the time to the first
token then tells what somebody else asked. So a slot's memory is for its owner alone (law 12: an owner is a tenant and
a label); another owner may have the slot, and the engine must read the whole prompt again. So it must for another
adapter: what was read with one is not what the model alone, or another one, makes of it.

Which slot is a matter of what must be read again: of this prompt now, and, if whoever was there comes back, of theirs.
How likely they come back is not known, but less so the longer ago it was: what a memory is worth sinks by as much as
others have lost since (the rule GreedyDual of Young, 1994). There is nothing to set.

Pure.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from heapq import heapify, heappop, heappush

from fastness.traffic.prompt import Prompt


@dataclass(frozen=True, slots=True)
class Seat:
    """A slot of an engine, by number. `reuse`: the engine may build on what the slot read before."""

    number: int
    reuse: bool


@dataclass(slots=True)
class _Memory:
    prompt: Prompt
    used: int
    worth: int
    """The worth of everything lost when it was used last, and of itself: what is left of it is what exceeds `lost`."""


Cost = tuple[int, int, int]
"""What a slot costs: what is lost less what is spared; when it was used last; its number. The least is taken."""


class _Holders:
    """The free slots that have read one beginning, found by their cost to a prompt that begins so, too.

    A slot is worth something beyond that beginning, or nothing any more; once it is worth nothing it stays so until it
    is used. So there are two heaps: by worth, and by age. What was taken meanwhile is thrown out when it is met, or
    when it is most of what is here.
    """

    __slots__ = ("_aged", "_worth", "count")

    def __init__(self) -> None:
        self.count = 0
        self._worth: list[Cost] = []
        self._aged: list[tuple[int, int]] = []

    def join(self, memory: _Memory, number: int, free: dict[int, int]) -> None:
        """A slot came free."""
        self.count += 1
        heappush(self._worth, (memory.worth, memory.used, number))
        if len(self._worth) + len(self._aged) > 2 * self.count + 2:
            self._worth = [one for one in self._worth if free.get(one[2]) == one[1]]
            self._aged = [one for one in self._aged if free.get(one[1]) == one[0]]
            heapify(self._worth)
            heapify(self._aged)

    def least(self, shared: int, lost: int, free: dict[int, int]) -> Cost | None:
        """Return the least cost of a slot of which `shared` is spared, and no more, after so much was `lost`."""
        worth, aged = self._worth, self._aged
        least: Cost | None = None
        while worth:
            left, used, number = worth[0]
            if free.get(number) == used:
                if left - lost > shared:
                    least = left - lost - 2 * shared, used, number
                    break
                heappush(aged, (used, number))
            heappop(worth)
        while aged:
            used, number = aged[0]
            if free.get(number) == used:
                cost = -shared, used, number
                return cost if least is None or cost < least else least
            heappop(aged)
        return least


@dataclass(slots=True)
class EngineSlots:
    """The slots of one start of one engine. What was in them before this was made is nobody's: it is never reused.

    Their numbers are `first`, `first + step`, ... (see portion.Dealt). Unless they are our `own`, somebody else may use
    them, too: then nothing is known of what is in them, and nothing is ever reused.

    Slots are found by the beginnings they have read, so that it does not matter how many there are: of all that share
    a beginning with a prompt, at each of its blocks only the one that costs least is looked at. A slot that shares more
    than that costs less still, and is found at a later block.
    """

    count: int
    first: int = 0
    step: int = 1
    own: bool = True
    _known: dict[int, _Memory] = field(default_factory=dict)
    _free: dict[int, int] = field(default_factory=dict)
    """Of the free slots that were used: when."""
    _all: _Holders = field(default_factory=_Holders)
    _holders: dict[int, _Holders] = field(default_factory=dict)
    """By the hash of a block: whose memory has it."""
    _uses: int = 0
    _lost: int = 0

    def known(self, prompt: Prompt) -> int:
        """The size of the beginning that need not be read again, on the slot that `take` would choose."""
        found = self._best(prompt)
        return found[1] if found is not None and self.own else 0

    def take(self, prompt: Prompt) -> Seat | None:
        """Take the free slot where least has to be read again, by this prompt's owner now or by another later.

        None when no slot is free.
        """
        found = self._best(prompt)
        if found is None:
            return None
        number, _, loss = found
        before = self._known.get(number)
        if before is not None:
            self._withdraw(number, before)
        self._uses += 1
        self._lost += loss
        self._known[number] = _Memory(prompt, self._uses, self._lost + prompt.size)
        reuse = self.own and before is not None and before.prompt.may_lend(prompt)
        return Seat(self.first + number * self.step, reuse)

    def give(self, number: int) -> None:
        """Give a slot back; what was read in it stays its owner's."""
        number = (number - self.first) // self.step
        memory, holders, free = self._known[number], self._holders, self._free
        free[number] = memory.used
        self._all.join(memory, number, free)
        for block in memory.prompt.blocks:
            if (held := holders.get(block)) is None:
                held = holders[block] = _Holders()
            held.join(memory, number, free)

    def _withdraw(self, number: int, memory: _Memory) -> None:
        """What a slot has read is about to be lost."""
        del self._free[number]
        self._all.count -= 1
        holders = self._holders
        for block in memory.prompt.blocks:
            held = holders[block]
            held.count -= 1
            if not held.count:
                del holders[block]

    def _best(self, prompt: Prompt) -> tuple[int, int, int] | None:
        """Return a free slot, what it spares of the prompt, and what is lost with its memory."""
        holders, ends, lost, free = self._holders, prompt.ends, self._lost, self._free
        # Slots are begun in their order: of those that were never used, the first is as good as any.
        least: Cost | None = (0, 0, len(self._known)) if len(self._known) < self.count else None
        spared = 0
        for at in range(prompt.depth(holders) - 1, -2, -1):
            held, shared = (holders[prompt.blocks[at]], ends[at]) if at >= 0 else (self._all, 0)
            if least is not None and least[0] < -shared:
                break  # nothing that shares so little can cost less
            cost = held.least(shared, lost, free)
            if cost is not None and (least is None or cost < least):
                least, spared = cost, shared
        return None if least is None else (least[2], spared, least[0] + spared)
