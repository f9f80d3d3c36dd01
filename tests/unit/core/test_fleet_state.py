"""The state of the fleet is a fold of its events, and nothing impossible can be folded."""

from __future__ import annotations

from dataclasses import replace

import pytest

from fastness.core.desired import DeploymentSpec, Needs, Scaling
from fastness.core.fleet_event import (
    DeploymentApplied,
    DeploymentRemoved,
    NodeForgotten,
    NodeLost,
    Part,
    ReplicaDraining,
    ReplicaPlaced,
    ReplicaRemoved,
    ReplicaStopping,
    RevisionRolledBack,
)
from fastness.core.fleet_state import FleetState, Impossible, Phase, apply, fold
from fastness.core.marking import Label

OFFICIAL = Label("OFFICIAL")
SPEC = DeploymentSpec("chat", "health", "smol", "ab" * 32, "chat", OFFICIAL, Needs(OFFICIAL, 10), scaling=Scaling(1, 4))


def placed(term: int, device: str = "cpu-0", revision: int = 1) -> ReplicaPlaced:
    return ReplicaPlaced(f"chat-{term}", "chat", revision, (Part("n", (device,)),), 10, term, False, "fits")


def test_a_device_is_held_until_its_replica_is_removed() -> None:
    state = fold([DeploymentApplied(SPEC, 1, "local"), placed(1)])
    for event in (ReplicaDraining("chat-1", 5, "fewer"), ReplicaStopping("chat-1", "drained")):
        state = apply(state, event)
        with pytest.raises(Impossible, match="held by chat-1"):
            apply(state, placed(2))
    state = apply(state, ReplicaRemoved("chat-1", "gone"))
    assert apply(state, placed(2)).taken() == {("n", "cpu-0"): "chat-2"}


def test_a_replica_drains_before_it_stops() -> None:
    state = fold([DeploymentApplied(SPEC, 1, "local"), placed(1)])
    with pytest.raises(Impossible, match="drains before"):
        apply(state, ReplicaStopping("chat-1", "now"))


def test_a_removed_deployment_stays_until_its_last_replica_is_gone() -> None:
    state = fold([DeploymentApplied(SPEC, 1, "local"), placed(1), DeploymentRemoved("chat", "local")])
    assert state.deployments["chat"].removed
    state = fold([ReplicaDraining("chat-1", 5, ""), ReplicaStopping("chat-1", ""), ReplicaRemoved("chat-1", "")], state)
    assert state == FleetState(sequence=6, term=1)


def test_what_is_rolled_back_is_wanted_as_it_was() -> None:
    state = fold([DeploymentApplied(SPEC, 1, "local"), placed(1), DeploymentApplied(SPEC, 2, "local")])
    assert (state.deployments["chat"].revision, state.deployments["chat"].stable) == (2, 1)
    state = apply(state, RevisionRolledBack("chat", 2, "it fails"))
    assert state.deployments["chat"].spec == SPEC
    assert state.deployments["chat"].revision == 1


def test_a_term_is_given_once() -> None:
    state = fold([DeploymentApplied(SPEC, 1, "local"), placed(3)])
    with pytest.raises(Impossible, match="term 3"):
        apply(state, replace(placed(3, "cpu-1"), replica="chat-x"))
    assert state.replicas["chat-3"].phase is Phase.PLACED


def test_a_revision_that_was_rolled_back_is_not_given_again() -> None:
    state = fold([DeploymentApplied(SPEC, 1, "local"), placed(1), DeploymentApplied(SPEC, 2, "local")])
    state = apply(state, RevisionRolledBack("chat", 2, "it fails"))
    assert (state.deployments["chat"].revision, state.deployments["chat"].newest) == (1, 2)


def test_what_is_wanted_again_while_it_still_drains_has_a_replica_again() -> None:
    none = replace(SPEC, scaling=Scaling(0, 4))
    state = fold([DeploymentApplied(none, 1, "local"), placed(1), DeploymentRemoved("chat", "local")])
    assert apply(state, DeploymentApplied(none, 1, "local")).deployments["chat"].replicas == 1


def test_what_a_forgotten_node_held_is_gone_and_the_rest_of_a_gang_is_waited_for() -> None:
    gang = replace(placed(2), parts=(Part("n", ("cpu-1",)), Part("m", ("cpu-0",))))
    state = fold([DeploymentApplied(SPEC, 1, "local"), placed(1), gang])
    with pytest.raises(Impossible, match="not lost"):
        apply(state, NodeForgotten("n", "local"))
    state = fold([DeploymentRemoved("chat", "local"), NodeLost("n", "silent"), NodeForgotten("n", "local")], state)
    assert state.taken() == {("m", "cpu-0"): "chat-2"}
    assert not apply(state, ReplicaRemoved("chat-2", "gone")).deployments
