"""The state of the fleet: a fold of its events. `apply(state, event)` is the only way that it changes.

What it holds is what was decided, never what was observed: which replicas should be where, and which devices they hold.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from types import MappingProxyType
from typing import Any, Final, TypeVar

from fastness.core import fleet_event as events
from fastness.core.desired import DeploymentSpec
from fastness.core.fleet_event import FleetEvent, Part

K = TypeVar("K")
V = TypeVar("V")


class Phase(StrEnum):
    """What is wanted of a placed replica. Its devices are taken in every phase, until it is removed."""

    PLACED = "placed"
    DRAINING = "draining"
    STOPPING = "stopping"
    LOST = "lost"


@dataclass(frozen=True, slots=True)
class PlacedReplica:
    """One replica, and what it holds. `deadline_ms` is when a draining one is stopped, whatever it does.

    `since` is the sequence of the event that brought it to its phase; a report under older orders says nothing of it.
    """

    id: str
    deployment: str
    revision: int
    parts: tuple[Part, ...]
    device_bytes: int
    term: int
    borrowed: bool = False
    phase: Phase = Phase.PLACED
    deadline_ms: int = 0
    reason: str = ""
    since: int = 0


@dataclass(frozen=True, slots=True)
class Deployed:
    """A deployment as wanted: `revisions` has the spec of each revision that is wanted or may still run.

    `revision` is the one wanted, `stable` the last that is known to be good; they differ while a roll is under way.
    `replicas` is how many are wanted now. A removed deployment stays until its last replica is gone. `newest` is the
    greatest revision that there was: a number that was rolled back is not given again.
    """

    revisions: Mapping[int, DeploymentSpec]
    revision: int
    stable: int
    replicas: int
    by: str
    removed: bool = False
    rolled_back: str = ""
    newest: int = 1

    @property
    def spec(self) -> DeploymentSpec:
        """What is wanted."""
        return self.revisions[self.revision]


@dataclass(frozen=True, slots=True)
class NodeWish:
    """What people and the control plane decided of a node. `labels` None: those that it declares.

    `forgotten`: it was lost, and is not expected back.
    """

    cordoned: bool = False
    draining: bool = False
    lost: bool = False
    forgotten: bool = False
    by: str = ""
    reason: str = ""
    labels: tuple[tuple[str, str], ...] | None = None


@dataclass(frozen=True, slots=True)
class FleetState:
    """Everything that was decided. `sequence` counts the events folded; `term` is the greatest that was given."""

    sequence: int = 0
    term: int = 0
    deployments: Mapping[str, Deployed] = field(default_factory=lambda: MappingProxyType({}))
    nodes: Mapping[str, NodeWish] = field(default_factory=lambda: MappingProxyType({}))
    shares: Mapping[tuple[str, str], int] = field(default_factory=lambda: MappingProxyType({}))
    replicas: Mapping[str, PlacedReplica] = field(default_factory=lambda: MappingProxyType({}))

    def of(self, deployment: str) -> tuple[PlacedReplica, ...]:
        """The replicas of a deployment, in the order of their terms."""
        return tuple(sorted((one for one in self.replicas.values() if one.deployment == deployment), key=_term))

    def spec_of(self, one: PlacedReplica) -> DeploymentSpec:
        """What a replica was placed for: its deployment at its revision."""
        return self.deployments[one.deployment].revisions[one.revision]

    def taken(self) -> Mapping[tuple[str, str], str]:
        """Which replica holds a device, by node and device."""
        return {
            (part.node, device): one.id
            for one in self.replicas.values()
            for part in one.parts
            for device in part.devices
        }


class Impossible(ValueError):  # noqa: N818 - an outcome
    """An event that cannot follow this state; the message says why. Nothing makes one but an error in the program."""


def fold(happened: Iterable[FleetEvent], state: FleetState | None = None) -> FleetState:
    """Apply events one after the other; raises Impossible."""
    state = state or FleetState()
    for event in happened:
        state = apply(state, event)
    return state


def apply(state: FleetState, event: FleetEvent) -> FleetState:
    """Return the state after an event; raises Impossible for one that cannot follow."""
    changed = _APPLY[type(event)](state, event)
    return replace(changed, sequence=state.sequence + 1)


def _term(one: PlacedReplica) -> int:
    return one.term


def _with(mapping: Mapping[K, V], key: K, value: V) -> Mapping[K, V]:
    return MappingProxyType({**mapping, key: value})


def _without(mapping: Mapping[K, V], key: K) -> Mapping[K, V]:
    return MappingProxyType({one: value for one, value in mapping.items() if one != key})


def _deployed(state: FleetState, name: str) -> Deployed:
    found = state.deployments.get(name)
    if found is None:
        raise Impossible(f"there is no deployment {name!r}")
    return found


def _replica(state: FleetState, replica_id: str) -> PlacedReplica:
    found = state.replicas.get(replica_id)
    if found is None:
        raise Impossible(f"there is no replica {replica_id!r}")
    return found


def _put(state: FleetState, name: str, deployed: Deployed) -> FleetState:
    return replace(state, deployments=_with(state.deployments, name, _pruned(state, name, deployed)))


def _pruned(state: FleetState, name: str, deployed: Deployed) -> Deployed:
    """Forget revisions that neither are wanted nor run."""
    needed = {deployed.revision, deployed.stable} | {one.revision for one in state.of(name)}
    kept = {number: spec for number, spec in deployed.revisions.items() if number in needed}
    return replace(deployed, revisions=MappingProxyType(kept))


def _applied(state: FleetState, event: events.DeploymentApplied) -> FleetState:
    name, scaling = event.spec.name, event.spec.scaling
    before = state.deployments.get(name)
    if before is None:
        wanted = max(scaling.min, min(1, scaling.max))
        return _put(
            state,
            name,
            Deployed(
                MappingProxyType({event.revision: event.spec}), event.revision, event.revision, wanted, event.by,
                newest=event.revision,
            ),
        )  # fmt: skip
    if event.revision < before.revision:
        raise Impossible(f"revision {event.revision} of {name} comes after revision {before.revision}")
    wanted = min(max(1 if before.removed else before.replicas, scaling.min), scaling.max)
    stable = event.revision if before.removed or not state.of(name) else before.stable
    revisions = _with(before.revisions, event.revision, event.spec)
    newest = max(before.newest, event.revision)
    return _put(state, name, Deployed(revisions, event.revision, stable, wanted, event.by, newest=newest))


def _removed(state: FleetState, event: events.DeploymentRemoved) -> FleetState:
    deployed = replace(_deployed(state, event.deployment), removed=True, replicas=0, by=event.by)
    if not state.of(event.deployment):
        return replace(state, deployments=_without(state.deployments, event.deployment))
    return _put(state, event.deployment, deployed)


def _scaled(state: FleetState, event: events.DeploymentScaled) -> FleetState:
    deployed = _deployed(state, event.deployment)
    scaling = deployed.spec.scaling
    if not scaling.min <= event.replicas <= scaling.max:
        raise Impossible(f"{event.deployment} takes {scaling.min} to {scaling.max} replicas, not {event.replicas}")
    return _put(state, event.deployment, replace(deployed, replicas=event.replicas))


def _promoted(state: FleetState, event: events.RevisionPromoted) -> FleetState:
    deployed = _deployed(state, event.deployment)
    if event.revision != deployed.revision:
        raise Impossible(f"revision {event.revision} of {event.deployment} is not the one wanted")
    return _put(state, event.deployment, replace(deployed, stable=event.revision, rolled_back=""))


def _rolled_back(state: FleetState, event: events.RevisionRolledBack) -> FleetState:
    """The spec of the stable revision is wanted again, under its own number: its replicas still run."""
    deployed = _deployed(state, event.deployment)
    if event.revision != deployed.revision or deployed.stable == deployed.revision:
        raise Impossible(f"revision {event.revision} of {event.deployment} is not on its way")
    return _put(state, event.deployment, replace(deployed, revision=deployed.stable, rolled_back=event.reason))


def _wish(state: FleetState, node: str, **changes: Any) -> FleetState:
    wish = replace(state.nodes.get(node, NodeWish()), **changes)
    return replace(state, nodes=_without(state.nodes, node) if wish == NodeWish() else _with(state.nodes, node, wish))


def _cordoned(state: FleetState, event: events.NodeCordoned) -> FleetState:
    return _wish(state, event.node, cordoned=True, draining=event.drain, by=event.by, reason=event.reason)


def _uncordoned(state: FleetState, event: events.NodeUncordoned) -> FleetState:
    return _wish(state, event.node, cordoned=False, draining=False, by="", reason="")


def _labelled(state: FleetState, event: events.NodeLabelled) -> FleetState:
    return _wish(state, event.node, labels=event.labels)


def _lost(state: FleetState, event: events.NodeLost) -> FleetState:
    lost = {
        one.id: replace(one, phase=Phase.LOST, reason=event.reason, since=state.sequence + 1)
        if any(p.node == event.node for p in one.parts)
        else one
        for one in state.replicas.values()
    }
    return _wish(replace(state, replicas=MappingProxyType(lost)), event.node, lost=True)


def _returned(state: FleetState, event: events.NodeReturned) -> FleetState:
    return _wish(state, event.node, lost=False, forgotten=False)


def _forgotten(state: FleetState, event: events.NodeForgotten) -> FleetState:
    """What was there is removed; of a replica on several nodes, the other parts are waited for."""
    if not state.nodes.get(event.node, NodeWish()).lost:
        raise Impossible(f"{event.node} is not lost")
    there = [one for one in state.replicas.values() if any(part.node == event.node for part in one.parts)]
    for one in there:
        parts = tuple(part for part in one.parts if part.node != event.node)
        if parts:
            state = replace(state, replicas=_with(state.replicas, one.id, replace(one, parts=parts)))
        else:
            state = _gone(state, events.ReplicaRemoved(one.id, "its node was forgotten"))
    return replace(state, nodes=_with(state.nodes, event.node, NodeWish(lost=True, forgotten=True)))


def _share(state: FleetState, event: events.ShareSet) -> FleetState:
    key = (event.owner, event.pool)
    return replace(
        state, shares=_with(state.shares, key, event.devices) if event.devices else _without(state.shares, key)
    )


def _placed(state: FleetState, event: events.ReplicaPlaced) -> FleetState:
    deployed = _deployed(state, event.deployment)
    if event.replica in state.replicas:
        raise Impossible(f"there is a replica {event.replica} already")
    if event.term <= state.term:
        raise Impossible(f"term {event.term} was given before")
    if event.revision not in deployed.revisions:
        raise Impossible(f"{event.deployment} has no revision {event.revision}")
    taken = state.taken()
    for part in event.parts:
        for device in part.devices:
            if holder := taken.get((part.node, device)):
                raise Impossible(f"{device} of {part.node} is held by {holder}")
    placed = PlacedReplica(
        event.replica, event.deployment, event.revision, event.parts, event.device_bytes, event.term, event.borrowed,
        reason=event.reason, since=state.sequence + 1,
    )  # fmt: skip
    return replace(state, term=event.term, replicas=_with(state.replicas, event.replica, placed))


def _draining(state: FleetState, event: events.ReplicaDraining) -> FleetState:
    one = _replica(state, event.replica)
    if one.phase is not Phase.PLACED:
        raise Impossible(f"{event.replica} is {one.phase} and cannot begin to drain")
    changed = replace(
        one, phase=Phase.DRAINING, deadline_ms=event.deadline_ms, reason=event.reason, since=state.sequence + 1
    )
    return replace(state, replicas=_with(state.replicas, one.id, changed))


def _stopping(state: FleetState, event: events.ReplicaStopping) -> FleetState:
    one = _replica(state, event.replica)
    if one.phase not in (Phase.DRAINING, Phase.LOST):
        raise Impossible(f"{event.replica} is {one.phase}: it drains before it is stopped")
    return replace(
        state,
        replicas=_with(
            state.replicas, one.id, replace(one, phase=Phase.STOPPING, reason=event.reason, since=state.sequence + 1)
        ),
    )


def _gone(state: FleetState, event: events.ReplicaRemoved) -> FleetState:
    one = _replica(state, event.replica)
    if one.phase is Phase.PLACED:
        raise Impossible(f"{event.replica} is {one.phase}: it is stopped before it is removed")
    state = replace(state, replicas=_without(state.replicas, one.id))
    deployed = state.deployments.get(one.deployment)
    if deployed is None:
        return state
    if deployed.removed and not state.of(one.deployment):
        return replace(state, deployments=_without(state.deployments, one.deployment))
    return _put(state, one.deployment, deployed)


_APPLY: Final[Mapping[type[Any], Callable[[FleetState, Any], FleetState]]] = MappingProxyType(
    {
        events.DeploymentApplied: _applied,
        events.DeploymentRemoved: _removed,
        events.DeploymentScaled: _scaled,
        events.RevisionPromoted: _promoted,
        events.RevisionRolledBack: _rolled_back,
        events.NodeCordoned: _cordoned,
        events.NodeUncordoned: _uncordoned,
        events.NodeLabelled: _labelled,
        events.NodeLost: _lost,
        events.NodeReturned: _returned,
        events.NodeForgotten: _forgotten,
        events.ShareSet: _share,
        events.ReplicaPlaced: _placed,
        events.ReplicaDraining: _draining,
        events.ReplicaStopping: _stopping,
        events.ReplicaRemoved: _gone,
    }
)
