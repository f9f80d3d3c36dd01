"""What people ask for in a simulation, and the events that follow from it."""

from __future__ import annotations

from dataclasses import dataclass, replace

from fastness.core import fleet_event as events
from fastness.core.desired import DeploymentSpec, Rollout, Scaling
from fastness.core.fleet_event import FleetEvent
from fastness.core.fleet_state import FleetState

BY = "ops-lead"


@dataclass(frozen=True, slots=True)
class Apply:
    """A deployment is wanted as `spec` says."""

    spec: DeploymentSpec


@dataclass(frozen=True, slots=True)
class Roll:
    """A deployment's model is to be another."""

    deployment: str
    digest: str


@dataclass(frozen=True, slots=True)
class Scale:
    """A deployment is to have so many replicas, no more and no fewer."""

    deployment: str
    replicas: int


@dataclass(frozen=True, slots=True)
class Remove:
    """A deployment is wanted no more."""

    deployment: str


@dataclass(frozen=True, slots=True)
class Cordon:
    """Nothing new is placed on a node; `drain`: what is there moves."""

    node: str
    drain: bool


@dataclass(frozen=True, slots=True)
class Uncordon:
    """A node is open again."""

    node: str


@dataclass(frozen=True, slots=True)
class Share:
    """An owner is guaranteed devices of a pool."""

    owner: str
    pool: str
    devices: int


Command = Apply | Roll | Scale | Remove | Cordon | Uncordon | Share


def events_of(state: FleetState, command: Command) -> tuple[FleetEvent, ...]:
    """Return what happens by a command; nothing when it means nothing in this state."""
    match command:
        case Apply(spec):
            return (events.DeploymentApplied(spec, _revision(state, spec), BY),)
        case Roll(name, digest):
            found = state.deployments.get(name)
            return () if found is None or found.removed else events_of(
                state, Apply(replace(found.spec, model_digest=digest))
            )  # fmt: skip
        case Scale(name, count):
            found = state.deployments.get(name)
            return () if found is None or found.removed else events_of(
                state, Apply(replace(found.spec, scaling=replace(found.spec.scaling, min=count, max=count)))
            )  # fmt: skip
        case Remove(name):
            found = state.deployments.get(name)
            return () if found is None or found.removed else (events.DeploymentRemoved(name, BY),)
        case Cordon(node, drain):
            return (events.NodeCordoned(node, drain, BY, "maintenance"),)
        case Uncordon(node):
            return (events.NodeUncordoned(node, BY),)
        case Share(owner, pool, devices):
            return (events.ShareSet(owner, pool, devices, BY),)


def _revision(state: FleetState, spec: DeploymentSpec) -> int:
    """The next one where replicas must be replaced, else the one there is."""
    before = state.deployments.get(spec.name)
    if before is None:
        return 1
    same = replace(before.spec, scaling=Scaling(), rollout=Rollout(), urgent=False, drain_timeout_s=30.0)
    if same == replace(spec, scaling=Scaling(), rollout=Rollout(), urgent=False, drain_timeout_s=30.0):
        return before.revision
    return max(before.revisions) + 1
