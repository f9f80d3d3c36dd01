"""Fast up, slow down, none while nobody asks, and batches on what nobody else wants."""

from __future__ import annotations

from dataclasses import replace

from fastness.core.desired import Scaling
from fastness.core.fleet_event import DeploymentApplied, DeploymentScaled, ReplicaDraining, ShareSet
from fastness.core.observation import DeploymentLoad, RevisionLoad
from small_fleet import World, fleet, spec

ELASTIC = Scaling(1, 8, down_s=60.0, idle_s=120.0)


def load(world: World, name: str = "chat", **now: object) -> None:
    before = world.loads.get(name, DeploymentLoad(name, 0, 0, 0.0, 0, 0))
    world.loads[name] = replace(before, waiting=0, batch_waiting=0, oldest_wait_s=0.0, running=0, batch_running=0)
    world.loads[name] = replace(world.loads[name], **now)  # type: ignore[arg-type]


def running(world: World, scaling: Scaling = ELASTIC, name: str = "chat", owner: str = "health") -> World:
    world.decide(DeploymentApplied(spec(name, owner, scaling=scaling), 1, "ops"))
    world.until(lambda: world.ready(name) >= 1)
    return world


def wanted(world: World, name: str = "chat") -> int:
    return world.state.deployments[name].replicas


def scaled(world: World) -> list[DeploymentScaled]:
    return [one for one in world.history if isinstance(one, DeploymentScaled)]


def test_what_waits_brings_several_replicas_at_once() -> None:
    world = running(fleet(8))
    load(world, running=8, waiting=20, oldest_wait_s=2.0, asked=28)
    world.step()
    assert wanted(world) == 5, "28 answers, 6.4 a replica"
    assert scaled(world)[0].reason == "20 requests wait, the first for 2.0 s"


def test_slots_in_use_bring_one_more_before_anybody_waits() -> None:
    world = running(fleet(8))
    load(world, running=6, asked=6)
    world.run(5)
    assert wanted(world) == 1
    load(world, running=7, asked=7)
    world.step()
    assert wanted(world) == 2


def test_requests_that_come_faster_than_they_are_answered_count_before_they_have_waited_long() -> None:
    world = running(fleet(8))
    for second in range(1, 20):
        done = (RevisionLoad(1, 2 * second, 0, 0, 0),)
        load(world, running=8, waiting=1, oldest_wait_s=0.5, asked=6 * second, revisions=done)
        world.step()
    assert wanted(world) == 4
    assert "are answered" in scaled(world)[-1].reason or "are answered" in scaled(world)[0].reason


def test_tokens_a_second_bring_more() -> None:
    world = running(fleet(8), replace(ELASTIC, tokens_per_s=100.0))
    for second in range(1, 60):
        load(world, running=1, asked=second, revisions=(RevisionLoad(1, second, 0, 0, 350 * second),))
        world.step()
    assert wanted(world) == 4


def test_a_full_cache_brings_one_more_at_a_time_and_waits_for_what_that_does() -> None:
    world = running(fleet(8))
    world.run(10)
    load(world, running=2, asked=2, cache_part=0.95)
    world.run(9)
    assert wanted(world) == 2
    world.run(8)
    assert wanted(world) == 3


def test_fewer_only_when_fewer_would_have_done_all_the_time() -> None:
    world = running(fleet(8))
    load(world, running=30, asked=30)
    world.until(lambda: world.ready() == 5)
    for second in range(100):
        load(world, running=18 if second % 25 == 0 else 2, asked=31 + second)
        world.step()
    assert wanted(world) == 3, "18 answers need three"
    load(world, running=2, asked=200)
    world.run(80)
    assert wanted(world) == 1
    assert "would have done for the last 60 s" in scaled(world)[-1].reason


def test_a_restart_of_the_control_plane_scales_nothing_down() -> None:
    world = running(fleet(8))
    load(world, running=30, asked=30)
    world.until(lambda: world.ready() == 5)
    load(world, running=2, asked=31)
    world.run(50)
    world.restart_control()
    world.run(50)
    assert wanted(world) == 5
    world.run(20)
    assert wanted(world) == 1


def test_what_a_person_has_set_stands_for_as_long_as_it_takes_to_judge_it() -> None:
    world = running(fleet(8))
    load(world, running=1, asked=1)
    world.run(100)
    world.decide(DeploymentScaled("chat", 6, "ops", "a fair"))
    world.run(50)
    assert wanted(world) == 6
    world.run(20)
    assert wanted(world) == 1


def test_nobody_asks_so_there_is_none_and_a_request_wakes_it_at_once() -> None:
    world = running(fleet(8), replace(ELASTIC, min=0))
    load(world, asked=5)
    assert 115 <= world.until(lambda: wanted(world) == 0, 200) <= 130
    assert "nobody has asked" in scaled(world)[-1].reason
    world.until(lambda: not world.state.replicas)
    load(world, waiting=1, asked=6)
    world.step()
    assert wanted(world) == 1
    load(world, asked=6)
    world.until(lambda: wanted(world) == 0, 200)
    load(world, batch_waiting=1, asked=7)
    world.step()
    assert wanted(world) == 1


def test_without_a_word_from_any_gateway_nothing_is_scaled() -> None:
    world = running(fleet(8), replace(ELASTIC, min=0))
    world.run(300)
    assert wanted(world) == 1


def test_more_than_fits_is_wanted_and_told_of_and_forgotten_when_the_load_is_gone() -> None:
    world = running(fleet(2))
    load(world, running=16, waiting=100, oldest_wait_s=9.0, asked=116)
    world.run(5)
    assert wanted(world) == 8 and world.pending() is not None
    load(world, running=1, asked=117)
    world.until(lambda: wanted(world) == 1, 80)
    assert world.pending() is None


def test_batches_take_idle_devices_and_interactive_work_takes_them_back() -> None:
    world = running(fleet(4))
    running(world, ELASTIC, "other", "housing")
    load(world, running=8, batch_running=8, batch_waiting=500, asked=508)
    load(world, "other", running=1, asked=1)
    world.until(lambda: world.ready() == 3)
    assert wanted(world) == 3, "no more than there are devices: none is claimed in vain"
    load(world, running=24, batch_running=24, batch_waiting=500, asked=600)
    load(world, "other", running=8, waiting=4, oldest_wait_s=3.0, asked=13)
    world.until(lambda: world.ready("other") == 2, 30)
    assert "its batches give way to other" in world.reasons(ReplicaDraining)
    assert wanted(world) == 2


def test_what_batches_have_left_behind_is_given_up_before_its_time() -> None:
    world = running(fleet(4))
    running(world, ELASTIC, "other", "housing")
    load(world, running=8, batch_running=8, batch_waiting=500, asked=508)
    load(world, "other", running=1, asked=1)
    world.until(lambda: world.ready() == 3)
    load(world, running=1, asked=600)
    load(world, "other", running=8, waiting=4, oldest_wait_s=3.0, asked=13)
    assert world.until(lambda: world.ready("other") == 2, 30) < 15


def test_batches_do_not_take_what_somebody_is_guaranteed_for_long() -> None:
    world = running(fleet(4))
    world.decide(ShareSet("housing", "default", 2, "ops"))
    load(world, running=8, batch_running=8, batch_waiting=500, asked=508)
    world.until(lambda: world.ready() == 4)
    running(world, Scaling(2, 2), "other", "housing")
    world.until(lambda: world.ready("other") == 2, 30)
    assert world.ready() == 2
