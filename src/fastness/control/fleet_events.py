"""What happened to the fleet, read from the ledger: newest last, each with its entry, its author and a sentence."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Final

from fastness.control.fleet_log import fleet_events, history
from fastness.control.fleet_wire import EventView
from fastness.control.fleet_words import about, author, sentence
from fastness.core.fleet_event import FleetEvent, ReplicaPlaced
from fastness.core.fleet_state import FleetState
from fastness.ledger.entry import Entry
from fastness.ledger.reading import tail

EVENTS_MAX: Final = 1_000
_TAIL_ENTRIES: Final = 1_024
"""How much of the end of the log is read first; it holds other entries, too."""

Places = Mapping[str, tuple[str, tuple[str, ...]]]
"""The deployment and the nodes of a replica."""


def read_events(
    directory: Path,
    state: FleetState,
    limit: int,
    since: int | None = None,
    deployment: str | None = None,
    node: str | None = None,
) -> tuple[EventView, ...]:
    """Return events of the log at `directory`: the first `limit` from entry `since` on, or the last of all.

    `state` knows where replicas are that were placed before. Blocks; raises LedgerCorrupt, OSError.
    """

    def wanted(entries: Iterable[tuple[Entry, FleetEvent]]) -> Iterator[EventView]:
        for one in _views(entries, places_of(state)):
            if deployment in (None, one.deployment) and (node is None or node in one.nodes):
                yield one

    if since is not None:
        return tuple(islice(wanted(history(directory, since)), limit))
    if not directory.is_dir():
        return ()
    count = _TAIL_ENTRIES
    while True:
        entries = tail(directory, count)
        found = tuple(wanted(fleet_events(entries)))
        if len(found) >= limit or len(entries) < count:
            return found[-limit:]
        count *= 8


def places_of(state: FleetState) -> dict[str, tuple[str, tuple[str, ...]]]:
    """Return the deployment and the nodes of each replica there is."""
    return {one.id: (one.deployment, tuple(part.node for part in one.parts)) for one in state.replicas.values()}


def _views(entries: Iterable[tuple[Entry, FleetEvent]], places: Places) -> Iterator[EventView]:
    known = dict(places)
    for entry, event in entries:
        if isinstance(event, ReplicaPlaced):
            known[event.replica] = event.deployment, tuple(part.node for part in event.parts)
        deployment, nodes = about(event, known)
        yield EventView(entry.index, entry.time_ms, entry.type, author(event), deployment, nodes, sentence(event))
