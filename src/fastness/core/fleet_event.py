"""What happens to the fleet: commands that were taken and decisions that were made. The state is their fold.

`by` is the id of the principal that asked, or `control` where the control plane decided by itself. `reason` is a
sentence for a person. Times are milliseconds since 1970, given where the event is made: nothing here has a clock.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from fastness.core.desired import DeploymentSpec

CONTROL: Final = "control"
"""The author of what the control plane decides by itself."""


@dataclass(frozen=True, slots=True)
class Part:
    """What a replica holds on one node: devices, by their ids."""

    node: str
    devices: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class DeploymentApplied:
    """A deployment is wanted as `spec` says. Its `revision` grows when replicas must be replaced for it."""

    spec: DeploymentSpec
    revision: int
    by: str


@dataclass(frozen=True, slots=True)
class DeploymentRemoved:
    """A deployment is not wanted any more; its replicas drain."""

    deployment: str
    by: str


@dataclass(frozen=True, slots=True)
class DeploymentScaled:
    """So many replicas are wanted now, within the bounds of the deployment."""

    deployment: str
    replicas: int
    by: str
    reason: str


@dataclass(frozen=True, slots=True)
class RevisionPromoted:
    """A new revision has taken the whole place of the old one."""

    deployment: str
    revision: int
    reason: str


@dataclass(frozen=True, slots=True)
class RevisionRolledBack:
    """A new revision was found worse, and the one before it is wanted again."""

    deployment: str
    revision: int
    reason: str


@dataclass(frozen=True, slots=True)
class NodeCordoned:
    """Nothing new is placed on a node. `drain`: what is there moves elsewhere, too."""

    node: str
    drain: bool
    by: str
    reason: str


@dataclass(frozen=True, slots=True)
class NodeUncordoned:
    """A node may be placed on again."""

    node: str
    by: str


@dataclass(frozen=True, slots=True)
class NodeLabelled:
    """A node's labels, in the place of those it declares: pairs of key and value, sorted."""

    node: str
    labels: tuple[tuple[str, str], ...]
    by: str


@dataclass(frozen=True, slots=True)
class NodeLost:
    """Nothing was heard of a node for too long: what was there is placed elsewhere, its devices stay taken."""

    node: str
    reason: str


@dataclass(frozen=True, slots=True)
class NodeReturned:
    """A lost node was heard of again, and runs nothing that it should not."""

    node: str


@dataclass(frozen=True, slots=True)
class NodeForgotten:
    """A person says that a lost node does not come back: what it held is gone with it."""

    node: str
    by: str


@dataclass(frozen=True, slots=True)
class ShareSet:
    """A department or team is guaranteed so many devices of a pool; 0 takes the guarantee away."""

    owner: str
    pool: str
    devices: int
    by: str


@dataclass(frozen=True, slots=True)
class ReplicaPlaced:
    """A replica was given devices. `term` is greater than any before it, so that an old order can be told from a new.

    `device_bytes` is what it takes on each device. `borrowed`: beyond its owner's guarantee when it was placed.
    """

    replica: str
    deployment: str
    revision: int
    parts: tuple[Part, ...]
    device_bytes: int
    term: int
    borrowed: bool
    reason: str


@dataclass(frozen=True, slots=True)
class ReplicaDraining:
    """A replica gets nothing new; what runs there may finish until `deadline_ms`."""

    replica: str
    deadline_ms: int
    reason: str


@dataclass(frozen=True, slots=True)
class ReplicaStopping:
    """A replica is told to end: it has drained, or its deadline has passed. Its devices stay taken until it is gone."""

    replica: str
    reason: str


@dataclass(frozen=True, slots=True)
class ReplicaRemoved:
    """A replica is gone, and its devices are free."""

    replica: str
    reason: str


FleetEvent = (
    DeploymentApplied
    | DeploymentRemoved
    | DeploymentScaled
    | RevisionPromoted
    | RevisionRolledBack
    | NodeCordoned
    | NodeUncordoned
    | NodeLabelled
    | NodeLost
    | NodeReturned
    | NodeForgotten
    | ShareSet
    | ReplicaPlaced
    | ReplicaDraining
    | ReplicaStopping
    | ReplicaRemoved
)
