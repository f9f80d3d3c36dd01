"""The reconciler goes on whatever fails, gives orders that only follow from what is durable, and waits for nobody."""

import asyncio
from dataclasses import replace

import pytest

from fastness.control.configured import CONFIGURATION
from fastness.control.fleet_log import FleetLog
from fastness.control.fleet_record import from_ledger
from fastness.control.reconciler import Reconciler
from fastness.core.desired import DeploymentSpec, Needs, Scaling
from fastness.core.event import Event, EventType
from fastness.core.fleet_event import DeploymentApplied, DeploymentScaled, ReplicaPlaced
from fastness.core.fleet_state import FleetState, fold
from fastness.core.marking import Label, Node
from fastness.core.node import Device, DeviceKind, FleetNode
from fastness.core.observation import GatewayReport, NodeOrders, NodeReport
from fastness.core.replica import Replica, ReplicaState
from fastness.fleet.port import Unreachable
from fastness.ledger.memory import MemoryLedger

OFFICIAL = Label("OFFICIAL")
SPEC = DeploymentSpec(
    "chat", "health", "small", "ab" * 32, "chat", OFFICIAL, Needs(OFFICIAL, 1), scaling=Scaling(min=1, max=8)
)


class Nodes:
    """A fleet of nodes that run at once what is ordered; `deaf` ones never answer an order, `mute` ones fail it."""

    def __init__(self, *names: str) -> None:
        cpus = tuple(Device(f"cpu-{number}", DeviceKind.CPU, "cpu", 0) for number in range(4))
        self.offers = {name: FleetNode(Node(name, "GB", "", "", OFFICIAL), cpus, 1 << 40) for name in names}
        self.taken = {name: NodeOrders(name, 0) for name in names}
        self.deaf, self.mute, self.trouble, self.closed = set(), set(), None, False
        self.now_ms = 0

    async def observe(self):
        if self.trouble:
            raise self.trouble
        return tuple(
            NodeReport(self.offers[name], self.now_ms, taken.version, tuple(map(_ready, taken.assignments)))
            for name, taken in self.taken.items()
        )

    async def order(self, orders):
        if orders.node in self.deaf:
            await asyncio.Event().wait()
        if orders.node in self.mute:
            raise Unreachable(f"{orders.node} does not answer")
        if orders.version >= self.taken[orders.node].version:
            self.taken[orders.node] = orders

    async def close(self):
        self.closed = True

    def gateways(self):
        """One gateway, which knows at once what drains, and has nothing there."""
        draining = tuple(one.replica for taken in self.taken.values() for one in taken.assignments if not one.routed)
        return (GatewayReport("gateway-0", self.now_ms, 1, draining),)

    def running(self):
        return {one.replica for taken in self.taken.values() for one in taken.assignments}


def _ready(one):
    return Replica(one.replica, "small", "fake", ReplicaState.READY, "s", 1, 16, 1, True, node=one.part.node)


class Journal:
    def __init__(self) -> None:
        self.records = []

    def record(self, level, event, **fields):
        self.records.append((level, event, fields.get("where"), fields.get("reason")))

    def flush(self):
        pass


class Control:
    """A control plane on some nodes."""

    def __init__(self, *nodes: str, first=None) -> None:
        self.ledger, self.journal = MemoryLedger("control"), Journal()
        self.fleet = Nodes(*(nodes or ("a",)))
        self.log = FleetLog(self.ledger, FleetState(), lambda: self.fleet.now_ms)
        self.reconciler = self.new(first)

    def new(self, first=None):
        """A reconciler as it begins, on what the ledger has."""
        more = {} if first is None else {"first": first}
        return Reconciler(
            self.fleet, self.log, self.fleet.gateways, lambda: self.fleet.now_ms, self.journal, pace_s=0.01, **more
        )

    async def want(self, replicas: int) -> None:
        if "chat" not in self.log.state.deployments:
            await self.log.decide(lambda state: (DeploymentApplied(SPEC, 1, "ann"),))
        await self.log.decide(lambda state: (DeploymentScaled("chat", replicas, "ann", "asked"),))

    async def rounds(self, count: int = 3) -> None:
        for _ in range(count):
            self.fleet.now_ms += 250
            await self.reconciler.round()
            for _ in range(5):
                await asyncio.sleep(0)

    def folded(self):
        """The state as an auditor folds it out of the ledger."""
        entries = (Event(EventType(one.type), one.time_ms, one.fields) for one in self.ledger.entries())
        return fold(found for found in map(from_ledger, entries) if found)


def run(journey):
    async def whole():
        async with asyncio.timeout(60):
            await journey()

    asyncio.run(whole())


def test_what_is_wanted_is_placed_recorded_and_ordered():
    async def journey():
        control = Control()
        assert control.reconciler.latest() is None and control.reconciler.seen() is None
        await control.want(2)
        await control.rounds()
        assert control.fleet.running() == set(control.log.state.replicas) and len(control.fleet.running()) == 2
        assert control.fleet.taken["a"].version == control.log.state.sequence
        assert control.folded() == control.log.state
        assert control.reconciler.latest().events == () and len(control.reconciler.seen().nodes) == 1

    run(journey)


def test_fewer_are_drained_stopped_and_removed():
    async def journey():
        control = Control()
        await control.want(3)
        await control.rounds()
        await control.want(1)
        await control.rounds(6)
        assert len(control.fleet.running()) == 1 == len(control.log.state.replicas)
        assert control.folded() == control.log.state

    run(journey)


def test_a_ledger_that_fails_stops_nothing_and_nothing_is_ordered_that_is_not_in_it():
    async def journey():
        control = Control()
        await control.want(1)
        control.ledger.refusal = "disk full"
        await control.rounds()
        assert control.fleet.running() == set()
        control.ledger.refusal = None
        await control.rounds()
        assert len(control.fleet.running()) == 1
        assert [one[:3] for one in control.journal.records] == [
            ("error", "fleet.round_failed", "decide"),
            ("info", "fleet.round_works", "decide"),
        ]

    run(journey)


@pytest.mark.parametrize("silent", ["deaf", "mute"])
def test_a_node_that_does_not_answer_holds_up_no_other(silent):
    async def journey():
        control = Control("a", "b")
        await control.want(1)
        await control.rounds()
        other = "b" if control.fleet.taken["a"].assignments else "a"
        getattr(control.fleet, silent).add(other)
        before = control.fleet.taken[other].version
        await control.want(3)
        await control.rounds()
        heard = "a" if other == "b" else "b"
        assert control.fleet.taken[heard].version == control.log.state.sequence
        assert control.fleet.taken[other].version == before
        getattr(control.fleet, silent).clear()
        for task in tuple(control.reconciler._sending.values()):
            task.cancel()  # in the place of the seconds until it counts as lost
        await control.rounds()
        assert control.fleet.running() == set(control.log.state.replicas)

    run(journey)


def test_orders_that_were_lost_are_sent_again():
    async def journey():
        control = Control()
        await control.want(1)
        await control.rounds()
        control.fleet.taken["a"] = NodeOrders("a", 1)  # as if it had forgotten
        await control.rounds()
        assert len(control.fleet.running()) == 1

    run(journey)


def test_a_fleet_that_cannot_be_observed_is_told_once_and_does_not_end_the_loop():
    async def journey():
        control = Control()
        await control.want(1)
        await control.rounds()
        control.fleet.trouble = OSError("no such directory")
        await control.rounds()
        assert [one[2] for one in control.journal.records] == ["observe"]
        control.fleet.trouble = RuntimeError("a bug")
        async with control.reconciler.running():
            await asyncio.sleep(0.05)
            control.fleet.trouble = None
            await control.want(2)
            while len(control.fleet.running()) < 2:
                await asyncio.sleep(0.001)
        assert control.fleet.closed

    run(journey)


def test_a_restart_goes_on_where_the_ledger_ends_and_changes_nothing():
    async def journey():
        control = Control()
        await control.want(2)
        await control.rounds()
        before, ran = control.log.state, control.fleet.running()
        for _ in range(5):
            control.log = FleetLog(control.ledger, control.folded(), lambda: control.fleet.now_ms)
            control.reconciler = control.new()
            await control.rounds()
        assert control.log.state == before
        assert control.fleet.running() == ran

    run(journey)


def test_a_ledger_that_was_set_back_is_told_and_its_orders_are_not_pressed():
    async def journey():
        control = Control()
        await control.want(1)
        control.fleet.taken["a"] = replace(control.fleet.taken["a"], version=1_000)
        await control.rounds()
        assert "it was set back" in control.journal.records[-1][3]
        assert control.fleet.taken["a"].version == 1_000

    run(journey)


def test_nothing_is_ordered_before_what_configuration_wants_is_decided():
    async def journey():
        ready = False

        async def first(log):
            if not ready:
                raise RuntimeError("not read yet")
            if not log.state.deployments:
                await log.decide(lambda state: (DeploymentApplied(SPEC, 1, CONFIGURATION),))

        control = Control(first=first)
        with pytest.raises(RuntimeError):
            await control.rounds()
        assert control.fleet.taken["a"].version == 0
        ready = True
        await control.rounds()
        assert len(control.fleet.running()) == 1
        assert any(isinstance(from_ledger_of(one), ReplicaPlaced) for one in control.ledger.entries())

    run(journey)


def from_ledger_of(entry):
    return from_ledger(Event(EventType(entry.type), entry.time_ms, entry.fields))
