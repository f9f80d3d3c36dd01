"""What would happen is told before it does, and is what then happens."""

from __future__ import annotations

from fastness.core.desired import Rollout, Scaling
from fastness.core.fleet_event import DeploymentApplied, FleetEvent, NodeCordoned, RevisionPromoted
from fastness.scheduling.preview import Preview, preview
from small_fleet import World, fleet, spec


def ask(world: World, *changes: FleetEvent) -> Preview:
    return preview(world.state, world.seen(), world.memory, world.now_ms, world.bounds, changes)


def test_a_roll_is_told_whole_and_happens_as_told() -> None:
    world = fleet(3, 3)
    world.decide(DeploymentApplied(spec(scaling=Scaling(3, 3)), 1, "ops"))
    world.until(lambda: world.ready() == 3)
    change = DeploymentApplied(spec(scaling=Scaling(3, 3), model="bb"), 2, "ops")
    before, told = world.state, ask(world, change)
    assert told.complete
    assert world.state is before
    so_far = len(world.history)
    world.decide(change)
    world.run(60)
    assert [type(one) for one in world.history[so_far + 1 :]].count(RevisionPromoted) == 1
    assert sorted(str(type(one)) for one in world.history[so_far + 1 :]) == sorted(
        str(type(one)) for one in told.events
    )


def test_a_canary_is_told_to_its_end() -> None:
    world = fleet(4, 4)
    world.decide(DeploymentApplied(spec(scaling=Scaling(4, 4)), 1, "ops"))
    world.until(lambda: world.ready() == 4)
    canary = Rollout(canary_percent=25, hold_s=300.0)
    told = ask(world, DeploymentApplied(spec(scaling=Scaling(4, 4), rollout=canary, model="bb"), 2, "ops"))
    assert told.complete and any(isinstance(one, RevisionPromoted) for one in told.events)


def test_what_does_not_fit_is_told_with_its_reasons() -> None:
    told = ask(fleet(2), DeploymentApplied(spec(devices=4), 1, "ops"))
    assert not told.complete and told.pending[0].refusals and told.events == ()


def test_emptying_a_node_tells_what_can_move_and_what_cannot() -> None:
    world = fleet(3, 1)
    world.decide(DeploymentApplied(spec(scaling=Scaling(3, 3)), 1, "ops"))
    world.until(lambda: world.ready() == 3)
    told = ask(world, NodeCordoned("a", True, "ops", "firmware"))
    assert not told.complete and told.pending[0].refusals
