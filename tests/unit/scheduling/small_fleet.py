"""A small fleet for tests of the plan: nodes that obey late, die and come back, and gateways that report.

Time is virtual, in whole milliseconds. After each step the laws are looked at; `World.step` fails when one is broken.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from fastness.core.desired import DeploymentSpec, Needs, Rollout, Scaling
from fastness.core.fleet_event import FleetEvent, ReplicaDraining, ReplicaStopping
from fastness.core.fleet_state import FleetState, Phase, fold
from fastness.core.marking import Label, Node
from fastness.core.node import Device, DeviceKind, FleetNode
from fastness.core.observation import DeploymentLoad, GatewayReport, NodeOrders, NodeReport, Observation
from fastness.core.replica import Diagnosis, Replica, ReplicaState
from fastness.scheduling.orders import orders
from fastness.scheduling.plan import Pending, Plan, PlanBounds, PlanMemory, plan

OFFICIAL = Label("OFFICIAL")
START_MS = 1_800_000_000_000
STEP_MS = 1_000
STOP_MS = 1_500
READY = ReplicaState.READY
COMING = (ReplicaState.STARTING, ReplicaState.BACKING_OFF)
ANY, AT_ONCE, BOUNDS = Scaling(1, 8), Rollout(), PlanBounds()


def node(name: str, devices: int = 4, domain: str = "", pool: str = "default") -> FleetNode:
    gpus = tuple(Device(f"gpu-{number}", DeviceKind.GPU, "h100", 80) for number in range(devices))
    return FleetNode(Node(name, "GB", "crown", "GB", OFFICIAL), gpus, 100, domain, pool)


def spec(
    name: str = "chat",
    owner: str = "health",
    scaling: Scaling = ANY,
    rollout: Rollout = AT_ONCE,
    model: str = "aa",
    devices: int = 1,
    drain_timeout_s: float = 10.0,
    nodes: int = 1,
    urgent: bool = False,
) -> DeploymentSpec:
    return DeploymentSpec(
        name, owner, model, model * 32, "chat", OFFICIAL, Needs(OFFICIAL, 10, devices=devices, nodes=nodes),
        scaling=scaling, rollout=rollout, drain_timeout_s=drain_timeout_s, urgent=urgent,
    )  # fmt: skip


@dataclass
class SmallNode:
    """Keeps up what its orders say. `heard` False: it runs on, but nobody hears it or reaches it."""

    offer: FleetNode
    heard: bool = True
    alive: bool = True
    delay_ms: int = 0
    version: int = 0
    at_ms: int = START_MS
    inbox: list[tuple[int, NodeOrders]] = field(default_factory=list)
    engines: dict[str, Replica] = field(default_factory=dict)
    devices: dict[str, tuple[str, ...]] = field(default_factory=dict)
    ready_ms: dict[str, int] = field(default_factory=dict)
    ending: dict[str, int] = field(default_factory=dict)
    """When engines that are not ordered any more will have ended; until then they hold their devices."""
    said: NodeReport | None = None

    def die(self) -> None:
        """Lose power: what ran is gone, what was ordered is kept on disk."""
        self.alive = False
        self.inbox.clear()
        self.engines.clear()
        self.devices.clear()
        self.ready_ms.clear()
        self.ending.clear()

    def crash(self, replica: str, now_ms: int) -> None:
        """End an engine; its node starts it again."""
        one = self.engines[replica]
        if one.state in (READY, ReplicaState.STARTING):
            self.engines[replica] = replace(one, state=ReplicaState.BACKING_OFF, restarts=0)
            self.ready_ms[replica] = now_ms + 3_000


class World:
    def __init__(self, *nodes: FleetNode, gateways: int = 1, bounds: PlanBounds = BOUNDS) -> None:
        self.now_ms, self.bounds = START_MS, bounds
        self.state, self.memory = FleetState(), PlanMemory()
        self.nodes = {one.name: SmallNode(one) for one in nodes}
        self.gateways = [f"gateway-{number}" for number in range(gateways)]
        self.silent_gateways: dict[str, GatewayReport] = {}
        self.busy: dict[str, int] = {}
        """Answers that run on a replica, by its id; each ends by itself when the test takes it away."""
        self.loads: dict[str, DeploymentLoad] = {}
        self.start_ms, self.broken = 3_000, set[str]()
        """How long an engine takes to be ready; models that never are."""
        self.history: list[FleetEvent] = []
        self.plan = Plan()

    # what people do

    def decide(self, *events: FleetEvent) -> None:
        self.state = fold(events, self.state)
        self.history += events

    def restart_control(self) -> None:
        self.memory = PlanMemory()

    # time

    def run(self, seconds: float) -> None:
        for _ in range(int(seconds * 1_000) // STEP_MS):
            self.step()

    def until(self, true: object, within_s: float = 120.0) -> float:
        """Run until a callable is true; return for how many seconds."""
        begun_ms = self.now_ms
        while not true():  # type: ignore[operator]
            assert self.now_ms - begun_ms < within_s * 1_000, f"not within {within_s} s: {self.told()}"
            self.step()
        return (self.now_ms - begun_ms) / 1_000

    def step(self, step_ms: int = STEP_MS) -> Plan:
        self.now_ms += step_ms
        for one in self.nodes.values():
            self._live(one)
        return self.think()

    def think(self) -> Plan:
        """Let the control plane plan once, look at the laws, and send orders."""
        seen, before = self.seen(), self.state
        self.plan = plan(before, seen, self.memory, self.now_ms, self.bounds)
        assert self.plan == plan(before, seen, self.memory, self.now_ms, self.bounds), "not deterministic"
        self._look_at(before, self.plan)
        self.state, self.memory = fold(self.plan.events, before), self.plan.memory
        self.history += self.plan.events
        for name, one in self.nodes.items():
            if one.heard and one.alive:
                one.inbox.append((self.now_ms + one.delay_ms, orders(self.state, name)))
        return self.plan

    # what is seen

    def seen(self) -> Observation:
        for one in self.nodes.values():
            if one.heard and one.alive:
                one.said = NodeReport(one.offer, one.at_ms, one.version, tuple(one.engines.values()))
        reports = tuple(one.said for one in self.nodes.values() if one.said)
        return Observation(self.now_ms, reports, tuple(self._reported(name) for name in self.gateways))

    def ready(self, deployment: str = "chat") -> int:
        """How many replicas of a deployment are ready and routed, truly."""
        return sum(self._is_up(one.id) for one in self.state.of(deployment) if one.phase is Phase.PLACED)

    def revisions(self, deployment: str = "chat") -> list[int]:
        return [one.revision for one in self.state.of(deployment) if one.phase is Phase.PLACED]

    def phases(self, deployment: str = "chat") -> list[Phase]:
        return [one.phase for one in self.state.of(deployment)]

    def pending(self, deployment: str = "chat") -> Pending | None:
        return next((one for one in self.plan.pending if one.deployment == deployment), None)

    def reasons(self, kind: type) -> list[str]:
        return [one.reason for one in self.history if isinstance(one, kind)]

    def lost(self) -> list[str]:
        return [name for name, wish in self.state.nodes.items() if wish.lost]

    def told(self) -> str:
        replicas = [(one.id, str(one.phase), one.revision, one.parts[0].node) for one in self.state.replicas.values()]
        return f"{replicas} {self.plan.pending} {self.plan.suspects}"

    # inside

    def _is_up(self, replica: str) -> bool:
        parts = [one.engines[replica] for one in self.nodes.values() if one.alive and replica in one.engines]
        return bool(parts) and all(part.state is READY for part in parts)

    def _was_said_up(self, replica: str) -> bool:
        """Tell whether it is ready by the last report: the control plane knows no better."""
        reports = [one.said for one in self.nodes.values() if one.said]
        return any(one.id == replica and one.state is READY for report in reports for one in report.replicas)

    def _reported(self, name: str) -> GatewayReport:
        if name in self.silent_gateways:
            return self.silent_gateways[name]
        draining = tuple(
            one.id
            for each in self.nodes.values()
            if each.alive
            for one in each.engines.values()
            if one.state is ReplicaState.DRAINING
        )
        first = name == self.gateways[0]
        in_flight = tuple(sorted(self.busy.items())) if first else ()
        return GatewayReport(
            name, self.now_ms, 0, tuple(sorted(set(draining))), in_flight, tuple(self.loads.values()) if first else ()
        )

    def _live(self, one: SmallNode) -> None:
        if not one.alive:
            return
        one.at_ms = self.now_ms
        due = [sent for at_ms, sent in one.inbox if at_ms <= self.now_ms]
        one.inbox = [(at_ms, sent) for at_ms, sent in one.inbox if at_ms > self.now_ms]
        for sent in due:
            if sent.version >= one.version:
                self._obey(one, sent)
        for gone in [replica for replica, end_ms in one.ending.items() if end_ms <= self.now_ms]:
            del one.engines[gone], one.devices[gone], one.ready_ms[gone], one.ending[gone]
        for replica, engine in one.engines.items():
            if replica in one.ending:
                continue
            if engine.model in self.broken:
                up = one.ready_ms[replica] - self.start_ms
                restarts = (self.now_ms - up) // 2_000
                state, why = ReplicaState.BACKING_OFF, Diagnosis("out_of_memory", "it ran out of memory", "less")
                one.engines[replica] = replace(engine, state=state, restarts=restarts, diagnosis=why)
            elif engine.state in COMING and self.now_ms >= one.ready_ms[replica]:
                one.engines[replica] = replace(engine, state=READY)

    def _obey(self, one: SmallNode, sent: NodeOrders) -> None:
        wanted = {each.replica: each for each in sent.assignments}
        for gone in [replica for replica in one.engines if replica not in wanted and replica not in one.ending]:
            one.engines[gone] = replace(one.engines[gone], state=ReplicaState.DRAINING)
            one.ending[gone] = self.now_ms + STOP_MS
        for replica, each in wanted.items():
            if replica not in one.engines:
                one.ready_ms[replica] = self.now_ms + self.start_ms
                one.devices[replica] = each.part.devices
                one.engines[replica] = Replica(
                    replica, each.spec.model, "fake", ReplicaState.STARTING, "", each.spec.parameters.slots, 2_048, 1,
                    True, node=one.offer.name, deployment=each.spec.name, revision=each.revision, term=each.term,
                )  # fmt: skip
            elif not each.routed and one.engines[replica].state is READY:
                one.engines[replica] = replace(one.engines[replica], state=ReplicaState.DRAINING)
        one.version = sent.version
        held = [device for devices in one.devices.values() for device in devices]
        assert len(held) == len(set(held)), f"over-allocation on {one.offer.name}: {one.devices}"

    def _look_at(self, before: FleetState, made: Plan) -> None:
        """The laws of one plan: nothing is stopped that runs and has time, and no roll leaves fewer than it may."""
        after = fold(made.events, before)
        for event in made.events:
            if isinstance(event, ReplicaStopping):
                one = before.replicas[event.replica]
                assert one.phase is Phase.DRAINING, f"{one.id} is stopped, but has not drained"
                runs = self.busy.get(one.id, 0) and self._is_up(one.id)
                assert self.now_ms >= one.deadline_ms or not runs, f"{one.id} is stopped with answers running"
        owing = ("guaranteed", "give way", "removed")
        own = {
            e.replica for e in made.events if isinstance(e, ReplicaDraining) and not any(w in e.reason for w in owing)
        }
        in_place = any(isinstance(e, ReplicaDraining) and "no spare device" in e.reason for e in made.events)
        for name, deployed in after.deployments.items():
            was = [one.id for one in before.of(name) if one.phase is Phase.PLACED and self._was_said_up(one.id)]
            left = len(was) - sum(one in own for one in was)
            least = min(deployed.replicas - in_place, len(was))
            assert left >= least, f"{name} has {left} ready, {least} are wanted: {made.events}"


def fleet(*sizes: int, **more: object) -> World:
    """A world of nodes a, b, c, ... with so many devices."""
    return World(*(node("abcdefghij"[number], size) for number, size in enumerate(sizes)), **more)  # type: ignore[arg-type]
