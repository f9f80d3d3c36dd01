"""What every fleet does: it keeps to its orders, whole and newest, and says truthfully what it runs."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from fastness.core.fleet_event import Part
from fastness.core.observation import Assignment, NodeOrders, NodeReport
from fastness.core.replica import Replica, ReplicaState
from fleet_sites import POLL_S, SITES, Site

Proof = Callable[[Site], Awaitable[None]]


@pytest.fixture(params=[pytest.param(one, marks=pytest.mark.slow) if one == "ray" else one for one in SITES])
def prove(request) -> Callable[[Proof], None]:
    """Runs a proof on a site of each kind."""
    if request.param == "ray":
        request.getfixturevalue("ray_carries")

    def on_a_site(proof: Proof) -> None:
        async def run() -> None:
            async with SITES[request.param]() as site:
                await proof(site)

        asyncio.run(run())

    return on_a_site


def orders(site: Site, version: int, *assigned: tuple[str, int], routed: bool = True, term: int = 1) -> NodeOrders:
    """Orders for replicas, each given as its id and the number of its device."""
    assignments = tuple(
        Assignment(replica, site.spec, 1, term, Part(site.node, (site.devices[at],)), routed)
        for replica, at in assigned
    )
    return NodeOrders(site.node, version, assignments, (site.spec,))


async def report(site: Site) -> NodeReport | None:
    return next((one for one in await site.port.observe() if one.node.name == site.node), None)


async def replicas(site: Site) -> dict[str, Replica]:
    """Those that are not gone, as the node reports them."""
    told = await report(site)
    return {one.id: one for one in told.replicas if one.state is not ReplicaState.STOPPED} if told else {}


async def until(site: Site, is_so: Callable[[dict[str, Replica]], bool], limit_s: float = 0.0) -> dict[str, Replica]:
    """Poll until it is so; fail when it is not within the limit, or within the patience of the site."""
    waited_s, limit_s = 0.0, limit_s or site.patience_s
    while not is_so(found := await replicas(site)):
        assert waited_s < limit_s, f"it is not so after {waited_s:.1f} s: {found}"
        await site.wait(POLL_S)
        waited_s += POLL_S
    return found


async def until_version(site: Site, version: int) -> None:
    await until(site, lambda _: True)
    waited_s = 0.0
    while (told := await report(site)) is None or told.version < version:
        assert waited_s < site.patience_s, f"orders {version} are not obeyed: {told}"
        await site.wait(POLL_S)
        waited_s += POLL_S


def ready(*names: str) -> Callable[[dict[str, Replica]], bool]:
    """These replicas are there, all ready, and no others."""
    return lambda found: set(found) == set(names) and all(one.state is ReplicaState.READY for one in found.values())


def test_orders_are_whole_and_the_same_orders_again_change_nothing(prove) -> None:
    async def proof(site: Site) -> None:
        await site.port.order(orders(site, 1, ("a", 0), ("b", 1)))
        before = await until(site, ready("a", "b"))
        for _ in range(3):
            await site.port.order(orders(site, 1, ("a", 0), ("b", 1)))
            await site.wait(0.2)
        after = await until(site, ready("a", "b"))
        assert {name: one.epoch for name, one in after.items()} == {name: one.epoch for name, one in before.items()}
        assert site.live() == {"a", "b"}

    prove(proof)


def test_a_replica_that_is_ordered_beside_others_does_not_disturb_them(prove) -> None:
    async def proof(site: Site) -> None:
        await site.port.order(orders(site, 1, ("a", 0)))
        before = (await until(site, ready("a")))["a"]
        await site.port.order(orders(site, 2, ("a", 0), ("b", 1)))
        assert (await until(site, ready("a", "b")))["a"].epoch == before.epoch

    prove(proof)


def test_orders_of_an_older_version_are_refused(prove) -> None:
    async def proof(site: Site) -> None:
        await site.port.order(orders(site, 5, ("a", 0)))
        await until(site, ready("a"))
        await site.port.order(orders(site, 4))
        for _ in range(5):
            await site.wait(0.1)
            assert ready("a")(await replicas(site))
            told = await report(site)
            assert told and told.version == 5

    prove(proof)


def test_a_replica_that_is_ordered_no_longer_ends_and_is_reported_gone_under_those_orders(prove) -> None:
    async def proof(site: Site) -> None:
        await site.port.order(orders(site, 1, ("a", 0), ("b", 1)))
        await until(site, ready("a", "b"))
        await site.port.order(orders(site, 2, ("b", 1)))
        await until(site, ready("b"))
        assert site.live() == {"b"}, "what is reported gone is gone"
        await until_version(site, 2)

    prove(proof)


def test_a_report_never_says_that_a_replica_is_gone_while_its_process_is_there(prove) -> None:
    async def proof(site: Site) -> None:
        await site.port.order(orders(site, 1, ("a", 0)))
        await until(site, ready("a"))
        await site.port.order(orders(site, 2))
        waited_s = 0.0
        while waited_s < site.patience_s:
            live, told = site.live(), await report(site)
            assert told
            gone = "a" not in {one.id for one in told.replicas if one.state is not ReplicaState.STOPPED}
            assert not (gone and "a" in live)
            if gone and told.version == 2:
                break
            await site.wait(POLL_S)
            waited_s += POLL_S
        assert not site.live()

    prove(proof)


def test_a_report_carries_the_version_that_is_obeyed_and_the_terms_and_revisions_that_were_ordered(prove) -> None:
    async def proof(site: Site) -> None:
        await site.port.order(orders(site, 3, ("a", 0), term=7))
        found = await until(site, ready("a"))
        assert (found["a"].term, found["a"].revision) == (7, 1)
        assert (found["a"].deployment, found["a"].model_digest) == (site.spec.name, site.spec.model_digest)
        await until_version(site, 3)
        await site.port.order(orders(site, 9, ("a", 0), term=7))
        await until_version(site, 9)

    prove(proof)


def test_a_crashed_engine_is_reported_at_once_and_comes_back_with_a_higher_epoch(prove) -> None:
    async def proof(site: Site) -> None:
        await site.port.order(orders(site, 1, ("a", 0), ("b", 1)))
        before = await until(site, ready("a", "b"))
        await site.crash("a")
        await until(site, lambda found: found["a"].state is not ReplicaState.READY or found["a"].epoch > 1, 1.0)
        after = await until(site, ready("a", "b"))
        assert after["a"].epoch > before["a"].epoch
        assert after["b"].epoch == before["b"].epoch, "its neighbour is not disturbed"

    prove(proof)


def test_a_replica_that_drains_is_not_ready_but_runs_on(prove) -> None:
    async def proof(site: Site) -> None:
        await site.port.order(orders(site, 1, ("a", 0)))
        epoch = (await until(site, ready("a")))["a"].epoch
        await site.port.order(orders(site, 2, ("a", 0), routed=False))
        found = await until(site, lambda found: found["a"].state is ReplicaState.DRAINING)
        await site.wait(0.2)
        assert site.live() == {"a"} and found["a"].epoch == epoch

    prove(proof)


def test_two_replicas_never_hold_one_device(prove) -> None:
    async def proof(site: Site) -> None:
        await site.port.order(orders(site, 1, ("a", 0)))
        await until(site, ready("a"))
        await site.port.order(orders(site, 2, ("b", 0)))
        waited_s = 0.0
        while not ready("b")(await replicas(site)):
            assert not {"a", "b"} <= site.live()
            assert waited_s < site.patience_s
            await site.wait(POLL_S)
            waited_s += POLL_S
        assert site.live() == {"b"}

    prove(proof)


def test_what_was_ordered_away_can_be_ordered_again(prove) -> None:
    async def proof(site: Site) -> None:
        await site.port.order(orders(site, 1, ("a", 0)))
        await until(site, ready("a"))
        await site.port.order(orders(site, 2))
        await site.port.order(orders(site, 3, ("a2", 0), term=2))
        assert (await until(site, ready("a2")))["a2"].term == 2

    prove(proof)


def test_closing_leaves_nothing_behind(prove) -> None:
    async def proof(site: Site) -> None:
        await site.port.order(orders(site, 1, ("a", 0), ("b", 1)))
        await until(site, ready("a", "b"))
        await site.close()
        assert site.live() == frozenset()

    prove(proof)
