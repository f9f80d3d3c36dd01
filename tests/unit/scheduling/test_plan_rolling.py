"""A new revision takes the place of the old one without an outage, and goes back by itself when it is worse."""

from __future__ import annotations

from dataclasses import replace

import pytest

from fastness.core.desired import DeploymentSpec, Rollout, Scaling
from fastness.core.fleet_event import (
    DeploymentApplied,
    DeploymentScaled,
    ReplicaDraining,
    ReplicaPlaced,
    RevisionPromoted,
    RevisionRolledBack,
)
from fastness.core.fleet_state import Phase
from fastness.core.observation import DeploymentLoad, RevisionLoad
from small_fleet import World, fleet, spec


def running(world: World, wanted: int = 4, **more: object) -> World:
    world.decide(DeploymentApplied(spec(scaling=Scaling(wanted, 8), **more), 1, "ops"))  # type: ignore[arg-type]
    world.until(lambda: world.ready() == wanted)
    return world


def second(wanted: int = 4, **rollout: object) -> DeploymentSpec:
    return spec(scaling=Scaling(wanted, 8), model="bb", rollout=Rollout(**rollout))  # type: ignore[arg-type]


def is_promoted(world: World, revision: int = 2) -> bool:
    deployed = world.state.deployments["chat"]
    return deployed.stable == deployed.revision == revision


def answers(world: World, *of: tuple[int, int, int, int]) -> None:
    """Let a gateway have counted for each revision: answered, failed, milliseconds to the first token."""
    loads = tuple(RevisionLoad(number, good, bad, good * ttft_ms, good) for number, good, bad, ttft_ms in of)
    world.loads["chat"] = DeploymentLoad("chat", 0, 0, 0.0, 4, sum(one.answered for one in loads), revisions=loads)


def test_a_roll_surges_by_one_and_never_has_fewer_ready_than_wanted() -> None:
    world = running(fleet(4, 4))
    world.decide(DeploymentApplied(second(), 2, "ops"))
    while not is_promoted(world):
        world.step()
        assert world.ready() >= 4 and len(world.revisions()) <= 5, world.told()
    assert world.revisions() == [2, 2, 2, 2]
    assert [one.reason for one in world.history if isinstance(one, RevisionPromoted)]


def test_a_roll_replaces_as_many_at_a_time_as_the_surge() -> None:
    seconds = []
    for surge in (1, 4):
        world = running(fleet(4, 4))
        world.decide(DeploymentApplied(second(surge=surge), 2, "ops"))
        seconds.append(world.until(lambda w=world: is_promoted(w)))
    assert seconds[1] < seconds[0] / 2


def test_without_a_spare_device_a_roll_goes_in_place_one_below_what_is_wanted() -> None:
    world = running(fleet(2, 2))
    world.decide(DeploymentApplied(second(), 2, "ops"))
    while not is_promoted(world):
        world.step()
        assert world.ready() >= 3
    assert world.revisions() == [2, 2, 2, 2]


def test_a_single_replica_is_not_ended_for_a_roll_without_a_spare_device() -> None:
    world = running(fleet(1), 1)
    world.decide(DeploymentApplied(second(1), 2, "ops"))
    world.run(60)
    told = world.pending()
    assert world.revisions() == [1] and world.ready() == 1
    assert told is not None and any("surge = 0" in one.sentence for one in told.refusals)
    world.decide(DeploymentApplied(second(1, surge=0), 3, "ops"))
    world.until(lambda: is_promoted(world, 3))


def test_a_single_replica_that_fails_is_given_up_for_one_that_may_work() -> None:
    world = fleet(1)
    world.broken.add("aa")
    world.decide(DeploymentApplied(spec(), 1, "ops"))
    world.run(20)
    world.decide(DeploymentApplied(second(1), 2, "ops"))
    world.until(lambda: is_promoted(world))
    assert world.ready() == 1


def test_a_revision_that_never_comes_up_is_taken_back_and_nothing_was_lost() -> None:
    world = running(fleet(4, 4))
    world.broken.add("bb")
    world.decide(DeploymentApplied(second(), 2, "ops"))
    world.until(lambda: world.state.deployments["chat"].rolled_back != "", 60)
    assert "it ran out of memory" in world.state.deployments["chat"].rolled_back
    world.until(lambda: world.phases() == [Phase.PLACED] * 4)
    assert world.revisions() == [1, 1, 1, 1] and world.ready() == 4


def test_a_revision_that_is_merely_slow_to_load_is_taken_back_when_its_time_is_over() -> None:
    world = running(fleet(4, 4))
    world.bounds = replace(world.bounds, ready_within_s=30.0)
    world.start_ms = 10**9
    world.decide(DeploymentApplied(second(), 2, "ops"))
    assert 30 <= world.until(lambda: world.state.deployments["chat"].rolled_back != "") <= 35


@pytest.mark.parametrize(
    ("count", "why"),
    [((2, 80, 20, 30), "20.0% of 100 requests failed"), ((2, 100, 0, 300), "first token takes 300 ms")],
)
def test_a_canary_that_is_worse_is_taken_back_by_itself(count: tuple[int, int, int, int], why: str) -> None:
    world = running(fleet(4, 4))
    answers(world, (1, 1_000, 0, 50))
    world.run(2)
    world.decide(DeploymentApplied(second(canary_percent=25), 2, "ops"))
    world.until(lambda: world.revisions().count(2) == 1 and world.ready() == 5)
    answers(world, (1, 1_300, 0, 50), count)
    world.step()
    assert why in world.reasons(RevisionRolledBack)[0]
    world.until(lambda: world.phases() == [Phase.PLACED] * 4)
    assert world.revisions() == [1] * 4
    assert len(world.reasons(ReplicaDraining)) == 1, "only the canary went"


def test_errors_that_the_old_revision_has_as_well_are_not_the_new_ones() -> None:
    world = running(fleet(4, 4))
    answers(world, (1, 1_000, 0, 50))
    world.run(2)
    world.decide(DeploymentApplied(second(canary_percent=25), 2, "ops"))
    world.until(lambda: world.ready() == 5)
    answers(world, (1, 1_300, 100, 50), (2, 90, 10, 50))
    world.run(5)
    assert not world.reasons(RevisionRolledBack)


def test_a_canary_is_held_and_then_the_roll_goes_on() -> None:
    world = running(fleet(4, 4))
    answers(world, (1, 1_000, 0, 50))
    world.decide(DeploymentApplied(second(canary_percent=50, hold_s=60.0), 2, "ops"))
    world.until(lambda: world.revisions().count(2) == 2 and world.ready() >= 4)
    answers(world, (1, 1_300, 0, 50), (2, 100, 0, 55))
    begun_ms = world.now_ms
    world.until(lambda: world.revisions().count(2) > 2)
    assert 55 <= (world.now_ms - begun_ms) / 1_000 <= 65
    world.until(lambda: is_promoted(world))
    assert "100 requests, 0.0% failed" in world.reasons(RevisionPromoted)[0]


def test_with_no_traffic_a_canary_is_held_three_times_as_long_and_its_health_decides() -> None:
    world = running(fleet(4, 4))
    world.decide(DeploymentApplied(second(canary_percent=25, hold_s=20.0), 2, "ops"))
    world.until(lambda: world.revisions().count(2) == 1 and world.ready() == 5)
    assert 55 <= world.until(lambda: world.revisions().count(2) > 1) <= 65
    world.until(lambda: is_promoted(world))


def test_a_canary_without_a_spare_device_takes_the_place_of_one_and_does_not_flap() -> None:
    world = running(fleet(4))
    world.decide(DeploymentApplied(second(canary_percent=25, hold_s=20.0), 2, "ops"))
    world.run(40)
    assert sorted(world.revisions()) == [1, 1, 1, 2] and world.ready() == 4
    assert sum(isinstance(one, ReplicaPlaced) for one in world.history) == 5


def test_a_restart_of_the_control_plane_in_the_middle_of_a_roll_goes_on_with_it() -> None:
    world = running(fleet(4, 4))
    world.decide(DeploymentApplied(second(canary_percent=25, hold_s=10.0), 2, "ops"))
    world.until(lambda: world.revisions().count(2) == 2)
    world.restart_control()
    world.until(lambda: is_promoted(world), 60)


def test_an_apply_in_the_middle_of_a_roll_goes_to_the_newest() -> None:
    world = running(fleet(4, 4))
    world.decide(DeploymentApplied(second(), 2, "ops"))
    world.until(lambda: world.revisions().count(2) == 2)
    world.decide(DeploymentApplied(replace(second(), model="cc"), 3, "ops"))
    world.until(lambda: is_promoted(world, 3), 200)
    assert world.revisions() == [3] * 4


def test_grove_565_scaling_and_rolling_one_deployment_restarts_no_other() -> None:
    world = running(fleet(8, 8))
    world.decide(DeploymentApplied(spec("other", scaling=Scaling(2, 8)), 1, "ops"))
    world.until(lambda: world.ready("other") == 2)
    others = [one.id for one in world.state.of("other")]
    for wanted in (8, 4, 6, 4):
        world.decide(DeploymentScaled("chat", wanted, "ops", ""))
        world.run(2)
    world.decide(DeploymentApplied(second(), 2, "ops"))
    world.until(lambda: is_promoted(world))
    assert [one.id for one in world.state.of("other")] == others and world.ready("other") == 2


def test_dynamo_10527_engines_that_die_in_any_order_during_a_roll_do_not_keep_it_from_its_end() -> None:
    for order in range(6):
        world = running(fleet(4, 4))
        world.decide(DeploymentApplied(second(), 2, "ops"))
        for beat in range(30):
            world.step()
            up = [(one, replica) for one in world.nodes.values() for replica in one.engines]
            if up and beat % 5 == order % 5:
                one, replica = up[(beat + order) % len(up)]
                one.crash(replica, world.now_ms)
        world.until(lambda w=world: is_promoted(w) and w.ready() == 4, 100)
