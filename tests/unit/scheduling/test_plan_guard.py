"""A node that is silent is given up within seconds; when many are, the control plane doubts itself first."""

from __future__ import annotations

from fastness.core.desired import Scaling
from fastness.core.fleet_event import (
    DeploymentApplied,
    NodeCordoned,
    NodeForgotten,
    NodeLost,
    NodeReturned,
    ReplicaDraining,
    ReplicaPlaced,
)
from fastness.core.fleet_state import Phase
from small_fleet import World, fleet, spec


def running(world: World, wanted: int = 4) -> World:
    world.decide(DeploymentApplied(spec(scaling=Scaling(wanted, 8)), 1, "ops"))
    world.until(lambda: world.ready() == wanted)
    return world


def test_what_was_on_a_lost_node_is_placed_elsewhere_within_ten_seconds() -> None:
    world = running(fleet(4, 4, 4, 4))
    victim = world.state.of("chat")[0].parts[0].node
    world.nodes[victim].alive = False
    seconds = world.until(
        lambda: sum(one.phase is Phase.PLACED for one in world.state.of("chat")) < 4 or world.lost(), 10
    )
    assert seconds <= 7
    placed = [one for one in world.state.of("chat") if one.phase is Phase.PLACED]
    assert len(placed) == 4 and all(one.parts[0].node != victim for one in placed), "in the same plan"


def test_gpustack_1020_a_node_that_comes_back_is_fenced_before_its_devices_are_given_again() -> None:
    world = running(fleet(4, 4, 4), 2)
    victim = world.state.of("chat")[0].parts[0].node
    world.nodes[victim].heard = False
    world.until(world.lost)
    world.run(30)
    assert Phase.LOST in world.phases() and world.nodes[victim].engines, "it runs on, unheard"
    world.nodes[victim].heard = True
    world.until(lambda: not world.lost())
    assert not world.nodes[victim].engines and Phase.LOST not in world.phases()
    assert world.ready() == 2
    assert [one.node for one in world.history if isinstance(one, NodeReturned)] == [victim]


def test_what_a_forgotten_node_held_is_gone_and_it_is_fenced_if_it_comes_back_after_all() -> None:
    world = running(fleet(4, 4, 4), 2)
    victim = world.state.of("chat")[0].parts[0].node
    world.nodes[victim].heard = False
    world.until(world.lost)
    world.decide(NodeForgotten(victim, "local"))
    assert Phase.LOST not in world.phases()
    world.run(5)
    assert world.nodes[victim].engines, "it runs on, unheard"
    assert world.ready() == 2
    world.nodes[victim].heard = True
    world.until(lambda: not world.lost())
    assert not world.nodes[victim].engines
    assert world.ready() == 2


def test_gpustack_5935_when_most_nodes_vanish_at_once_nobody_is_evicted() -> None:
    world = running(fleet(4, 4, 4, 4))
    for name in "abc":
        world.nodes[name].heard = False
    world.run(60)
    assert not world.lost() and "3 of 4 nodes" in world.plan.suspects
    assert len(world.revisions()) == 4 and not world.reasons(ReplicaDraining)
    for name in "ab":
        world.nodes[name].heard = True
    world.until(lambda: world.plan.suspects == "")
    assert not world.lost(), "whoever is still silent has its full time again"
    assert 4 <= world.until(world.lost) <= 7
    assert world.lost() == ["c"]


def test_nodes_that_vanish_one_shortly_after_the_other_are_as_suspicious() -> None:
    world = running(fleet(4, 4, 4, 4))
    for name in "abcd":
        world.nodes[name].heard = False
        world.run(2)
    world.run(60)
    assert len(world.lost()) <= 2 and world.plan.suspects


def test_while_it_suspects_itself_it_gives_up_nodes_that_a_person_drains_and_no_others() -> None:
    world = running(fleet(4, 4, 4, 4))
    for name in "abc":
        world.nodes[name].heard = False
    world.run(20)
    world.decide(NodeCordoned("a", True, "ops", "it burned"))
    world.run(20)
    assert world.lost() == ["a"] and world.plan.suspects


def test_a_control_plane_that_was_paused_judges_nobody_before_it_has_listened_again() -> None:
    world = running(fleet(4, 4, 4, 4))
    old = world.seen()
    world.now_ms += 120_000
    for one in world.nodes.values():
        one.at_ms = old.nodes[0].at_ms
    world.think()
    assert not world.lost() and not world.plan.suspects
    world.run(30)
    assert not world.lost()


def test_the_only_node_is_never_declared_lost() -> None:
    world = running(fleet(4), 1)
    world.nodes["a"].heard = False
    world.run(60)
    assert not world.lost() and world.plan.suspects
    world.nodes["a"].heard = True
    world.run(2)
    assert world.plan.suspects == "" and world.ready() == 1


def test_a_node_that_is_not_even_seen_after_a_restart_is_lost_as_well() -> None:
    world = running(fleet(4, 4, 4, 4))
    victim = world.state.of("chat")[0].parts[0].node
    world.nodes[victim].alive, world.nodes[victim].said = False, None
    world.restart_control()
    assert world.until(world.lost) <= 10


def test_nothing_is_placed_on_a_node_that_has_begun_to_be_silent() -> None:
    world = fleet(4, 4, 4)
    world.run(3)
    world.nodes["a"].heard = False
    world.run(4)
    world.decide(DeploymentApplied(spec(scaling=Scaling(4, 8)), 1, "ops"))
    world.step()
    placed = [one.parts[0].node for one in world.history if isinstance(one, ReplicaPlaced)]
    assert len(placed) == 4 and "a" not in placed


def test_a_restart_of_the_control_plane_loses_no_node() -> None:
    world = running(fleet(4, 4))
    for _ in range(5):
        world.restart_control()
        world.run(3)
    assert not [one for one in world.history if isinstance(one, NodeLost)]
