"""What the events of the fleet say. The state of the fleet is their fold, so they say all of it."""

from __future__ import annotations

from typing import Final

from fastness.core.event import EventType
from fastness.ledger.event_row import EventRow

PIECES_MAX: Final = 8
"""Fields that one value of several parts may stand in."""


def piece(name: str, number: int) -> str:
    """Return the field that has a piece of a value, counted from 0: `spec`, `spec_2`, `spec_3`, ..."""
    return f"{name}_{number + 1}" if number else name


def _long(name: str, meaning: str) -> dict[str, str]:
    more = {piece(name, number): f"`{name}` goes on" for number in range(1, PIECES_MAX)}
    return {name: f"{meaning}; what does not fit into one string goes on in `{piece(name, 1)}`", **more}


_BY: Final = {
    "by": "id of the principal that asked; `local` for the installation itself, `configuration` for what its settings "
    "say, `control` for the control plane"
}
_WHY: Final = {"reason": "a sentence for people"}
_DEPLOYMENT: Final = {"deployment": "name of the deployment"}
_REVISION: Final = {**_DEPLOYMENT, "revision": "number of its revision"}
_NODE: Final = {"node": "name of the node"}
_REPLICA: Final = {"replica": "id of the replica"}

FLEET_ROWS: Final = (
    EventRow(
        EventType.DEPLOYMENT_APPLIED,
        "control",
        "A deployment is wanted.",
        {**_long("spec", "what is wanted, as JSON"), "revision": "grows when replicas are replaced for it", **_BY},
    ),
    EventRow(EventType.DEPLOYMENT_REMOVED, "control", "A deployment is not wanted any more.", {**_DEPLOYMENT, **_BY}),
    EventRow(
        EventType.DEPLOYMENT_SCALED,
        "control",
        "Another number of replicas is wanted.",
        {**_DEPLOYMENT, "replicas": "how many", **_BY, **_WHY},
    ),
    EventRow(
        EventType.REVISION_PROMOTED,
        "control",
        "A revision has taken the place of the one before.",
        {**_REVISION, **_WHY},
    ),
    EventRow(
        EventType.REVISION_REVERTED,
        "control",
        "A revision was found worse; the one before it is wanted again.",
        {**_REVISION, **_WHY},
    ),
    EventRow(
        EventType.NODE_CORDONED,
        "control",
        "Nothing new is placed on a node.",
        {**_NODE, "drain": "whether what is there moves elsewhere", **_BY, **_WHY},
    ),
    EventRow(EventType.NODE_UNCORDONED, "control", "A node may be placed on again.", {**_NODE, **_BY}),
    EventRow(
        EventType.NODE_LABELLED,
        "control",
        "A node has other labels.",
        {**_NODE, **_long("labels", "pairs of key and value, as JSON"), **_BY},
    ),
    EventRow(EventType.NODE_LOST, "control", "Nothing was heard of a node for too long.", {**_NODE, **_WHY}),
    EventRow(EventType.NODE_RETURNED, "control", "A lost node was heard of again.", _NODE),
    EventRow(
        EventType.NODE_FORGOTTEN,
        "control",
        "A lost node does not come back, and what it held is gone with it.",
        {**_NODE, **_BY},
    ),
    EventRow(
        EventType.LEASE_GRANTED,
        "node",
        "The head answered a node that had no lease: from now on it runs what it is ordered.",
        {**_NODE, "head": "name of the head"},
    ),
    EventRow(
        EventType.LEASE_LAPSED,
        "node",
        "Nothing was heard of the head for as long as a lease: the node ended its engines.",
        {**_NODE, "head": "name of the head", "ended": "how many engines were up"},
    ),
    EventRow(
        EventType.SHARE_SET,
        "control",
        "A department or team is guaranteed a number of devices.",
        {"owner": "tenant id, or `department/team`", "pool": "name of the pool", "devices": "how many", **_BY},
    ),
    EventRow(
        EventType.REPLICA_PLACED,
        "control",
        "A replica was given devices.",
        {
            **_REPLICA,
            **_REVISION,
            **_long("parts", "nodes and devices, as JSON"),
            "device_bytes": "memory that it takes on each device",
            "term": "greater than any before",
            "borrowed": "whether it is beyond the guarantee of its owner",
            **_WHY,
        },
    ),
    EventRow(
        EventType.REPLICA_DRAINING,
        "control",
        "A replica gets nothing new.",
        {**_REPLICA, "deadline_ms": "when it is stopped at the latest, milliseconds since 1970", **_WHY},
    ),
    EventRow(EventType.REPLICA_STOPPING, "control", "A replica is told to end.", {**_REPLICA, **_WHY}),
    EventRow(EventType.REPLICA_REMOVED, "control", "A replica is gone; its devices are free.", {**_REPLICA, **_WHY}),
)
