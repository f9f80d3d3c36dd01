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
from fastness.ledger.entry import STRING_CHARS_MAX
from fastness.ledger.fleet_rows import PIECES_MAX, piece

VALUE_CHARS_MAX: Final = STRING_CHARS_MAX * PIECES_MAX
"""What a value of several parts may have as JSON: an entry's strings are short, so it stands in several fields."""

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
        EventType.NODE_FORGOTTEN: fleet.NodeForgotten,
        EventType.SHARE_SET: fleet.ShareSet,
        EventType.REPLICA_PLACED: fleet.ReplicaPlaced,
        EventType.REPLICA_DRAINING: fleet.ReplicaDraining,
        EventType.REPLICA_STOPPING: fleet.ReplicaStopping,
        EventType.REPLICA_REMOVED: fleet.ReplicaRemoved,
    }
)
_NAMES: Final = {kind: name for name, kind in TYPES.items()}
_HINTS: Final = {kind: get_type_hints(kind) for kind in TYPES.values()}


def to_ledger(event: FleetEvent, time_ms: int) -> Event:
    """Write an event as a ledger entry: scalars as they are, values of several parts as JSON in one field or several.

    Raises ValueError for a value beyond VALUE_CHARS_MAX.
    """
    written: dict[str, Scalar] = {}
    for one in fields(event):
        value = getattr(event, one.name)
        if isinstance(value, str | int | bool):
            written[one.name] = value
        else:
            written |= _pieces(one.name, json_text(value))
    return Event(_NAMES[type(event)], time_ms, written)


def from_ledger(event: Event) -> FleetEvent | None:
    """Read an entry back; None when it is not of the fleet. Raises msgspec.ValidationError when it cannot be read."""
    kind = TYPES.get(event.type)
    if kind is None:
        return None
    read = {}
    for name, hint in _HINTS[kind].items():
        if hint in (str, int, bool):
            read[name] = msgspec.convert(event.fields[name], hint)
        else:
            whole = "".join(str(event.fields.get(piece(name, number), "")) for number in range(PIECES_MAX))
            read[name] = msgspec.json.decode(whole, type=hint)
    made: FleetEvent = kind(**read)
    return made


def json_text(value: object) -> str:
    """Write a value of several parts as an entry has it."""
    return msgspec.json.encode(value).decode()


def _pieces(name: str, text: str) -> dict[str, Scalar]:
    if len(text) > VALUE_CHARS_MAX:
        raise ValueError(f"{name} has {len(text)} characters as JSON of at most {VALUE_CHARS_MAX}")
    return {
        piece(name, number): text[start : start + STRING_CHARS_MAX]
        for number, start in enumerate(range(0, len(text), STRING_CHARS_MAX))
    }
