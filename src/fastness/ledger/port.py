"""The ledger port: an event is durable before `commit` returns."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from fastness.core.event import Event


@dataclass(frozen=True, slots=True)
class Position:
    """Where an entry stands: the log it is in, its index from 0, and the hash of the chain up to it, in hex."""

    log: str
    index: int
    chain: str


class LedgerUnavailable(Exception):  # noqa: N818 - a state of the machine
    """The ledger cannot record (disk full, I/O error, too many waiting): nothing may be answered."""


class Ledger(Protocol):
    """An append-only log with one writer."""

    async def commit(self, event: Event) -> Position:
        """Append and wait until it is durable; raises LedgerUnavailable."""
        ...

    def append(self, event: Event) -> None:
        """Append without waiting; raises LedgerUnavailable when too many wait already."""
        ...

    async def close(self) -> None:
        """Make durable what waits, and stop."""
        ...
