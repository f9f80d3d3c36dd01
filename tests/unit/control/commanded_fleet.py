"""A fleet for tests of its commands: nodes as they report, two models, tenants, and a ledger on disk."""

from __future__ import annotations

from dataclasses import replace

from fastness.config import LedgerSettings
from fastness.control.api import build_app
from fastness.control.deployments import Deployments
from fastness.control.fleet_api import ROUTES, FleetApi, FleetParts
from fastness.control.fleet_log import FleetLog
from fastness.control.guarantees import Guarantees
from fastness.control.models_here import ModelFacts
from fastness.control.nodes import Nodes
from fastness.control.routes import bound
from fastness.core.desired import Parameters
from fastness.core.fleet_state import FleetState, Phase
from fastness.core.marking import Label, Lattice, Node
from fastness.core.model import ModelCard, ModelKind
from fastness.core.node import Device, DeviceKind, FleetNode
from fastness.core.observation import (
    DeploymentLoad,
    GatewayReport,
    NodeReport,
    Observation,
    RevisionLoad,
)
from fastness.core.replica import Replica, ReplicaState
from fastness.ledger.file import FileLedger
from fastness.policy.profile import shipped_profile
from fastness.scheduling.orders import orders
from fastness.scheduling.plan import Plan, PlanBounds, PlanMemory, plan

LATTICE = Lattice(shipped_profile("uk"))
OFFICIAL, SENSITIVE = Label("OFFICIAL"), Label("OFFICIAL-SENSITIVE")
GB = 1_000_000_000


def card(name: str, digit: str, kind: ModelKind = ModelKind.CHAT, context: int = 8_192) -> ModelCard:
    return ModelCard(name, kind, digit * 64, 100_000_000, "Apache-2.0", context, 0)


MODELS = {
    "small": ModelFacts(card("small", "a"), OFFICIAL),
    "large": ModelFacts(card("large", "b"), SENSITIVE),
    "embed": ModelFacts(card("embed", "c", ModelKind.EMBEDDING, 512), OFFICIAL),
}


def device_bytes(card: ModelCard, parameters: Parameters, devices: int) -> int:
    """Return something that grows as the real one does."""
    return (card.size_bytes + parameters.slots * parameters.slot_context_tokens) // devices


def node(name: str, devices: int = 4, pool: str = "default", **changes) -> FleetNode:
    place = Node(name, "GB", "", "", SENSITIVE)
    gpus = tuple(Device(f"gpu-{n}", DeviceKind.GPU, "h100", 80 * GB) for n in range(devices))
    return FleetNode(place, gpus, 400 * GB, pool=pool, labels=(("gpu", "h100"),), **changes)


class Fleet:
    """A `Watching` whose nodes obey when told to: `settle` plans and obeys until nothing happens."""

    def __init__(self, clock) -> None:
        self.clock, self.nodes = clock, (node("bristol"), node("leeds"))
        self.plan: Plan | None = None
        self.memory, self.state = PlanMemory(), FleetState()
        self.starting: set[str] = set()
        self.answered, self.failed = 0, 0

    def latest(self) -> Plan | None:
        return self.plan

    def seen(self) -> Observation | None:
        if not self.nodes:
            return None
        now_ms = int(self.clock() * 1_000)
        reports = tuple(self._report(one, now_ms) for one in self.nodes)
        loads = tuple(
            DeploymentLoad(name, 0, 0, 0.0, 0, 0, 0.0, (RevisionLoad(one.revision, self.answered, self.failed, 0, 0),))
            for name, one in self.state.deployments.items()
        )
        draining = tuple(one.id for one in self.state.replicas.values() if one.phase is Phase.DRAINING)
        gateway = GatewayReport("gateway-0", now_ms, self.state.sequence, draining, (), loads)
        return Observation(now_ms, reports, (gateway,))

    def _report(self, one: FleetNode, now_ms: int) -> NodeReport:
        replicas = tuple(
            Replica(
                each.replica, each.spec.model, "llamacpp",
                ReplicaState.STARTING if each.replica in self.starting else ReplicaState.READY,
                "", 8, 2_048, 1, True, node=one.name, deployment=each.spec.name, revision=each.revision,
                model_digest=each.spec.model_digest, term=each.term,
            )
            for each in orders(self.state, one.name).assignments
        )  # fmt: skip
        stages = tuple((each.id, "load") for each in replicas if each.id in self.starting)
        return NodeReport(one, now_ms, self.state.sequence, replicas, stages, release="9.9.9")

    async def step(self, log: FleetLog) -> bool:
        """Plan once, record and obey; tell whether anything happened."""
        self.state = log.state
        seen = self.seen() or Observation(0)

        def decide(state):
            self.plan = plan(state, seen, self.memory, int(self.clock() * 1_000), PlanBounds(), LATTICE.dominates)
            return self.plan.events

        happened = await log.decide(decide)
        self.memory, self.state = self.plan.memory, log.state
        return bool(happened)

    async def settle(self, log: FleetLog, clock, steps: int = 60) -> None:
        quiet = 0
        for _ in range(steps):
            quiet = 0 if await self.step(log) else quiet + 1
            if quiet == 3:
                return
            clock.now_s += 1.0
        raise AssertionError("the fleet never comes to rest")


class Site:
    """A control plane with the routes of the fleet, on a world of conftest."""

    def __init__(self, world) -> None:
        self.world, self.clock, self.models = world, world.clock, dict(MODELS)
        self.ledger, self.number = None, 0
        self.begin_anew()
        for tenant in ("health", "justice"):
            world.post("/tenants", {"id": tenant})

    def begin_anew(self) -> None:
        """Begin with an empty ledger; tenants stay."""
        if self.ledger is not None:
            self.close()
        world, self.number = self.world, self.number + 1
        self.directory = world.root / f"ledger{self.number}/control"
        self.directory.mkdir(parents=True)
        self.fleet = Fleet(world.clock)
        self.ledger = world.run(self._open())
        self.log = world.run(self._fold())
        self.deployments = Deployments(
            self.log, lambda: self.models, world.access, world.policies, self.fleet, self.directory
        )
        self.nodes = Nodes(self.log, self.fleet)
        self.guarantees = Guarantees(self.log, world.access, self.fleet)
        parts = FleetParts(
            self.deployments, self.nodes, self.guarantees, self.fleet, world.policies, device_bytes,
            self.directory, world.clock,
        )  # fmt: skip
        world.app = build_app(replace(world.deps, extra_routes=bound(ROUTES, FleetApi(parts))))

    async def _fold(self) -> FleetLog:
        return FleetLog.open(self.directory, self.ledger, self._now_ms)

    async def _open(self) -> FileLedger:
        return FileLedger.open(self.directory, "control", LedgerSettings(), self._now_ms)

    def _now_ms(self) -> int:
        return int(self.clock() * 1_000)

    @property
    def state(self) -> FleetState:
        return self.log.state

    def settle(self) -> None:
        self.world.run(self.fleet.settle(self.log, self.clock))

    def step(self) -> bool:
        return self.world.run(self.fleet.step(self.log))

    def apply(self, *given, **body):
        return self.world.post("/deployments", {"deployment": list(given)} | body)["applied"]

    def happened(self, *events) -> None:
        """Decide what the control plane would."""
        self.world.run(self.log.decide(lambda _: events))

    def refused(self, method: str, path: str, body=None):
        response = self.world.ask(method, path, json=body)
        assert not response.is_success, response.text
        problem = response.json()
        assert problem["detail"] and problem["hint"], "every refusal says what was needed and what to try"
        return problem

    def close(self) -> None:
        self.world.run(self.ledger.close())


def chat(name: str = "chat", **changes):
    return {"name": name, "model": "small", "owner": "health"} | changes
