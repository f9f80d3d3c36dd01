"""The production plan as a crew: it decides on reports as nodes and gateways write them, and simulated nodes obey."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from fastness.core.desired import DeploymentSpec, Needs, Parameters, Scaling
from fastness.core.fleet_event import DeploymentApplied, DeploymentScaled, FleetEvent, ShareSet
from fastness.core.fleet_state import FleetState, Phase, PlacedReplica, fold
from fastness.core.marking import Label, Node
from fastness.core.node import POOL, Device, DeviceKind, FleetNode
from fastness.core.observation import DeploymentLoad, GatewayReport, NodeReport, Observation
from fastness.core.replica import Replica, ReplicaState
from fastness.scheduling.plan import PlanBounds, PlanMemory, plan

NODE_DEVICES: Final = 8
OPEN: Final = Label("OPEN")
BEGIN_MS: Final = 1_000
"""Plans take 0 for never."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """One deployment of the simulated site: whose it is, how it scales, and with how many replicas it begins."""

    name: str
    owner: str
    scaling: Scaling
    first: int
    slots: int
    devices: int = 1
    drain_s: float = 60.0


@dataclass(slots=True)
class Planned:
    """A site of `devices` devices under the production plan; a replica is ready `start_s` after it was placed.

    `shares` are guarantees in devices, by owner. `starting` maps a replica to when it will be ready.
    """

    wanted: Sequence[Wanted]
    devices: int
    start_s: float
    accelerator: str = "gpu"
    shares: Mapping[str, int] = field(default_factory=dict)
    bounds: PlanBounds = field(default_factory=PlanBounds)
    state: FleetState = field(default_factory=FleetState)
    memory: PlanMemory = field(default_factory=PlanMemory)
    events: int = 0
    pending: int = 0
    """Ticks at which something wanted could not be placed."""
    _ready_s: dict[str, float] = field(default_factory=dict)
    _nodes: list[FleetNode] = field(default_factory=list)
    _now_s: float = 0.0
    _lists: dict[str, tuple[str, ...]] = field(default_factory=dict)
    _held: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for first in range(0, self.devices, NODE_DEVICES):
            count = min(NODE_DEVICES, self.devices - first)
            name = f"node-{first // NODE_DEVICES + 1:03}"
            held = tuple(Device(f"gpu-{at}", DeviceKind.GPU, self.accelerator, 80 * 2**30) for at in range(count))
            self._nodes.append(FleetNode(Node(name, "", "", "", OPEN), held, 2**40, name))
        happened: list[FleetEvent] = [ShareSet(owner, POOL, count, "planner") for owner, count in self.shares.items()]
        for one in self.wanted:
            happened.append(DeploymentApplied(_spec(one, self.accelerator), 1, "planner"))
            happened.append(DeploymentScaled(one.name, one.first, "planner", "the first span of the trace"))
        self.state = fold(happened, self.state)
        self._plan(0.0, {}, {})
        self._ready_s = dict.fromkeys(self._ready_s, 0.0)  # what it begins with was there before
        self._look()

    def tick(self, now_s: float, loads: Mapping[str, DeploymentLoad], in_flight: Mapping[str, int]) -> None:
        """See Crew."""
        self._now_s = now_s
        self._plan(now_s, loads, in_flight)
        self._look()

    def ready(self, deployment: str) -> tuple[str, ...]:
        """See Crew."""
        return self._lists.get(deployment, ())

    def held(self, deployment: str) -> int:
        """See Crew."""
        return self._held.get(deployment, 0)

    def _plan(self, now_s: float, loads: Mapping[str, DeploymentLoad], in_flight: Mapping[str, int]) -> None:
        at_ms = BEGIN_MS + int(now_s * 1_000)
        draining = tuple(one.id for one in self.state.replicas.values() if one.phase is Phase.DRAINING)
        there = tuple((name, in_flight.get(name, 0)) for name in self.state.replicas)
        gateway = GatewayReport("gateway", at_ms, self.state.sequence, draining, there, tuple(loads.values()))
        seen = Observation(at_ms, self._reports(at_ms), (gateway,))
        decided = plan(self.state, seen, self.memory, at_ms, self.bounds)
        self.state, self.memory = fold(decided.events, self.state), decided.memory
        self.events += len(decided.events)
        self.pending += bool(decided.pending)
        for name in self.state.replicas:
            self._ready_s.setdefault(name, now_s + self.start_s)
        for gone in self._ready_s.keys() - self.state.replicas.keys():
            del self._ready_s[gone]

    def _reports(self, at_ms: int) -> tuple[NodeReport, ...]:
        running: dict[str, list[Replica]] = {}
        for one in self.state.replicas.values():
            if one.phase in (Phase.PLACED, Phase.DRAINING):
                for part in one.parts:
                    running.setdefault(part.node, []).append(self._replica(one, part.node))
        version = self.state.sequence
        return tuple(NodeReport(node, at_ms, version, tuple(running.get(node.name, ()))) for node in self._nodes)

    def _replica(self, one: PlacedReplica, node: str) -> Replica:
        ready = self._ready_s[one.id] <= self._now_s
        state = ReplicaState.READY if ready else ReplicaState.STARTING
        slots = self.state.spec_of(one).parameters.slots
        return Replica(
            one.id, one.deployment, "simulated", state, "", slots, 0, 1, True,
            node=node, deployment=one.deployment, revision=one.revision, term=one.term,
        )  # fmt: skip

    def _look(self) -> None:
        lists: dict[str, list[str]] = {}
        self._held = {}
        for one in self.state.replicas.values():
            self._held[one.deployment] = self._held.get(one.deployment, 0) + sum(
                len(part.devices) for part in one.parts
            )
            if one.phase is Phase.PLACED and self._ready_s[one.id] <= self._now_s:
                lists.setdefault(one.deployment, []).append(one.id)
        self._lists = {name: tuple(found) for name, found in lists.items()}


def _spec(one: Wanted, accelerator: str) -> DeploymentSpec:
    needs = Needs(OPEN, 2**30, one.devices, accelerator=accelerator)
    parameters = Parameters("simulated", one.slots)
    return DeploymentSpec(
        one.name, one.owner, one.name, "", "chat", OPEN, needs, parameters, one.scaling, drain_timeout_s=one.drain_s
    )
