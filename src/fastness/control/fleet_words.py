"""Events of the fleet as sentences, the same in API, command line and console."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Final

from fastness.core import fleet_event as fleet
from fastness.core.fleet_event import CONTROL, FleetEvent, Part


def sentence(event: FleetEvent) -> str:
    """Say what happened, in one line without its author and time."""
    return _SAY[type(event)](event)


def author(event: FleetEvent) -> str:
    """Return who asked for it: the id of a principal, or `control` for what follows from what was asked."""
    return str(getattr(event, "by", CONTROL))


def about(event: FleetEvent, replicas: Mapping[str, tuple[str, tuple[str, ...]]]) -> tuple[str | None, tuple[str, ...]]:
    """Return the deployment and the nodes that an event is about; `replicas` has both of replicas placed before.

    The id of any other replica begins with the name of its deployment; where it was is not known.
    """
    if isinstance(event, fleet.DeploymentApplied):
        return event.spec.name, ()
    if isinstance(event, fleet.ReplicaPlaced):
        return event.deployment, tuple(part.node for part in event.parts)
    if replica := getattr(event, "replica", None):
        return replicas.get(replica) or (replica.rpartition("-")[0], ())
    node = getattr(event, "node", None)
    return getattr(event, "deployment", None), () if node is None else (node,)


def where(parts: tuple[Part, ...]) -> str:
    """Say which devices of which nodes: `bristol-07 gpu-0 gpu-1`."""
    return ", ".join(" ".join((part.node, *part.devices)) for part in parts)


def _because(text: str, reason: str) -> str:
    return f"{text}: {reason}" if reason else text


def _applied(event: fleet.DeploymentApplied) -> str:
    spec = event.spec
    low, high = spec.scaling.min, spec.scaling.max
    count = f"{low} to {high} replicas" if low != high else f"{low} replica{'' if low == 1 else 's'}"
    return f"deployment {spec.name} wanted: {spec.model}, {count}, revision {event.revision}"


def _cordoned(event: fleet.NodeCordoned) -> str:
    return _because(f"node {event.node} cordoned" + (" and draining" if event.drain else ""), event.reason)


def _labelled(event: fleet.NodeLabelled) -> str:
    labels = " ".join(f"{key}={value}" if value else key for key, value in event.labels)
    return f"node {event.node} labelled {labels or 'with nothing'}"


def _share(event: fleet.ShareSet) -> str:
    promised = f"{event.devices} device{'' if event.devices == 1 else 's'}" if event.devices else "nothing"
    return f"share of {event.owner}: {promised} of pool {event.pool} guaranteed"


def _placed(event: fleet.ReplicaPlaced) -> str:
    borrowed = ", borrowed" if event.borrowed else ""
    text = f"replica {event.replica} (revision {event.revision}) placed on {where(event.parts)}{borrowed}"
    return _because(text, event.reason)


_SAY: Final[Mapping[type[Any], Callable[[Any], str]]] = MappingProxyType(
    {
        fleet.DeploymentApplied: _applied,
        fleet.DeploymentRemoved: lambda e: f"deployment {e.deployment} removed",
        fleet.DeploymentScaled: lambda e: _because(f"deployment {e.deployment} scaled to {e.replicas}", e.reason),
        fleet.RevisionPromoted: lambda e: _because(f"revision {e.revision} of {e.deployment} stands", e.reason),
        fleet.RevisionRolledBack: lambda e: _because(f"revision {e.revision} of {e.deployment} rolled back", e.reason),
        fleet.NodeCordoned: _cordoned,
        fleet.NodeUncordoned: lambda e: f"node {e.node} open again",
        fleet.NodeLabelled: _labelled,
        fleet.NodeLost: lambda e: _because(f"node {e.node} lost", e.reason),
        fleet.NodeReturned: lambda e: f"node {e.node} is back",
        fleet.NodeForgotten: lambda e: f"node {e.node} forgotten, with what it held",
        fleet.ShareSet: _share,
        fleet.ReplicaPlaced: _placed,
        fleet.ReplicaDraining: lambda e: _because(f"replica {e.replica} draining", e.reason),
        fleet.ReplicaStopping: lambda e: _because(f"replica {e.replica} stopping", e.reason),
        fleet.ReplicaRemoved: lambda e: _because(f"replica {e.replica} gone", e.reason),
    }
)
