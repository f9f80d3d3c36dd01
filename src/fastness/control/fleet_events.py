"""What happened to the fleet, read from the ledger: newest last, each with its entry, its author and a sentence."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from fastness.control.fleet_log import history
from fastness.control.fleet_wire import EventView
from fastness.control.fleet_words import about, author, sentence
from fastness.core.fleet_event import ReplicaPlaced

EVENTS_MAX: Final = 1_000


def read_events(
    directory: Path, limit: int, since: int | None = None, deployment: str | None = None, node: str | None = None
) -> tuple[EventView, ...]:
    """Return events of the log at `directory`: the first `limit` from entry `since` on, or the last of all.

    Blocks; raises LedgerCorrupt, OSError.
    """
    found = (
        one
        for one in _views(directory)
        if (since is None or one.index >= since)
        and (deployment is None or one.deployment == deployment)
        and (node is None or node in one.nodes)
    )
    if since is None:
        return tuple(deque(found, maxlen=limit))
    return tuple(one for _, one in zip(range(limit), found, strict=False))


def _views(directory: Path) -> Iterator[EventView]:
    placed: dict[str, tuple[str, tuple[str, ...]]] = {}
    for entry, event in history(directory):
        if isinstance(event, ReplicaPlaced):
            placed[event.replica] = event.deployment, tuple(part.node for part in event.parts)
        deployment, nodes = about(event, placed)
        yield EventView(entry.index, entry.time_ms, entry.type, author(event), deployment, nodes, sentence(event))
