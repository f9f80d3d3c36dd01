"""Which slot of an engine takes a generation, and whether it may build on what the slot has read before.

An engine keeps what a slot read last, and skips the part of the next prompt that is the same: the time to the first
token then tells what somebody else asked. So a slot's memory is for its owner alone (law 12: an owner is a tenant and
a label); another owner may have the slot, and the engine must read the whole prompt again.

Which slot is a matter of what must be read again: of this prompt now, and, if whoever was there comes back, of theirs.
How likely they come back is not known, but less so the longer ago it was: what a memory is worth sinks by as much as
others have lost since (the rule GreedyDual of Young, 1994). There is nothing to set.

Pure.
"""

from __future__ import annotations

from dataclasses import dataclass, field

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


@dataclass(slots=True)
class EngineSlots:
    """The slots of one start of one engine. What was in them before this was made is nobody's: it is never reused."""

    count: int
    _free: set[int] = field(default_factory=set)
    _known: dict[int, _Memory] = field(default_factory=dict)
    _uses: int = 0
    _lost: int = 0

    def __post_init__(self) -> None:
        self._free.update(range(self.count))

    def known(self, prompt: Prompt) -> int:
        """The size of the beginning that need not be read again, on the slot that `take` would choose."""
        return self._best(prompt)[1] if self._free else 0

    def take(self, prompt: Prompt) -> Seat | None:
        """Take the free slot where least has to be read again, by this prompt's owner now or by another later.

        None when no slot is free.
        """
        if not self._free:
            return None
        number, _, loss = self._best(prompt)
        before = self._known.get(number)
        self._free.discard(number)
        self._uses += 1
        self._lost += loss
        self._known[number] = _Memory(prompt, self._uses, self._lost + prompt.size)
        return Seat(number, reuse=before is not None and before.prompt.owner == prompt.owner)

    def give(self, number: int) -> None:
        """Give a slot back; what was read in it stays its owner's."""
        self._free.add(number)

    def _best(self, prompt: Prompt) -> tuple[int, int, int]:
        """Return a free slot, what it spares of the prompt, and what is lost with its memory."""
        found: tuple[int, int, int] | None = None
        least = (0, 0, 0)
        for number in self._free:
            memory = self._known.get(number)
            shared, loss, used = 0, 0, 0
            if memory is not None:
                shared, used = memory.prompt.shared(prompt), memory.used
                loss = max(0, memory.worth - shared - self._lost)
            cost = (loss - shared, used, number)
            if found is None or cost < least:
                least, found = cost, (number, shared, loss)
        assert found is not None
        return found
