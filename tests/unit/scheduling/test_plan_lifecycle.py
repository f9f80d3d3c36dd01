"""Replicas come up before they are routed to, drain before they are stopped, and move before they are ended."""

from __future__ import annotations

from dataclasses import replace

from fastness.core.desired import Rollout, Scaling
from fastness.core.fleet_event import (
    DeploymentApplied,
    DeploymentRemoved,
    DeploymentScaled,
    NodeCordoned,
    ReplicaDraining,
    ReplicaPlaced,
    ReplicaStopping,
    ShareSet,
)
from fastness.core.fleet_state import Phase
from fastness.scheduling.orders import orders_of
from small_fleet import World, fleet, node, spec


def test_what_is_missing_is_placed_and_becomes_ready() -> None:
    world = fleet(2, 2)
    world.decide(DeploymentApplied(spec(scaling=Scaling(3, 3)), 1, "ops"))
    world.until(lambda: world.ready() == 3)
    assert world.plan.pending == ()
    world.run(5)
    assert world.plan.events == ()


def test_every_node_is_told_how_many_replicas_are_wanted_in_all() -> None:
    world = fleet(2, 2)
    world.decide(DeploymentApplied(spec(scaling=Scaling(3, 3)), 1, "ops"), DeploymentApplied(spec("gone"), 1, "ops"))
    world.decide(DeploymentRemoved("gone", "ops"))
    assert {one.wanted for one in orders_of(world.state, ("a", "b")).values()} == {(("chat", 3),)}


def test_a_pending_deployment_blocks_no_other_and_says_why() -> None:
    world = fleet(2)
    world.decide(DeploymentApplied(spec("big", devices=8), 1, "ops"), DeploymentApplied(spec("chat"), 1, "ops"))
    world.until(lambda: world.ready("chat") == 1)
    told = world.pending("big")
    assert told is not None and told.refusals and (told.wanted, told.there) == (1, 0)


def test_dynamo_14251_a_scale_up_that_fits_nowhere_does_not_block_the_scale_down_after_it() -> None:
    world = fleet(2)
    world.decide(DeploymentApplied(spec(), 1, "ops"), DeploymentScaled("chat", 8, "ops", "a fair"))
    world.until(lambda: world.ready() == 2)
    assert world.pending() is not None
    world.decide(DeploymentScaled("chat", 1, "ops", "over"))
    world.until(lambda: len(world.phases()) == 1)
    assert world.ready() == 1 and world.pending() is None


def test_dynamo_13559_a_scale_down_waits_for_answers_that_run_until_the_deadline() -> None:
    world = fleet(2)
    world.decide(DeploymentApplied(spec(scaling=Scaling(0, 2)), 1, "ops"), DeploymentScaled("chat", 2, "ops", ""))
    world.until(lambda: world.ready() == 2)
    first, second = world.state.of("chat")
    world.busy = {first.id: 2, second.id: 1}
    world.decide(DeploymentScaled("chat", 1, "ops", ""))
    world.run(4)
    assert [one.phase for one in world.state.of("chat")] == [Phase.PLACED, Phase.DRAINING], "the emptiest goes"
    world.busy = {first.id: 2}
    world.until(lambda: len(world.phases()) == 1, 4)
    world.busy = {first.id: 1}
    world.decide(DeploymentScaled("chat", 0, "ops", ""))
    assert 9 <= world.until(lambda: world.phases() != [Phase.DRAINING] and world.phases() != [Phase.PLACED], 20) <= 13
    assert "its time to drain is over" in world.reasons(ReplicaStopping)[-1]


def test_with_no_gateway_only_the_deadline_ends_a_replica_that_was_ready() -> None:
    world = fleet(2, gateways=0)
    world.decide(DeploymentApplied(spec(), 1, "ops"))
    world.until(lambda: world.ready() == 1)
    world.decide(DeploymentRemoved("chat", "ops"))
    assert world.until(lambda: "chat" not in world.state.deployments, 30) >= 10


def test_what_never_was_ready_need_not_drain_long() -> None:
    world = fleet(2, gateways=0)
    world.start_ms = 60_000
    world.decide(DeploymentApplied(spec(), 1, "ops"))
    world.run(2)
    world.decide(DeploymentRemoved("chat", "ops"))
    assert world.until(lambda: "chat" not in world.state.deployments, 30) < 6


def test_a_silent_gateway_holds_up_no_drain_but_one_that_speaks_does() -> None:
    world = fleet(2, gateways=2)
    world.decide(DeploymentApplied(spec(drain_timeout_s=300), 1, "ops"))
    world.until(lambda: world.ready() == 1)
    world.silent_gateways["gateway-1"] = world._reported("gateway-1")
    world.decide(DeploymentRemoved("chat", "ops"))
    assert 13 < world.until(lambda: "chat" not in world.state.deployments, 30) < 22


def test_replicas_leave_a_node_that_is_emptied_once_others_are_ready() -> None:
    world = fleet(2, 2, 2)
    world.decide(DeploymentApplied(spec(scaling=Scaling(2, 2)), 1, "ops"))
    world.until(lambda: world.ready() == 2)
    world.decide(*(NodeCordoned(name, True, "ops", "firmware") for name in {"a", "b"}))
    while any(one.parts[0].node != "c" for one in world.state.of("chat")):
        assert world.ready() >= 2
        world.step()
    assert any("being emptied by ops: firmware" in reason for reason in world.reasons(ReplicaDraining))


def test_where_nothing_can_take_it_a_replica_waits_on_the_node_that_is_emptied() -> None:
    world = fleet(1)
    world.decide(DeploymentApplied(spec(), 1, "ops"))
    world.until(lambda: world.ready() == 1)
    world.decide(NodeCordoned("a", True, "ops", "firmware"))
    world.run(30)
    assert world.ready() == 1 and world.pending() is not None
    world.decide(DeploymentRemoved("chat", "ops"))
    world.until(lambda: "chat" not in world.state.deployments)


def test_what_fails_again_and_again_is_kept_and_told_of() -> None:
    world = fleet(2, 2)
    world.broken.add("aa")
    world.decide(DeploymentApplied(spec(), 1, "ops"))
    world.run(60)
    assert len([e for e in world.history if isinstance(e, ReplicaPlaced)]) == 1
    told = world.pending()
    assert told is not None and "it ran out of memory" in told.refusals[0].sentence
    assert told.refusals[0].node == world.state.of("chat")[0].parts[0].node


def test_a_gang_is_placed_and_removed_whole() -> None:
    world = fleet(4, 4)
    world.decide(DeploymentApplied(replace(spec(), needs=replace(spec().needs, devices=2)), 1, "ops"))
    world.until(lambda: world.ready() == 1)
    world.decide(DeploymentRemoved("chat", "ops"))
    world.until(lambda: not world.state.replicas)
    assert all(not one.engines for one in world.nodes.values())


def test_a_guarantee_is_reclaimed_by_draining_what_was_borrowed_and_kept_for_its_owner() -> None:
    world = fleet(4)
    world.decide(ShareSet("health", "default", 2, "ops"))
    lent = spec("rent", "housing", scaling=Scaling(1, 8))
    world.decide(DeploymentApplied(lent, 1, "ops"), DeploymentScaled("rent", 8, "ops", ""))
    world.until(lambda: world.ready("rent") == 4)
    world.busy = {one.id: 1 for one in world.state.of("rent")}
    world.decide(DeploymentApplied(spec("chat", "health", scaling=Scaling(2, 2)), 1, "ops"))
    world.run(5)
    told = world.pending("chat")
    assert told is not None and "at the latest" in told.hopes
    assert world.until(lambda: world.ready("chat") == 2, 40) <= 20
    assert world.reasons(ReplicaDraining) == ["its devices are guaranteed to health"] * 2
    world.run(10)
    assert world.ready("rent") == 2 and world.ready("chat") == 2, world.told()


def test_the_same_is_planned_wherever_it_is_planned() -> None:
    for _ in range(2):
        world = World(node("b"), node("a"))
        world.decide(DeploymentApplied(spec(rollout=Rollout(surge=2), scaling=Scaling(5, 5)), 1, "ops"))
        world.run(10)
    assert world.ready() == 5


def test_a_node_that_has_not_taken_its_orders_yet_is_not_believed_to_run_nothing() -> None:
    world = fleet(1)
    world.run(2)
    world.nodes["a"].delay_ms = 4_000
    world.decide(DeploymentApplied(spec(), 1, "ops"))
    world.step()
    world.decide(DeploymentRemoved("chat", "ops"), DeploymentApplied(spec("code"), 1, "ops"))
    world.until(lambda: world.ready("code") == 1, 60)
