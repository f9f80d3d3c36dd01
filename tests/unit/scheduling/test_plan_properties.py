"""Whatever happens in whatever order: no law is broken on the way, and when faults end, things are as wanted.

`World.step` looks at the laws after each plan: no device holds two engines, nothing is stopped that runs and has time,
no roll and no emptied node leaves fewer ready than wanted, the same is planned twice alike, and no event is impossible.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fastness.core.desired import Rollout, Scaling
from fastness.core.fleet_event import (
    DeploymentApplied,
    DeploymentRemoved,
    DeploymentScaled,
    NodeCordoned,
    NodeUncordoned,
    ShareSet,
)
from fastness.core.fleet_state import Phase
from fastness.core.observation import DeploymentLoad, RevisionLoad
from small_fleet import World, node, spec

NAMES, NODES = ("chat", "code"), ("a", "b", "c", "d")
OWNERS = {"chat": "health", "code": "housing"}
numbers = st.integers(0, 3)


def _apply(world: World, name: str, number: int) -> None:
    before = world.state.deployments.get(name)
    revision = max(before.revisions) + 1 if before else 1
    rollout = Rollout(surge=number % 3, canary_percent=(0, 50)[number // 2], hold_s=5.0)
    scaling = Scaling((1, 0)[number % 2], 4, down_s=20.0, idle_s=30.0)
    wanted = spec(name, OWNERS[name], scaling, rollout, f"{name}-{number}", urgent=number == 3)
    world.decide(DeploymentApplied(wanted, revision, "ops"))


def _scale(world: World, name: str, number: int) -> None:
    deployed = world.state.deployments.get(name)
    if deployed and not deployed.removed:
        world.decide(DeploymentScaled(name, max(deployed.spec.scaling.min, number + 1), "ops", ""))


def _remove(world: World, name: str, number: int) -> None:
    if name in world.state.deployments and number == 0:
        world.decide(DeploymentRemoved(name, "ops"))


def _cordon(world: World, name: str, number: int) -> None:
    world.decide(NodeCordoned(NODES[number], name == "chat", "ops", "firmware"))


def _uncordon(world: World, name: str, number: int) -> None:
    world.decide(NodeUncordoned(NODES[number], "ops"))


def _die(world: World, name: str, number: int) -> None:
    world.nodes[NODES[number]].die()


def _isolate(world: World, name: str, number: int) -> None:
    world.nodes[NODES[number]].heard = False


def _come_back(world: World, name: str, number: int) -> None:
    world.nodes[NODES[number]].alive = world.nodes[NODES[number]].heard = True


def _delay(world: World, name: str, number: int) -> None:
    world.nodes[NODES[number]].delay_ms = 2_500


def _crash(world: World, name: str, number: int) -> None:
    engines = [(one, replica) for one in world.nodes.values() for replica in one.engines]
    if engines:
        one, replica = engines[number * 7 % len(engines)]
        one.crash(replica, world.now_ms)


def _break(world: World, name: str, number: int) -> None:
    world.broken ^= {f"{name}-{number}"}


def _restart_control(world: World, name: str, number: int) -> None:
    world.restart_control()


def _pause_control(world: World, name: str, number: int) -> None:
    world.now_ms += 10_000 * number


def _silence(world: World, name: str, number: int) -> None:
    if "gateway-1" in world.silent_gateways:
        del world.silent_gateways["gateway-1"]
    else:
        world.silent_gateways["gateway-1"] = world._reported("gateway-1")


def _answer(world: World, name: str, number: int) -> None:
    world.busy = {one.id: number for one in world.state.replicas.values()} if number else {}


def _ask(world: World, name: str, number: int) -> None:
    before = world.loads.get(name)
    asked = (before.asked if before else 0) + number
    revisions = world.state.deployments[name].revisions if name in world.state.deployments else ()
    counts = tuple(RevisionLoad(one, asked * 5, asked * (one % 2), asked * 100 * one, asked) for one in revisions)
    world.loads[name] = DeploymentLoad(
        name, number * 4 % 5, (number == 2) * 40, number, number * 7, asked, revisions=counts
    )


def _share(world: World, name: str, number: int) -> None:
    world.decide(ShareSet(OWNERS[name], "default", number * 2, "ops"))


HAPPENINGS: tuple[Callable[[World, str, int], None], ...] = (
    _apply, _apply, _scale, _remove, _cordon, _uncordon, _die, _isolate, _come_back, _delay, _crash, _break,
    _restart_control, _pause_control, _silence, _answer, _ask, _share,
)  # fmt: skip

stories = st.lists(
    st.tuples(st.sampled_from(HAPPENINGS), st.sampled_from(NAMES), numbers, st.integers(0, 9)), min_size=4, max_size=30
)


def _play(world: World, story: list[tuple[Any, str, int, int]]) -> None:
    _apply(world, "chat", 0)
    world.run(5)
    for happens, name, number, seconds in story:
        happens(world, name, number)
        world.run(seconds)


def _heal(world: World) -> None:
    for one in world.nodes.values():
        one.alive = one.heard = True
        one.delay_ms = 0
    world.broken.clear()
    world.silent_gateways.clear()
    world.busy.clear()
    world.loads.clear()
    world.decide(*(NodeUncordoned(name, "ops") for name in NODES))


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(stories)
def test_no_law_is_broken_in_any_order_of_events_and_what_is_wanted_comes_about(story: Any) -> None:
    world = World(*(node(name, 3) for name in NODES), gateways=2)
    _play(world, story)
    _heal(world)
    world.run(200)
    for name, deployed in world.state.deployments.items():
        assert not deployed.removed, world.told()
        assert world.phases(name) == [Phase.PLACED] * deployed.replicas, world.told()
        assert world.ready(name) == deployed.replicas, world.told()
        assert set(world.revisions(name)) <= {deployed.revision}, world.told()
        assert deployed.stable == deployed.revision, world.told()
    assert not world.lost() and world.plan.suspects == "" and world.plan.events == (), world.told()
    running = {replica for one in world.nodes.values() for replica in one.engines}
    assert running == set(world.state.replicas)


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(stories)
def test_a_fleet_that_is_nearly_full_keeps_the_laws_as_well(story: Any) -> None:
    world = World(*(node(name, 1) for name in NODES), gateways=1)
    _play(world, [one for one in story if one[0] is not _silence])
    _heal(world)
    world.run(100)
    for name, deployed in world.state.deployments.items():
        short = len(world.revisions(name)) < deployed.replicas or deployed.stable != deployed.revision
        assert not short or world.pending(name) is not None, world.told()
    assert not world.lost() and world.plan.suspects == ""
