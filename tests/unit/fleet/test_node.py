"""The node keeps to its orders: whole, newest, kept on disk before they are obeyed; no device is held twice."""

import asyncio
from dataclasses import replace

import pytest

from fastness import __version__
from fastness.core.desired import DeploymentSpec, Needs, WantedAdapter
from fastness.core.fleet_event import Part
from fastness.core.marking import Label, Node
from fastness.core.node import FleetNode
from fastness.core.observation import Assignment, NodeOrders
from fastness.core.replica import Diagnosis, Replica, ReplicaState
from fastness.fleet.node import CannotRun, LocalNode

OFFICIAL = Label("OFFICIAL")
SPEC = DeploymentSpec("chat", "health", "small", "ab" * 32, "chat", OFFICIAL, Needs(OFFICIAL, 1))
OFFER = FleetNode(Node("here", "GB", "", "", OFFICIAL), (), 0)
REFUSED = Diagnosis("model_refused", "It is another.", "Look.")


def assigned(replica_id, device="cpu-0", term=1, routed=True):
    return Assignment(replica_id, SPEC, 1, term, Part("here", (device,)), routed)


def orders(version, *assignments):
    return NodeOrders("here", version, assignments, (SPEC,))


class Keeper:
    """Engines that are ready at once, and end when they are let."""

    def __init__(self) -> None:
        self.kept, self.journal, self.ending = {}, [], asyncio.Event()
        self.started = []
        self.ending.set()

    async def start(self, execution, starts=0):
        self.journal.append(("start", execution.id))
        self.started.append(starts)
        self.kept[execution.id] = execution

    async def stop(self, replica_id):
        self.journal.append(("stop", replica_id))
        await self.ending.wait()
        del self.kept[replica_id]
        self.journal.append(("gone", replica_id))
        return 3

    def observe(self):
        return tuple(self.kept.values())


class Workshop:
    def __init__(self) -> None:
        self.refusal, self.held, self.prepared = None, set(), 0
        self.allowed = asyncio.Event()
        self.allowed.set()

    async def prepare(self, assignment, tell):
        tell("verify")
        await self.allowed.wait()
        self.prepared += 1
        if self.refusal:
            raise self.refusal
        self.held.add(assignment.replica)
        return Replica(
            assignment.replica, SPEC.model, "fake", ReplicaState.READY, "s", 1, 16, 1, True, pid=7, term=assignment.term
        )

    def release(self, replica):
        self.held.discard(replica)


class Bench:
    """A node with what it stands on."""

    def __init__(self) -> None:
        self.keeper, self.workshop, self.kept, self.told = Keeper(), Workshop(), [], []
        self.disk_is_full, self.stages = False, []
        self.node = LocalNode("here", self.keeper, self.workshop, self.keep, self.tell, retry_s=0.01)

    def tell(self, replica):
        self.told.append(replica)
        self.stages += self.node.report(OFFER, 0).stages

    def keep(self, given):
        if self.disk_is_full:
            raise OSError("full")
        self.kept.append(given.version)

    def states(self):
        return {one.id: one.state.value for one in self.node.observe()}

    async def until(self, condition):
        async with asyncio.timeout(60):
            while not condition():
                await asyncio.sleep(0.001)


def on_a_bench(journey):
    async def whole():
        bench = Bench()
        try:
            async with asyncio.timeout(60):
                await journey(bench)
        finally:
            bench.keeper.ending.set()
            await bench.node.close()
        assert bench.keeper.kept == {} and bench.workshop.held == set()

    asyncio.run(whole())


def test_what_is_ordered_runs_and_what_is_not_ends():
    async def journey(bench):
        assert await bench.node.obey(orders(1, assigned("a"), assigned("b", "cpu-1")))
        await bench.until(lambda: bench.states() == {"a": "ready", "b": "ready"})
        assert await bench.node.obey(orders(2, assigned("b", "cpu-1")))
        await bench.until(lambda: bench.states() == {"b": "ready"})
        assert bench.keeper.journal == [("start", "a"), ("start", "b"), ("stop", "a"), ("gone", "a")]
        assert bench.workshop.held == {"b"}

    on_a_bench(journey)


def test_a_report_says_which_release_the_node_runs():
    async def journey(bench):
        assert bench.node.report(OFFER, 0).release == __version__

    on_a_bench(journey)


def test_older_orders_and_those_of_another_node_are_not_obeyed():
    async def journey(bench):
        await bench.node.obey(orders(5, assigned("a")))
        assert not await bench.node.obey(orders(4))
        assert not await bench.node.obey(replace(orders(6), node="there"))
        assert not await bench.node.obey(orders(5, assigned("a")))
        assert bench.node.report(OFFER, 0).version == 5
        assert bench.kept == [5]
        await bench.until(lambda: bench.states() == {"a": "ready"})

    on_a_bench(journey)


def test_orders_that_cannot_be_kept_are_not_obeyed():
    async def journey(bench):
        bench.disk_is_full = True
        with pytest.raises(OSError, match="full"):
            await bench.node.obey(orders(1, assigned("a")))
        assert bench.states() == {} and bench.node.report(OFFER, 0).version == 0
        bench.disk_is_full = False
        assert await bench.node.obey(orders(1, assigned("a")))
        await bench.until(lambda: bench.states() == {"a": "ready"})

    on_a_bench(journey)


def test_a_node_begins_with_the_orders_that_it_kept_and_not_with_anothers():
    async def journey(bench):
        bench.node.begin(orders(7, assigned("a")))
        await bench.until(lambda: bench.states() == {"a": "ready"})
        assert bench.node.report(OFFER, 0).version == 7
        other = Bench()
        other.node.begin(replace(orders(7, assigned("a")), node="there"))
        assert other.states() == {} and other.node.report(OFFER, 0).version == 0

    on_a_bench(journey)


def test_one_that_drains_runs_on_and_is_told_as_draining():
    async def journey(bench):
        await bench.node.obey(orders(1, assigned("a")))
        await bench.until(lambda: bench.states() == {"a": "ready"})
        await bench.node.obey(orders(2, assigned("a", routed=False)))
        assert bench.states() == {"a": "draining"}
        assert bench.keeper.journal == [("start", "a")]

    on_a_bench(journey)


def test_from_the_moment_that_it_is_not_ordered_it_is_told_as_draining_until_it_is_gone():
    async def journey(bench):
        await bench.node.obey(orders(1, assigned("a")))
        await bench.until(lambda: bench.states() == {"a": "ready"})
        bench.keeper.ending.clear()
        await bench.node.obey(orders(2))
        assert bench.states() == {"a": "draining"}, "in the very report that says version 2"
        assert bench.node.report(OFFER, 0).version == 2
        bench.keeper.ending.set()
        await bench.until(lambda: bench.states() == {})

    on_a_bench(journey)


def test_a_device_is_given_on_only_when_the_one_that_held_it_is_gone():
    async def journey(bench):
        await bench.node.obey(orders(1, assigned("a")))
        await bench.until(lambda: bench.states() == {"a": "ready"})
        bench.keeper.ending.clear()
        await bench.node.obey(orders(2, assigned("b")))
        await bench.until(lambda: ("stop", "a") in bench.keeper.journal)
        assert bench.states() == {"a": "draining", "b": "starting"}
        bench.keeper.ending.set()
        await bench.until(lambda: bench.states() == {"b": "ready"})
        assert bench.keeper.journal == [("start", "a"), ("stop", "a"), ("gone", "a"), ("start", "b")]

    on_a_bench(journey)


def test_the_same_id_under_another_term_is_another_replica_and_the_first_ends_before():
    async def journey(bench):
        await bench.node.obey(orders(1, assigned("a", term=1)))
        await bench.until(lambda: bench.states() == {"a": "ready"})
        await bench.node.obey(orders(2, assigned("a", term=2)))
        await bench.until(lambda: [one.term for one in bench.node.observe()] == [2] and bench.states()["a"] == "ready")
        assert bench.keeper.journal == [("start", "a"), ("stop", "a"), ("gone", "a"), ("start", "a")]

    on_a_bench(journey)


@pytest.mark.parametrize("error", [CannotRun(REFUSED), RuntimeError("a bug")], ids=["refused", "bug"])
def test_what_cannot_be_prepared_is_told_as_failed_tried_again_and_disturbs_no_other(error):
    async def journey(bench):
        await bench.node.obey(orders(1, assigned("a")))
        await bench.until(lambda: bench.states() == {"a": "ready"})
        bench.workshop.refusal = error
        await bench.node.obey(orders(2, assigned("a"), assigned("b", "cpu-1")))
        await bench.until(lambda: bench.workshop.prepared > 3)
        assert bench.states() == {"a": "ready", "b": "failed"}
        failed = next(one for one in bench.told if one is not None)
        assert failed.id == "b" and failed.diagnosis and failed.diagnosis.summary
        bench.workshop.refusal = None
        await bench.until(lambda: bench.states() == {"a": "ready", "b": "ready"})
        assert bench.node.observe()[1].diagnosis is None

    on_a_bench(journey)


def test_what_is_revoked_ends_at_once_and_runs_again_only_once_it_can_be_prepared():
    async def journey(bench):
        await bench.node.obey(orders(1, assigned("a")))
        await bench.until(lambda: bench.states() == {"a": "ready"})
        bench.workshop.refusal = CannotRun(REFUSED)
        bench.node.halt("small")
        assert bench.states() == {"a": "draining"}
        await bench.until(lambda: bench.states() == {"a": "failed"})
        assert bench.keeper.kept == {} and bench.workshop.held == set()
        bench.workshop.refusal = None
        await bench.until(lambda: bench.states() == {"a": "ready"})

    on_a_bench(journey)


def test_what_is_being_prepared_ends_without_waiting_for_that():
    async def journey(bench):
        bench.workshop.allowed.clear()
        await bench.node.obey(orders(1, assigned("a"), assigned("b", "cpu-1")))
        await bench.node.obey(orders(2, assigned("b", "cpu-1")))
        await bench.until(lambda: bench.states() == {"b": "starting"})
        await bench.node.close()
        assert bench.states() == {} and bench.keeper.journal == []

    on_a_bench(journey)


def test_what_is_done_for_a_replica_is_told_as_its_stage():
    async def journey(bench):
        await bench.node.obey(orders(1, assigned("a")))
        await bench.until(lambda: bench.states() == {"a": "ready"})
        assert ("a", "verify") in bench.stages
        assert bench.node.report(OFFER, 0).stages == ()

    on_a_bench(journey)


def test_an_engine_whose_adapters_were_taken_away_ends_and_begins_again_without_them_counting_on():
    plans = WantedAdapter("plans", "01" * 32)
    before = replace(assigned("a"), spec=replace(SPEC, adapters=(plans,)))

    async def journey(bench):
        await bench.node.obey(orders(1, before))
        await bench.until(lambda: bench.states() == {"a": "ready"})
        assert await bench.node.obey(orders(1, before).without_adapters({"plans"})), "of the same version"
        await bench.until(lambda: bench.keeper.journal.count(("start", "a")) == 2 and bench.states() == {"a": "ready"})
        assert bench.keeper.journal == [("start", "a"), ("stop", "a"), ("gone", "a"), ("start", "a")]
        assert bench.keeper.started == [0, 3]
        assert not await bench.node.obey(orders(1, before).without_adapters({"plans"}))
        who_may_ask = replace(SPEC, tenants=("health",))
        await bench.node.obey(orders(2, replace(assigned("a"), spec=who_may_ask)))
        await asyncio.sleep(0)
        assert bench.keeper.journal.count(("stop", "a")) == 1, "the same is loaded"

    on_a_bench(journey)


def test_what_could_not_be_prepared_with_an_adapter_is_tried_at_once_without_it():
    plans = WantedAdapter("plans", "01" * 32)
    before = replace(assigned("a"), spec=replace(SPEC, adapters=(plans,)))

    async def journey(bench):
        bench.node._retry_s = 1_000.0
        bench.workshop.refusal = CannotRun(REFUSED)
        await bench.node.obey(orders(1, before))
        await bench.until(lambda: bench.states() == {"a": "failed"})
        bench.workshop.refusal = None
        await bench.node.obey(orders(1, before).without_adapters({"plans"}))
        await bench.until(lambda: bench.states() == {"a": "ready"})

    on_a_bench(journey)
