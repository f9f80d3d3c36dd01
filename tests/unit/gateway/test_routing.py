"""Routing by snapshot: who waits moves on, who gives up leaves nothing behind, and no model stands in for another."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, TypeVar, cast

import pytest

from fastness.config import TrafficSettings
from fastness.core.deployment import Deployment
from fastness.core.error import Refusal
from fastness.core.marking import Label, Node
from fastness.core.model import ModelCard, ModelKind
from fastness.core.replica import Diagnosis, Replica, ReplicaState, RoutingSnapshot
from fastness.engines.port import Dialect
from fastness.gateway.admit import arrive, wait_for
from fastness.gateway.choosing import NOTHING
from fastness.gateway.routing import Routing, Served, find_model
from fastness.traffic.fair_queue import Ask, Band

T = TypeVar("T")
SMALL = ModelCard("small", ModelKind.CHAT, "ab" * 32, 1, "Apache-2.0", 8_192, 0)
MINI = ModelCard("mini", ModelKind.EMBEDDING, "cd" * 32, 1, "Apache-2.0", 512, 0)
ONE = Replica("small-0", "small", "fake", ReplicaState.READY, "/run/small-0.sock", 1, 2_048, 1, True)
TWO = replace(ONE, id="small-1", socket="/run/small-1.sock")
VECTORS = replace(ONE, id="mini-0", model="mini", socket="/run/mini-0.sock", context_tokens=512)
OPEN = Label("OPEN")
HERE = Node("local", "GB", "", "", OPEN)
THERE = Node("remote", "GB", "", "", OPEN)
DEPLOYED = tuple(Deployment(name, name, OPEN, OPEN) for name in ("small", "mini"))
DIAGNOSIS = Diagnosis("out_of_memory", "it ran out of memory", "give it more")


class Site:
    """A gateway's routing, with what it was told to forget."""

    def __init__(self, *replicas: Replica, pins_slots: bool = False, **traffic: Any) -> None:
        self.forgotten: list[str] = []
        self.now_s = 100.0
        settings = TrafficSettings(**({"engine_queue": 0} | traffic))
        self.dialect = SimpleNamespace(pins_slots=pins_slots)
        self.routing = Routing(
            settings, lambda _: cast(Dialect, self.dialect), self.forgotten.append, lambda: self.now_s
        )
        self.change(*replicas)

    def change(self, *replicas: Replica, models: tuple[ModelCard, ...] = (SMALL, MINI)) -> None:
        self.routing.replace(RoutingSnapshot(1, models, replicas, DEPLOYED, (HERE, THERE)))

    def small(self) -> Served:
        served = self.routing.find("small")
        assert served
        return served

    async def enter(self, ticket: str, timeout_s: float = 60.0) -> str:
        now_s = asyncio.get_running_loop().time()
        served, ask = self.small(), Ask("health", 1.0, Band.STANDARD, 10, 10, now_s + timeout_s, None)
        return arrive(served, ticket, now_s, ask) or await wait_for(served, ticket, now_s, ask, lambda: None)

    def leave(self, replica: str = "small-0") -> None:
        self.small().wake(self.small().queue.release(replica, 0.0))


def running(test: Callable[[], Coroutine[Any, Any, None]]) -> None:
    async def within_time() -> None:
        async with asyncio.timeout(60):
            await test()

    asyncio.run(within_time())


async def until_waiting(site: Site, count: int) -> None:
    while len(site.small().queue.waiting) != count:
        await asyncio.sleep(0)


async def refusal_of(work: Awaitable[T]) -> Refusal:
    with pytest.raises(Refusal) as raised:
        await work
    return raised.value


def test_a_free_slot_is_entered_without_waiting() -> None:
    async def test() -> None:
        assert await Site(ONE).enter("a") == "small-0"

    running(test)


def test_who_waits_is_let_in_when_a_slot_is_given_back_first_come_first_served() -> None:
    async def test() -> None:
        site = Site(ONE)
        await site.enter("a")
        async with asyncio.TaskGroup() as group:
            second = group.create_task(site.enter("b"))
            await until_waiting(site, 1)
            third = group.create_task(site.enter("c"))
            await until_waiting(site, 2)
            site.leave()
            assert await second == "small-0"
            assert not third.done()
            site.leave()
            assert await third == "small-0"

    running(test)


def test_a_few_may_wait_inside_the_engine_so_that_no_slot_idles() -> None:
    async def test() -> None:
        site = Site(ONE, engine_queue=2)
        assert [await site.enter(name) for name in "abc"] == ["small-0"] * 3

    running(test)


def test_none_waits_inside_an_engine_whose_slots_are_each_somebodys() -> None:
    async def test() -> None:
        site = Site(ONE, engine_queue=2, pins_slots=True)
        assert [await site.enter(name) for name in "a"] == ["small-0"]
        with pytest.raises(Refusal, match="No slot"):
            await site.enter("b", timeout_s=0.01)

    running(test)


def test_who_waits_is_let_in_by_a_replica_that_becomes_ready() -> None:
    async def test() -> None:
        site = Site(replace(ONE, state=ReplicaState.STARTING))
        async with asyncio.TaskGroup() as group:
            waiting = group.create_task(site.enter("a"))
            await until_waiting(site, 1)
            site.change(ONE)
            assert await waiting == "small-0"

    running(test)


def test_who_waits_too_long_is_told_so_and_leaves_nothing_behind() -> None:
    async def test() -> None:
        site = Site(ONE)
        await site.enter("a")
        refusal = await refusal_of(site.enter("b", 0.01))
        assert refusal.code == "queue_timeout"
        assert refusal.retry_after_s
        assert not site.small().queue.waiting
        assert not site.small().waiters
        site.leave()
        assert await site.enter("c") == "small-0"

    running(test)


def test_who_waits_in_vain_because_nothing_became_ready_is_told_what_is_with_the_replicas() -> None:
    async def test() -> None:
        site = Site(replace(ONE, state=ReplicaState.BACKING_OFF, diagnosis=DIAGNOSIS))
        refusal = await refusal_of(site.enter("a", 0.01))
        assert refusal.code == "no_replica_ready"
        assert "small-0 is backing_off (it ran out of memory)" in refusal.message

    running(test)


def test_where_every_replica_has_failed_nobody_waits() -> None:
    async def test() -> None:
        site = Site(replace(ONE, state=ReplicaState.FAILED))
        assert (await refusal_of(site.enter("a"))).code == "no_replica_ready"

    running(test)


def test_a_full_queue_refuses_with_a_time_to_come_back() -> None:
    async def test() -> None:
        site = Site(ONE, queue_max=0)
        await site.enter("a")
        refusal = await refusal_of(site.enter("b"))
        assert (refusal.code, refusal.status) == ("queue_full", 429)
        assert refusal.retry_after_s

    running(test)


def test_who_is_cancelled_while_waiting_leaves_nothing_behind() -> None:
    async def test() -> None:
        site = Site(ONE)
        await site.enter("a")
        task = asyncio.get_running_loop().create_task(site.enter("b"))
        await until_waiting(site, 1)
        task.cancel()
        await asyncio.wait([task])
        assert not site.small().queue.waiting
        site.leave()
        assert site.small().queue.lanes["small-0"].in_flight == 0

    running(test)


def test_a_slot_given_in_the_very_moment_of_giving_up_goes_to_the_next() -> None:
    async def test() -> None:
        site = Site(ONE)
        await site.enter("a")
        async with asyncio.TaskGroup() as group:
            loop = asyncio.get_running_loop()
            second = loop.create_task(site.enter("b"))
            await until_waiting(site, 1)
            third = group.create_task(site.enter("c"))
            await until_waiting(site, 2)
            site.leave()
            second.cancel()
            assert await third == "small-0"
        assert second.cancelled()
        assert site.small().queue.lanes["small-0"].in_flight == 1

    running(test)


@pytest.mark.parametrize("change", ["gone", "not cleared"])
def test_whose_replica_changes_in_the_very_turn_it_gets_its_slot_waits_on_in_front_of_all(change: str) -> None:
    async def test() -> None:
        site, may = Site(ONE), None
        await site.enter("a")
        async with asyncio.TaskGroup() as group:
            loop = asyncio.get_running_loop()
            served, ask = site.small(), Ask("health", 1.0, Band.STANDARD, 10, 10, loop.time() + 60.0, None)
            assert arrive(served, "b", loop.time(), ask) is None
            second = group.create_task(wait_for(served, "b", loop.time(), ask, lambda: may))
            await until_waiting(site, 1)
            await asyncio.sleep(0)
            third = group.create_task(site.enter("c"))
            await until_waiting(site, 2)
            site.leave()
            if change == "gone":
                site.change(replace(TWO, state=ReplicaState.STARTING))
            else:
                may = frozenset({"small-1"})
                site.change(replace(ONE, state=ReplicaState.DRAINING), replace(TWO, state=ReplicaState.STARTING))
            for _ in range(5):
                await asyncio.sleep(0)
            assert not second.done()
            site.change(TWO)
            assert await second == "small-1"
            assert not third.done()
            site.leave("small-1")
            assert await third == "small-1"
        assert site.routing.in_flight() == {"small-1": 1}

    running(test)


def test_connections_to_engines_that_left_or_restarted_are_forgotten() -> None:
    site = Site(ONE, TWO)
    site.change(ONE, TWO)
    assert site.forgotten == []
    site.change(replace(ONE, epoch=2))
    assert site.forgotten == [ONE.socket, TWO.socket]


def test_a_replica_that_only_changed_its_state_keeps_its_connections() -> None:
    site = Site(ONE)
    site.change(replace(ONE, state=ReplicaState.DRAINING))
    assert site.forgotten == []
    assert not site.small().queue.is_served()


def test_a_replica_that_could_not_be_reached_gets_nothing_until_it_was_started_anew() -> None:
    site = Site(ONE, TWO)
    site.small().failed(ONE, site.now_s, gone=True)
    site.change(ONE, TWO)
    assert set(site.small().queue.lanes) == {"small-1"}
    site.change(replace(ONE, epoch=2), TWO)
    assert set(site.small().queue.lanes) == {"small-0", "small-1"}


def test_a_replica_with_an_open_circuit_gets_another_chance_when_its_time_is_over() -> None:
    async def test() -> None:
        site = Site(ONE)
        site.small().failed(ONE, site.now_s, gone=True)
        site.routing.sweep()
        async with asyncio.TaskGroup() as group:
            waiting = group.create_task(site.enter("a"))
            await until_waiting(site, 1)
            site.routing.sweep()
            assert not waiting.done()
            site.now_s = 101.0
            site.routing.sweep()
            assert await waiting == "small-0"
        site.small().circuits.succeeded(ONE.id, ONE.epoch, site.now_s)
        site.routing.sweep()
        assert not site.small().circuits

    running(test)


def test_a_model_that_left_is_not_found_any_more() -> None:
    site = Site(ONE)
    site.change(models=(MINI,))
    assert site.routing.find("small") is None


def test_it_is_ready_when_every_model_has_a_ready_replica() -> None:
    assert not Routing(TrafficSettings(), lambda _: cast(Dialect, None), print).is_ready()
    assert not Site(ONE).routing.is_ready()
    assert not Site(ONE, replace(VECTORS, state=ReplicaState.STARTING)).routing.is_ready()
    assert Site(ONE, VECTORS).routing.is_ready()


def test_the_context_is_the_longest_that_a_replica_offers_or_the_models_own() -> None:
    assert Site(ONE, replace(TWO, context_tokens=4_096)).small().context_tokens() == 4_096
    assert Site().small().context_tokens() == 8_192


def everything(_: Served) -> bool:
    return True


def nothing(_: Served) -> bool:
    return False


def test_a_model_is_found_by_its_whole_name() -> None:
    routing = Site(ONE).routing
    assert find_model(routing, "small", ModelKind.CHAT, everything, everything).card is SMALL
    assert find_model(routing, "mini", None, everything, everything).card is MINI


@pytest.mark.parametrize("name", ["smal", "SMALL", "", "small ", "gpt-4o", "x" * 10_000])
def test_no_other_model_stands_in_and_the_refusal_lists_what_there_is(name: str) -> None:
    with pytest.raises(Refusal) as raised:
        find_model(Site(ONE).routing, name, ModelKind.CHAT, everything, everything)
    assert (raised.value.code, raised.value.param) == ("model_not_found", "model")
    assert "Models available: small." in raised.value.message
    assert len(raised.value.message) < 300, "what was sent is not echoed at any length"


def test_a_model_for_another_route_is_refused_as_such() -> None:
    with pytest.raises(Refusal, match=r"'mini' is not for this route\. Models available: small"):
        find_model(Site(ONE).routing, "mini", ModelKind.CHAT, everything, everything)


def test_a_key_learns_nothing_of_models_it_may_not_use() -> None:
    routing = Site(ONE).routing
    messages = set()
    for name in ("small", "other"):
        with pytest.raises(Refusal) as raised:
            find_model(routing, name, ModelKind.CHAT, nothing, everything)
        messages.add(raised.value.message.replace(name, "it"))
    assert messages == {"There is no model 'it' for this key. Models available: none."}


def shared(name: str, *gateways: str, pins_slots: bool = False, **traffic: Any) -> Routing:
    """One gateway's routing to one replica of four slots, in an installation of these gateways."""
    settings = TrafficSettings(**({"engine_queue": 2} | traffic))
    dialect = SimpleNamespace(pins_slots=pins_slots)
    routing = Routing(settings, lambda _: cast(Dialect, dialect), lambda _: None, name=name)
    four = replace(ONE, slots=4)
    routing.replace(RoutingSnapshot(1, (SMALL, MINI), (four,), DEPLOYED, (HERE, THERE), gateways))
    return routing


@pytest.mark.parametrize(("pins_slots", "engine_queue"), [(True, 0), (False, 2)])
def test_several_gateways_together_send_a_replica_no_more_than_one_would(pins_slots: bool, engine_queue: int) -> None:
    names = ("gateway-0", "gateway-1")
    both = [shared(name, *names, pins_slots=pins_slots).find("small") for name in names]
    assert sum(one.queue.lanes["small-0"].capacity for one in both if one) == 4 + engine_queue
    alone = shared("gateway-0", "gateway-0", pins_slots=pins_slots).find("small")
    assert alone
    assert alone.queue.lanes["small-0"].capacity == 4 + engine_queue


def test_two_gateways_never_pin_the_same_slot() -> None:
    names = ("gateway-0", "gateway-1")
    pinned = [shared(name, *names, pins_slots=True).find("small") for name in names]
    taken = []
    for served in pinned:
        assert served
        slots = served.choosing.slots_of(served.replicas["small-0"])
        while (seat := slots.take(NOTHING)) is not None:
            taken.append(seat.number)
    assert sorted(taken) == [0, 1, 2, 3]


def test_a_gateway_that_the_installation_does_not_know_sends_nothing_anywhere() -> None:
    routing = shared("gateway-2", "gateway-0", "gateway-1")
    served = routing.find("small")
    assert served
    assert not served.queue.lanes
    assert not routing.is_ready()
