"""How hard a pattern is for the engine.

The engine explores a pattern's states as it writes. One whose states multiply (`.{120}a.{120}`), or are large
(`(.{0,15}){0,15}`), exhausts its limits in the middle of an answer, and then it goes on unbound. So the work is
measured beforehand: positions of the pattern's characters (Glushkov), and the sets of them that can be reached
together (subset construction). Both kinds show in the number of positions over all sets.
"""

from __future__ import annotations

from typing import Final

from fastness.engines.llamacpp.pattern import Chars, Choice, Node, Repeat, Sequence

WORK_MAX: Final = 1_024


def measure(node: Node) -> int:
    """Return how many positions the states of a pattern's deterministic automaton have together.

    That is the number of states where there is no ambiguity. Raises ValueError beyond WORK_MAX.
    """
    positions = _Positions()
    positions.follow.append(positions.add(node)[1])
    start = 1 << (len(positions.follow) - 1)  # a position of its own, before the first character
    symbols = positions.symbols()
    seen, pending, work = {start}, [start], 1
    for state in pending:
        after = positions.after(state)
        fresh = {after & mask for mask in symbols} - seen - {0}
        seen |= fresh
        pending += fresh
        work += sum(other.bit_count() for other in fresh)
        if work > WORK_MAX:
            raise ValueError(
                f"the pattern is too ambiguous: it needs {WORK_MAX:,} steps or more; anchor it, or make it simpler"
            )
    return work


class _Positions:
    """Glushkov's positions as bits: which character set each has, and which positions may follow it."""

    def __init__(self) -> None:
        self.follow: list[int] = []
        self._chars: list[Chars] = []

    def after(self, state: int) -> int:
        """Return the positions that may follow any in `state`."""
        reached = 0
        while state:
            reached |= self.follow[(state & -state).bit_length() - 1]
            state &= state - 1
        return reached

    def symbols(self) -> set[int]:
        """Return, for each run of characters that no set tells apart, the positions that take them."""
        changes: dict[int, int] = {}
        for index, chars in enumerate(self._chars):
            for low, high in chars.ranges:
                changes[low] = changes.get(low, 0) ^ 1 << index
                changes[high + 1] = changes.get(high + 1, 0) ^ 1 << index
        taking, found = 0, set()
        for edge in sorted(changes):
            taking ^= changes[edge]
            found.add(taking)
        return found - {0}

    def add(self, node: Node) -> tuple[bool, int, int]:
        """Add a node's positions; return whether it matches the empty string, and its first and last positions."""
        match node:
            case Chars():
                self._chars.append(node)
                self.follow.append(0)
                bit = 1 << (len(self.follow) - 1)
                return False, bit, bit
            case Choice(options):
                nullable, first, last = False, 0, 0
                for option in options:
                    added = self.add(option)
                    nullable, first, last = nullable or added[0], first | added[1], last | added[2]
                return nullable, first, last
            case Sequence(items):
                whole = (True, 0, 0)
                for item in items:
                    whole = self._chain(whole, self.add(item))
                return whole
            case Repeat(item, low, high):
                whole, ends, last, first = (True, 0, 0), 0, 0, 0
                for index in range(max(low, 1) if high is None else high):
                    nullable, first, last = self.add(item)
                    whole = self._chain(whole, (nullable, first, last))
                    ends |= whole[2] if index + 1 >= low else 0
                if high is None:
                    self._link(last, first)
                return low == 0 or whole[0], whole[1], ends

    def _chain(self, left: tuple[bool, int, int], right: tuple[bool, int, int]) -> tuple[bool, int, int]:
        self._link(left[2], right[1])
        return left[0] and right[0], left[1] | (right[1] if left[0] else 0), right[2] | (left[2] if right[0] else 0)

    def _link(self, sources: int, targets: int) -> None:
        while sources:
            self.follow[(sources & -sources).bit_length() - 1] |= targets
            sources &= sources - 1
