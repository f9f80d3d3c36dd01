"""The supervisor's part as a node: what it writes, what it withdraws, and what it does when nothing can be written."""

import asyncio
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from fastness.config import Settings
from fastness.control import this_node
from fastness.control.declaration import declare
from fastness.control.run_files import ORDERS, REPORT, ROUTING
from fastness.control.this_node import ThisNode
from fastness.core.deployment import Adapter
from fastness.core.desired import DeploymentSpec, Needs, WantedAdapter
from fastness.core.fleet_event import Part
from fastness.core.marking import Label, Lattice
from fastness.core.model import ModelCard, ModelKind
from fastness.core.node import FleetNode
from fastness.core.observation import Assignment, NodeOrders, NodeReport
from fastness.core.replica import ReplicaState, RoutingSnapshot
from fastness.fleet.node import LocalNode
from fastness.policy.profile import shipped_profile
from fastness.store.snapshot_file import SnapshotReader, write_snapshot

OFFICIAL = Label("OFFICIAL")
CARD = ModelCard("small", ModelKind.CHAT, "ab" * 32, 1, "MIT", 16, 0)
SPEC = DeploymentSpec("chat", "health", "small", "ab" * 32, "chat", OFFICIAL, Needs(OFFICIAL, 1))
PLANS = Adapter("plans", "01" * 32, "ab" * 32, OFFICIAL)
ASLEEP = replace(SPEC, name="asleep")
ORDERED = NodeOrders("local", 3, (Assignment("chat-1", SPEC, 1, 1, Part("local", ("cpu-0",))),), (SPEC, ASLEEP))


class Keeper:
    """Engines that are ready at once."""

    def __init__(self, tell) -> None:
        self.tell, self.kept = tell, {}

    async def start(self, replica, starts=0):
        self.kept[replica.id] = replica
        self.tell(replica)

    async def stop(self, replica_id):
        del self.kept[replica_id]

    def observe(self):
        return tuple(self.kept.values())


class Workshop:
    async def prepare(self, one, tell):
        return replace(one.as_replica(ReplicaState.READY), pid=1)

    def release(self, replica):
        pass


class Others:
    """The other nodes: whatever they are said to report."""

    withheld, reported, told = None, (), ()

    def begin(self):
        pass

    def look(self, own):
        assert self.withheld is not None, "orders would be passed on with what was revoked"
        before, self.told = self.told, self.reported
        return before != self.told

    def withhold(self, names):
        self.withheld = names

    def replicas(self):
        return self.told

    def places(self):
        return ()


class World:
    """A node in a directory of its own."""

    def __init__(self, run: Path) -> None:
        self.run, self.kept, self.revoked, self.told, self.heard = run, None, set(), [], []
        self.others = Others()
        self.now_s = 1_000.0
        self.site = SimpleNamespace(
            clock=lambda: self.now_s,
            run_directory=run,
            gateways=SimpleNamespace(names=("gateway-0", "gateway-1")),
            declared=SimpleNamespace(
                declaration=declare(Settings(home=run), Lattice(shipped_profile("uk"))), poll=lambda: False
            ),
            node=lambda _unsealed, _allowed, tell: LocalNode("local", Keeper(tell), Workshop(), self.keep, tell),
            offer=lambda place: FleetNode(place, (), 1),
            digests=lambda: ("ab" * 32,),
            known=lambda name: None if name in self.revoked else (replace(CARD, name=name), None),
            known_adapter=lambda name: None if name in self.revoked else replace(PLANS, name=name),
            is_revoked=self.revoked.__contains__,
            revoked=lambda: frozenset(self.revoked),
            kept_orders=lambda: self.kept,
            new_orders=SnapshotReader(run / ORDERS, NodeOrders).poll,
            neighbours=self.others,
        )
        self.node = self.made(self.heard.append)

    def made(self, heard):
        return ThisNode(self.site, self.told.append, heard, unsealed=False)

    def keep(self, orders):
        self.kept = orders

    def routing(self):
        return SnapshotReader(self.run / ROUTING, RoutingSnapshot).poll()

    def report(self):
        return SnapshotReader(self.run / REPORT, NodeReport).poll()

    async def until(self, condition):
        async with asyncio.timeout(60):
            while not condition():
                await self.node.look()
                await asyncio.sleep(0.001)


def run(journey, folder):
    async def whole():
        world = World(folder)
        try:
            await journey(world)
        finally:
            await world.node.close()

    asyncio.run(whole())


def test_what_is_ordered_is_routed_reported_and_told_with_every_deployment_also_one_that_sleeps(tmp_path):
    async def journey(world):
        await world.node.begin()
        assert world.routing().replicas == () and world.report().version == 0
        assert world.routing().gateways == ("gateway-0", "gateway-1")
        write_snapshot(tmp_path / ORDERS, ORDERED)
        await world.until(lambda: [one.state for one in world.routing().replicas] == [ReplicaState.READY])
        routing, report = world.routing(), world.report()
        assert [(one.id, one.state.value) for one in routing.replicas] == [("chat-1", "ready")]
        assert [one.name for one in routing.deployments] == ["chat", "asleep"]
        assert (report.version, [one.id for one in report.replicas]) == (3, ["chat-1"])
        assert report.node.digests == ("ab" * 32,)
        assert world.node.ordered and world.kept == ORDERED and [one.id for one in world.told] == ["chat-1"]

    run(journey, tmp_path)


def test_what_a_run_before_left_is_not_obeyed_but_what_it_kept_is(tmp_path):
    async def journey(world):
        write_snapshot(tmp_path / ORDERS, replace(ORDERED, version=9))
        write_snapshot(tmp_path / "load-gateway-0.json", {})
        world.kept = ORDERED
        await world.node.begin()
        await world.until(lambda: world.node.observe()[0].state is ReplicaState.READY)
        assert world.report().version == 3 and not world.node.ordered
        assert not (tmp_path / "load-gateway-0.json").exists()

    run(journey, tmp_path)


def test_what_is_revoked_is_routed_no_more_and_comes_back_when_it_is_admitted_again(tmp_path):
    async def journey(world):
        world.kept = ORDERED
        await world.node.begin()
        await world.until(lambda: world.node.observe()[0].state is ReplicaState.READY)
        world.revoked.add("small")
        assert await world.node.withdraw() == ("small",)
        assert (world.routing().models, world.routing().deployments, world.routing().replicas) == ((), (), ())
        assert await world.node.withdraw() == ()
        world.revoked.clear()
        await world.node.withdraw()
        await world.until(lambda: [one.state.value for one in world.routing().replicas] == ["ready"])

    run(journey, tmp_path)


def test_what_cannot_be_written_ends_nothing_and_is_written_later(tmp_path, monkeypatch):
    async def journey(world):
        await world.node.begin()
        full = True

        def write(path, value, *, durable=True):
            if full and path.name != ORDERS:
                raise OSError("no space left")
            write_snapshot(path, value, durable=durable)

        monkeypatch.setattr(this_node, "write_snapshot", write)
        write_snapshot(tmp_path / ORDERS, ORDERED)
        await world.node.look()
        with pytest.raises(OSError, match="no space"):
            await world.until(lambda: False)
        assert world.routing().replicas == ()
        full = False
        await world.until(lambda: [one.state for one in world.routing().replicas] == [ReplicaState.READY])

    run(journey, tmp_path)


def test_a_node_is_heard_of_while_nothing_changes(tmp_path):
    async def journey(world):
        await world.node.begin()
        before, routed = world.report().at_ms, world.routing().version
        world.now_s += 5
        await world.until(lambda: world.report().at_ms > before)
        assert world.routing().version == routed

    run(journey, tmp_path)


def test_an_adapter_that_is_revoked_leaves_its_deployment_which_goes_on_without_it(tmp_path):
    spec = replace(SPEC, adapters=(WantedAdapter("notes", "01" * 32, ("health",)), WantedAdapter("plans", "01" * 32)))
    sent = replace(ORDERED, assignments=(replace(ORDERED.assignments[0], spec=spec),), served=(spec, ASLEEP))

    def served(world):
        routing = world.routing()
        loaded = [len(one.adapters) for one in routing.replicas if one.state is ReplicaState.READY]
        adapters = [(each.name, each.tenants) for one in routing.deployments[:1] for each in one.adapters]
        return adapters, loaded

    async def journey(world):
        await world.node.begin()
        write_snapshot(tmp_path / ORDERS, sent)
        await world.until(lambda: served(world) == ([("notes", ("health",)), ("plans", None)], [2]))
        world.revoked.add("plans")
        assert await world.node.withdraw() == ("plans",)
        assert [one.name for one in world.routing().deployments[0].adapters] == ["notes"]
        await world.until(lambda: served(world) == ([("notes", ("health",))], [1]))
        assert await world.node.withdraw() == ()
        write_snapshot(tmp_path / ORDERS, replace(sent, version=4))
        await world.until(lambda: world.report().version == 4)
        assert served(world) == ([("notes", ("health",))], [1]), "control still names it"

    run(journey, tmp_path)


def test_an_adapter_that_was_revoked_before_this_run_is_in_no_order_that_is_obeyed_or_passed_on(tmp_path):
    spec = replace(SPEC, adapters=(WantedAdapter("plans", "01" * 32),))
    sent = replace(ORDERED, assignments=(replace(ORDERED.assignments[0], spec=spec),), served=(spec, ASLEEP))

    async def journey(world):
        world.revoked.add("plans")
        world.kept = sent.without_adapters({"plans"})
        await world.node.begin()
        await world.until(lambda: [one.state for one in world.node.observe()] == [ReplicaState.READY])
        write_snapshot(tmp_path / ORDERS, sent)
        await world.until(lambda: world.node.ordered)
        assert world.node.orders == world.kept == sent.without_adapters({"plans"}), "control names it still"
        assert [one.state for one in world.node.observe()] == [ReplicaState.READY], "its engine goes on"
        assert world.others.withheld == {"plans"}, "other nodes do not hear of it either"
        assert await world.node.withdraw() == (), "it was revoked before"

    run(journey, tmp_path)


def test_what_other_nodes_report_is_recorded_before_gateways_hear_of_it(tmp_path):
    there = replace(ORDERED.assignments[0].as_replica(ReplicaState.READY), id="chat-2", node="leeds")

    async def journey(world):
        def heard(replicas):
            world.heard.append((replicas, [one.id for one in world.routing().replicas]))

        world.node = world.made(heard)
        await world.node.begin()
        write_snapshot(tmp_path / ORDERS, ORDERED)
        await world.until(lambda: [one.id for one in world.routing().replicas] == ["chat-1"])
        world.others.reported = (there,)
        await world.node.look()
        assert world.heard == [((there,), ["chat-1"])]
        assert [one.id for one in world.routing().replicas] == ["chat-1", "chat-2"]

    run(journey, tmp_path)
