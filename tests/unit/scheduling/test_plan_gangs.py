"""A replica over several nodes is ready when each of them says so, and lost with any of them."""

from __future__ import annotations

from dataclasses import replace

from fastness.core.desired import Scaling
from fastness.core.fleet_event import DeploymentApplied
from fastness.core.replica import ReplicaState
from fastness.scheduling.guard import Hearing
from fastness.scheduling.orders import orders_of
from fastness.scheduling.plan_values import PlanBounds
from fastness.scheduling.sight import Health, look
from small_fleet import World, fleet, spec

GANG = spec(scaling=Scaling(1, 1), nodes=2)


def running() -> World:
    world = fleet(2, 2, 2)
    world.decide(DeploymentApplied(GANG, 1, "ops"))
    world.until(lambda: world.ready() == 1)
    return world


def test_each_node_is_told_who_the_members_are_and_one_order_is_of_no_gang() -> None:
    world = running()
    world.decide(DeploymentApplied(spec("alone", scaling=Scaling(1, 1)), 1, "ops"))
    world.until(lambda: world.ready("alone") == 1)
    told = [one for each in orders_of(world.state, world.nodes).values() for one in each.assignments]
    parts = [one for one in told if one.spec.name == "chat"]
    members = tuple(part.node for part in next(iter(world.state.of("chat"))).parts)
    assert len(parts) == 2 and {one.members for one in parts} == {members}
    assert sorted(one.follows for one in parts) == [False, True]
    assert [(one.members, one.follows) for one in told if one.spec.name == "alone"] == [((), False)]


def test_it_is_not_ready_while_a_node_says_nothing_of_it_or_something_else() -> None:
    world = running()
    (one,) = world.state.of("chat")

    def health() -> Health:
        return look(world.seen(), Hearing({}, {}, {}, frozenset()), {}, world.now_ms, PlanBounds()).health(one)

    assert health() is Health.READY
    second = world.nodes[one.parts[1].node].engines
    second[one.id] = replace(second[one.id], state=ReplicaState.STARTING)
    assert health() is Health.COMING
    del second[one.id]
    assert health() is Health.COMING


def test_it_is_lost_with_any_of_its_nodes_and_placed_anew_whole() -> None:
    world = running()
    (one,) = world.state.of("chat")
    world.nodes[one.parts[1].node].die()
    world.until(lambda: bool(world.lost()))
    world.until(lambda: world.ready() == 1)
    (new,) = [each for each in world.state.of("chat") if each.id != one.id]
    assert one.parts[1].node not in {part.node for part in new.parts} and len(new.parts) == 2
