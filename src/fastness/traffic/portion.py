"""Which slots of a replica are whose, where several gateways send to it.

A gateway counts what it sent itself, and nothing of what another one did. So the slots are dealt out: each gateway has
its own, by number, and together they have every slot once. Nobody has to ask anybody, a replica is never sent more than
it has slots for, and what a slot remembers of prompts is known to the one gateway that uses it (law 12). How they are
dealt follows from the names of the gateways alone, so it is the same for all of them, and stays as it is when one dies.

Where there are fewer slots than gateways, one slot is used by several. Nothing that it remembers is ever built upon.

Pure.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil
from zlib import crc32


@dataclass(frozen=True, slots=True)
class Dealt:
    """The slots of one gateway: `count` of them, numbered `first`, `first + step`, ... `own`: no other has these."""

    first: int
    step: int
    count: int
    own: bool


@dataclass(frozen=True, slots=True)
class Portion:
    """What one gateway has of everything that several share: it is number `index` of `count`, from 0."""

    index: int = 0
    count: int = 1

    def __post_init__(self) -> None:
        if not 0 <= self.index < self.count:
            raise ValueError(f"gateway {self.index} of {self.count}")

    def deal(self, replica: str, slots: int) -> Dealt:
        """Return this gateway's slots of a replica. What does not come out even is another gateway's each time."""
        turned = (self.index + crc32(replica.encode())) % self.count
        if slots < self.count:
            return Dealt(turned % slots if slots else 0, 1, min(1, slots), own=self.count == 1)
        return Dealt(turned, self.count, len(range(turned, slots, self.count)), own=True)

    def of(self, bound: int) -> int:
        """Return this gateway's part of a bound that is meant for all together, rounded up."""
        return ceil(bound / self.count)


def portion_of(gateway: str, gateways: Sequence[str]) -> Portion | None:
    """Return what a gateway has, among these; None: it is not one of them, and has nothing."""
    return Portion(gateways.index(gateway), len(gateways)) if gateway in gateways else None
