"""What is seen of the fleet: reports of nodes and of gateways, each whole, each replaced by the next.

Times are milliseconds since 1970 by the clock of whoever wrote the report: only silence is told by comparing them.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace

from fastness.core.desired import DeploymentSpec
from fastness.core.fleet_event import Part
from fastness.core.node import FleetNode
from fastness.core.replica import Replica, ReplicaState


@dataclass(frozen=True, slots=True)
class Assignment:
    """One replica that a node has to keep up: `part` is what it holds there. `routed` False: it drains.

    `members` are the nodes of a gang, by rank: the engine of the first of them answers, and the others work for it.
    """

    replica: str
    spec: DeploymentSpec
    revision: int
    term: int
    part: Part
    routed: bool = True
    members: tuple[str, ...] = ()

    @property
    def follows(self) -> bool:
        """Whether this is the part of a gang that gets no requests."""
        return self.members[:1] not in ((), (self.part.node,))

    def as_replica(self, state: ReplicaState) -> Replica:
        """The replica as it was ordered, without an engine yet: nothing of it runs that could speak to anybody."""
        spec, parameters = self.spec, self.spec.parameters
        return Replica(
            id=self.replica,
            model=spec.model,
            engine=parameters.engine,
            state=state,
            socket="",
            slots=parameters.slots,
            context_tokens=parameters.slot_context_tokens,
            epoch=0,
            sealed=True,
            node=self.part.node,
            deployment=spec.name,
            revision=self.revision,
            model_digest=spec.model_digest,
            term=self.term,
            adapters=tuple(one.digest for one in spec.adapters),
        )


@dataclass(frozen=True, slots=True)
class NodeOrders:
    """All that a node has to run, and nothing else. `version` grows; a node obeys no version older than one it knows.

    `served` are the specs of all deployments, so that those without a replica are known, too. `wanted` says how many
    replicas of each there should be, on all nodes together.
    """

    node: str
    version: int
    assignments: tuple[Assignment, ...] = ()
    served: tuple[DeploymentSpec, ...] = ()
    wanted: tuple[tuple[str, int], ...] = ()

    @property
    def following(self) -> frozenset[str]:
        """The replicas of which the node has a part that gets no requests."""
        return frozenset(one.replica for one in self.assignments if one.follows)

    def without_adapters(self, names: Collection[str]) -> NodeOrders:
        """Return the same without some adapters: they were revoked, and their deployments go on without them."""
        if not names:
            return self
        assignments = tuple(replace(one, spec=one.spec.without_adapters(names)) for one in self.assignments)
        served = tuple(one.without_adapters(names) for one in self.served)
        return replace(self, assignments=assignments, served=served)


@dataclass(frozen=True, slots=True)
class NodeReport:
    """What a node says of itself: what it offers, the orders it has taken, and its replicas as they are.

    `stages` are pairs of a replica's id and what is done for it now (`verify`, `load`, ...), for people. `way` is by
    which it came to the head (`ray`, `door`), who puts it there; empty for the head's own. `release` is that of
    Fastness which the node runs; empty: one that did not say so yet.
    """

    node: FleetNode
    at_ms: int
    version: int
    replicas: tuple[Replica, ...] = ()
    stages: tuple[tuple[str, str], ...] = ()
    way: str = ""
    release: str = ""


@dataclass(frozen=True, slots=True)
class RevisionLoad:
    """What one revision of a deployment did since its gateway began: counts only grow.

    `ttft_ms_sum` is the sum of the times to the first token of those `answered`.
    """

    revision: int
    answered: int
    failed: int
    ttft_ms_sum: int
    output_tokens: int


@dataclass(frozen=True, slots=True)
class DeploymentLoad:
    """What a gateway has to do for a deployment at this moment; `asked` counts requests since the gateway began.

    `waiting` is without batches, `batch_waiting` with nothing else. `oldest_wait_s` is how long the first has waited.
    `cache_part` is the most that a replica uses of its KV cache, 0.0 to 1.0. Of those `running`, `batch_running` are of
    batches.
    """

    deployment: str
    waiting: int
    batch_waiting: int
    oldest_wait_s: float
    running: int
    asked: int
    cache_part: float = 0.0
    revisions: tuple[RevisionLoad, ...] = ()
    batch_running: int = 0


@dataclass(frozen=True, slots=True)
class GatewayReport:
    """What a gateway says: the snapshot it routes by, and for each replica how much of it runs there.

    A replica that drains is drained when every gateway knows a snapshot in which it does, and has nothing there.
    """

    gateway: str
    at_ms: int
    routing_version: int
    draining: tuple[str, ...] = ()
    in_flight: tuple[tuple[str, int], ...] = ()
    loads: tuple[DeploymentLoad, ...] = ()


@dataclass(frozen=True, slots=True)
class Observation:
    """Everything that is seen now: the last report of each node and gateway that is not silent for good."""

    at_ms: int
    nodes: tuple[NodeReport, ...] = ()
    gateways: tuple[GatewayReport, ...] = ()
