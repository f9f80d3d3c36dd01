"""The ledger in memory: for tests, and for anything that needs a ledger but no record. The same format, no disk."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from fastness.core.event import Event
from fastness.ledger.entry import Entry, draft, genesis, parse, seal
from fastness.ledger.events import check_fields
from fastness.ledger.port import LedgerUnavailable, Position


class MemoryLedger:
    """A `CallbackLedger` that forgets. Set `refusal` to a reason and it records nothing until it is None again."""

    def __init__(self, log: str, entries_max: int = 1_000_000) -> None:
        self.refusal: str | None = None
        self._log, self._entries_max = log, entries_max
        self._chain = genesis(log)
        self._lines: list[bytes] = []
        self._closed = False

    def entries(self) -> list[Entry]:
        """Return all entries, as a reader of a log would see them."""
        return [parse(line) for line in self._lines]

    async def commit(self, event: Event) -> Position:
        """Append; raises LedgerUnavailable, ValueError for what cannot be an entry."""
        position = self._add(event)
        await asyncio.sleep(0)
        return position

    def commit_then(self, event: Event, done: Callable[[Position | LedgerUnavailable], None]) -> None:
        """Append, and call `done` once on the event loop with the outcome. Raises ValueError as `commit` does."""
        loop = asyncio.get_running_loop()
        try:
            outcome: Position | LedgerUnavailable = self._add(event)
        except LedgerUnavailable as refusal:
            outcome = refusal
        loop.call_soon(done, outcome)

    def append(self, event: Event) -> None:
        """Append; raises LedgerUnavailable, ValueError for what cannot be an entry."""
        self._add(event)

    async def close(self) -> None:
        """Record no more."""
        self._closed = True

    def _add(self, event: Event) -> Position:
        check_fields(event)
        drafted = draft(event.type, event.time_ms, event.fields)
        if self._closed or self.refusal or len(self._lines) >= self._entries_max:
            reason = "is closed" if self._closed else self.refusal or f"holds {self._entries_max} entries already"
            raise LedgerUnavailable(f"The log {self._log} cannot record: {reason}.")
        line, self._chain = seal(drafted, len(self._lines), self._chain)
        self._lines.append(line)
        return Position(self._log, len(self._lines) - 1, self._chain.hex())
