"""The state of the fleet, and the only place where it changes: an event is durable in the ledger before it counts."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Final

from fastness.control.fleet_record import TYPES, from_ledger, to_ledger
from fastness.core.event import Event, EventType
from fastness.core.fleet_event import FleetEvent
from fastness.core.fleet_state import FleetState, fold
from fastness.ledger.entry import Entry
from fastness.ledger.port import Ledger
from fastness.ledger.reading import read

_KINDS: Final = frozenset(kind.value for kind in TYPES)


class FleetLog:
    """Folds what the ledger has, and whatever is decided from then on. `clock_ms`: milliseconds since 1970.

    `state` is what was decided before, or reads that when it is asked for first.
    """

    def __init__(
        self, ledger: Ledger, state: FleetState | Callable[[], FleetState], clock_ms: Callable[[], int]
    ) -> None:
        self._ledger, self._before, self._clock_ms = ledger, state, clock_ms
        self._order = asyncio.Lock()
        self.decided = asyncio.Event()
        """Set whenever something was; whoever waits for it clears it."""

    @cached_property
    def state(self) -> FleetState:
        """What was decided, as far as it is durable."""
        return self._before if isinstance(self._before, FleetState) else self._before()

    @classmethod
    def open(cls, directory: Path, ledger: Ledger, clock_ms: Callable[[], int]) -> FleetLog:
        """Fold the fleet's events in the log at `directory`, which `ledger` writes. Blocks; raises LedgerCorrupt."""
        return cls(ledger, fold(event for _, event in history(directory)), clock_ms)

    async def decide(self, decide: Callable[[FleetState], Sequence[FleetEvent]]) -> tuple[FleetEvent, ...]:
        """Ask what follows from the state, make it durable, then take it over; return the events.

        Nothing else is decided meanwhile. Raises what `decide` raises, fleet_state.Impossible and LedgerUnavailable.
        When the ledger fails half way, what it took counts: the next decision starts from there.
        """
        async with self._order:
            events = tuple(decide(self.state))
            fold(events, self.state)
            for event in events:
                await self._ledger.commit(to_ledger(event, self._clock_ms()))
                self.state = fold((event,), self.state)
                self.decided.set()
            return events


def history(directory: Path, from_index: int = 0) -> Iterator[tuple[Entry, FleetEvent]]:
    """Read the fleet's events in a log, oldest first, each with its entry. Raises LedgerCorrupt, OSError."""
    if directory.is_dir():
        yield from fleet_events(read(directory, from_index))


def fleet_events(entries: Iterable[Entry]) -> Iterator[tuple[Entry, FleetEvent]]:
    """Return those of the fleet among entries of a log, each with its entry."""
    for entry in entries:
        if entry.type in _KINDS and (found := from_ledger(Event(EventType(entry.type), entry.time_ms, entry.fields))):
            yield entry, found
