"""Which slot of an engine takes a generation, and whether it may build on what the slot has read before.

An engine keeps what a slot read last, and skips the part of the next prompt that is the same: the time to the first
token then tells what somebody else asked. So a slot's memory is for its owner alone (law 12: an owner is a tenant and
a label); another owner may have the slot, and the engine must read the whole prompt again.

Pure. Owners and prompts are hashables of the caller's choosing; a prompt is a tuple of parts, so that two prompts
share a beginning exactly as far as their parts are equal.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, field

Prompt = tuple[Hashable, ...]


@dataclass(frozen=True, slots=True)
class Seat:
    """A slot of an engine, by number. `reuse`: the engine may build on what the slot read before."""

    number: int
    reuse: bool


@dataclass(slots=True)
class _Memory:
    owner: Hashable
    prompt: Prompt
    used: int


@dataclass(slots=True)
class EngineSlots:
    """The slots of one start of one engine. What was in them before this was made is nobody's: it is never reused."""

    count: int
    _free: set[int] = field(default_factory=set)
    _known: dict[int, _Memory] = field(default_factory=dict)
    _uses: int = 0

    def __post_init__(self) -> None:
        self._free.update(range(self.count))

    def take(self, owner: Hashable, prompt: Prompt) -> Seat | None:
        """Take the free slot whose memory spares most of the prompt; failing that, one that nobody will miss.

        None when no slot is free.
        """
        if not self._free:
            return None
        best, shared = -1, -1
        for number in self._free:
            known = self._known.get(number)
            if known is None or known.owner != owner:
                continue
            common = _common(known.prompt, prompt)
            if common > shared or (common == shared and known.used > self._known[best].used):
                best, shared = number, common
        if shared <= 0:  # nothing to build on: forget what is oldest, and nobody's first of all
            best = min(self._free, key=lambda number: (self._age(number), number))
        known = self._known.get(best)
        reuse = known is not None and known.owner == owner
        self._free.discard(best)
        self._uses += 1
        self._known[best] = _Memory(owner, prompt, self._uses)
        return Seat(best, reuse)

    def give(self, number: int) -> None:
        """Give a slot back; what was read in it stays its owner's."""
        self._free.add(number)

    def _age(self, number: int) -> int:
        known = self._known.get(number)
        return known.used if known else 0


def _common(one: Prompt, other: Prompt) -> int:
    """How many parts two prompts begin with in common."""
    for index, (left, right) in enumerate(zip(one, other, strict=False)):
        if left != right:
            return index
    return min(len(one), len(other))
