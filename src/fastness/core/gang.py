"""A gang: one replica over several nodes, a member on each. How its members are called, and what they speak over.

Each member has one interface that leads to the others and to nobody else, with an address that only they know.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

INTERFACE: Final = "gang0"
NETWORK: Final = "198.18.0"
"""The first three bytes of every member's address: of a range that no network routes (RFC 2544)."""
MTU_BYTES: Final = 65_000
"""The largest packet: it travels inside a stream, so that nothing parts it, and each costs the same work."""
MEMBERS_MAX: Final = 64


@dataclass(frozen=True, slots=True)
class Seat:
    """The place of one member: the first, of rank 0, is the one that answers. `members` is how many there are."""

    rank: int = 0
    members: int = 1


ALONE: Final = Seat()
"""A replica on one node."""


def address_of(rank: int) -> str:
    """Return the address of a member."""
    return f"{NETWORK}.{rank + 1}"
