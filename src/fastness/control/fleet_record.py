"""Fleet events as ledger entries, and back: the ledger is where they are kept, and the state is their fold."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from types import MappingProxyType
from typing import Any, Final, get_type_hints

import msgspec

from fastness.core import fleet_event as fleet
from fastness.core.event import Event, EventType, Scalar
from fastness.core.fleet_event import FleetEvent

TYPES: Final[Mapping[EventType, type[Any]]] = MappingProxyType(
    {
        EventType.DEPLOYMENT_APPLIED: fleet.DeploymentApplied,
        EventType.DEPLOYMENT_REMOVED: fleet.DeploymentRemoved,
        EventType.DEPLOYMENT_SCALED: fleet.DeploymentScaled,
        EventType.REVISION_PROMOTED: fleet.RevisionPromoted,
        EventType.REVISION_REVERTED: fleet.RevisionRolledBack,
        EventType.NODE_CORDONED: fleet.NodeCordoned,
        EventType.NODE_UNCORDONED: fleet.NodeUncordoned,
        EventType.NODE_LABELLED: fleet.NodeLabelled,
        EventType.NODE_LOST: fleet.NodeLost,
        EventType.NODE_RETURNED: fleet.NodeReturned,
        EventType.SHARE_SET: fleet.ShareSet,
        EventType.REPLICA_PLACED: fleet.ReplicaPlaced,
        EventType.REPLICA_DRAINING: fleet.ReplicaDraining,
        EventType.REPLICA_STOPPING: fleet.ReplicaStopping,
        EventType.REPLICA_REMOVED: fleet.ReplicaRemoved,
    }
)
_NAMES: Final = {kind: name for name, kind in TYPES.items()}


def to_ledger(event: FleetEvent, time_ms: int) -> Event:
    """Write an event as a ledger entry: scalars as they are, values of several parts as JSON in one field."""
    written: dict[str, Scalar] = {}
    for one in fields(event):
        value = getattr(event, one.name)
        written[one.name] = value if isinstance(value, str | int | bool) else msgspec.json.encode(value).decode()
    return Event(_NAMES[type(event)], time_ms, written)


def from_ledger(event: Event) -> FleetEvent | None:
    """Read an entry back; None when it is not of the fleet. Raises msgspec.ValidationError when it cannot be read."""
    kind = TYPES.get(event.type)
    if kind is None:
        return None
    read = {}
    for name, hint in get_type_hints(kind).items():
        value = event.fields[name]
        plain = hint in (str, int, bool)
        read[name] = msgspec.convert(value, hint) if plain else msgspec.json.decode(str(value), type=hint)
    made: FleetEvent = kind(**read)
    return made
