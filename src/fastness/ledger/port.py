"""The ledger port: an event is durable before `commit` returns."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from fastness.core.event import Event
from fastness.core.value import quick
from fastness.ledger.note import Note


@quick
@dataclass(frozen=True, slots=True)
class Position:
    """Where an entry stands: the log it is in, its index from 0, and the hash of the chain up to it, in hex."""

    log: str
    index: int
    chain: str


class LedgerUnavailable(Exception):  # noqa: N818 - a state of the machine
    """The ledger cannot record (disk full, I/O error, too many waiting): nothing may be answered."""


class LedgerInUse(LedgerUnavailable):
    """Another process writes this log: a log has one writer."""


class LedgerCorrupt(LedgerUnavailable):
    """The log on disk is not one that a crash could have left. It is never repaired; the message says what is wrong."""


class Ledger(Protocol):
    """An append-only log with one writer."""

    async def commit(self, event: Event) -> Position:
        """Append and wait until it is durable; raises LedgerUnavailable, ValueError for what cannot be an entry."""
        ...

    def append(self, event: Event) -> None:
        """Append without waiting; raises LedgerUnavailable when too many wait already.

        Raises ValueError for what cannot be an entry. An entry that the disk refused is tried again with the next.
        """
        ...

    async def close(self) -> None:
        """Make durable what waits, and stop; raises LedgerUnavailable when appended entries could not be recorded."""
        ...


class CallbackLedger(Ledger, Protocol):
    """A ledger for the hot path: without a task or a future for each entry."""

    def commit_then(self, event: Event, done: Callable[[Position | LedgerUnavailable], None]) -> None:
        """Append, and call `done` once on the event loop, never before this returns, with the outcome.

        What `done` raises goes to the loop's exception handler. Raises ValueError, and does not call `done`, for an
        event that cannot be an entry.
        """
        ...


class SignedLedger(Ledger, Protocol):
    """A ledger that signs checkpoints of itself now and then, and when somebody asks."""

    async def checkpoint(self) -> Note:
        """Return a signed checkpoint of at least all that was committed before; raises LedgerUnavailable."""
        ...
