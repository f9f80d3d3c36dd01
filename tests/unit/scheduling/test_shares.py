"""Shares: what is guaranteed, what is borrowed, and who gives back what to whom."""

from __future__ import annotations

from fastness.core.fleet_event import NodeCordoned, NodeLost, ReplicaDraining
from fastness.core.fleet_state import FleetState, apply
from fastness.scheduling.account import Level
from fastness.scheduling.offers import offers
from fastness.scheduling.promise import broken_promise, promise_problem
from fastness.scheduling.shares import holder, shares
from fleets import applied, needs, node, part, put, spec

ONE = (node("bristol-07", 4),)


def reclaimed(state: FleetState, owner: str, wanted: int = 1, nodes: tuple = ONE, **changes: object) -> tuple[str, ...]:
    wants = needs(wanted, **changes)
    there = offers(state, nodes)
    return shares(state, nodes).reclaim(owner, "default", wants.devices * wants.nodes, there, wants)


def test_who_is_within_its_guarantee_borrows_nothing() -> None:
    state = applied(spec("a"), shares={"health": 2})
    assert not (verdict := shares(state, ONE).verdict("health", "default", 2)).borrowed
    assert verdict.sentence == "health is guaranteed 2 devices of pool default; health holds 0"


def test_what_idles_may_be_borrowed_also_by_who_is_guaranteed_nothing() -> None:
    state = applied(spec("a"), shares={"justice": 4})
    verdict = shares(state, ONE).verdict("health", "default", 3)
    assert verdict.allowed
    assert verdict.borrowed
    assert verdict.sentence == (
        "health is guaranteed nothing of pool default and holds 0; 4 devices of the pool idle, 3 to be borrowed"
    )


def test_more_than_idles_is_not_lent() -> None:
    state = put(applied(spec("a"), shares={"health": 1}), "a", part("bristol-07", 0, 1, 2))
    assert not shares(state, ONE).verdict("health", "default", 2).allowed


def test_what_was_borrowed_goes_back_the_newest_first_and_no_more_than_needed() -> None:
    state = applied(spec("a", "justice"), spec("b", "health"), shares={"health": 2, "justice": 1})
    for number in range(4):
        state = put(state, "a", part("bristol-07", number))
    assert reclaimed(state, "health", 1) == ("a-4",)
    assert reclaimed(state, "health", 2) == ("a-4", "a-3")
    assert reclaimed(state, "health", 3) == (), "beyond its guarantee nobody takes anything"


def test_what_is_within_a_guarantee_is_never_reclaimed() -> None:
    state = applied(spec("a", "justice"), shares={"health": 2, "justice": 4})
    for number in range(4):
        state = put(state, "a", part("bristol-07", number), borrowed=True)
    assert reclaimed(state, "health", 1) == (), "the flag of its placement does not make it borrowed now"


def test_what_drains_already_is_counted_before_anything_else_is_taken() -> None:
    state = applied(spec("a", "justice"), shares={"health": 2})
    for number in range(4):
        state = put(state, "a", part("bristol-07", number))
    state = apply(state, ReplicaDraining("a-2", 5_000, "fewer"))
    assert reclaimed(state, "health", 1) == ()
    assert reclaimed(state, "health", 2) == ("a-4",)


def test_a_gang_gets_room_on_one_node() -> None:
    nodes = (node("x", 2), node("y", 2))
    state = applied(spec("a", "justice"), spec("b", "justice"), shares={"health": 2})
    for name, deployment in (("x", "a"), ("y", "b"), ("y", "b"), ("x", "a")):
        used = sum(one.parts[0].node == name for one in state.replicas.values())
        state = put(state, deployment, part(name, used))
    assert reclaimed(state, "health", 2, nodes) in (("a-4", "a-1"), ("b-3", "b-2"))
    state = apply(state, ReplicaDraining("a-1", 5_000, "fewer"))
    assert reclaimed(state, "health", 2, nodes) == ("a-4",), "where one drains already, one more is enough"


def test_what_is_not_needed_in_the_end_does_not_count_against_a_node() -> None:
    nodes = (node("x", 3), node("y", 2))
    state = applied(spec("one", "justice"), spec("two", "justice", needs(2)), shares={"health": 2})
    for deployment, there in (("one", part("x", 0)), ("two", part("y", 0, 1)), ("two", part("x", 1, 2))):
        state = put(state, deployment, there)
    assert reclaimed(state, "health", 2, nodes) == ("two-3",), "the newest, though a smaller one is beside it"


def test_urgent_replicas_are_reclaimed_last() -> None:
    state = applied(spec("a", "justice"), spec("u", "justice", urgent=True), shares={"health": 1})
    for number, deployment in enumerate(("a", "a", "u", "u")):
        state = put(state, deployment, part("bristol-07", number))
    assert reclaimed(state, "health", 1) == ("a-2",)


def test_a_team_gets_its_own_back_from_its_own_department() -> None:
    promised = {"health": 2, "health/triage": 1, "health/research": 1, "justice": 2}
    state = applied(spec("r", "health/research"), spec("j", "justice"), shares=promised)
    for number, deployment in enumerate(("r", "r", "j", "j")):
        state = put(state, deployment, part("bristol-07", number))
    now = shares(state, ONE)
    assert [now.level(one) for one in ("r-1", "r-2", "j-3")] == [Level.GUARANTEED, Level.INSIDE, Level.GUARANTEED]
    assert reclaimed(state, "health/triage", 1) == ("r-2",)
    assert reclaimed(state, "justice", 1) == (), "inside a department's guarantee, nobody else takes"


def test_who_borrowed_inside_its_department_borrows_of_all_once_its_sibling_has_come() -> None:
    promised = {"health": 2, "health/triage": 1, "health/research": 1}
    state = applied(spec("r", "health/research"), spec("t", "health/triage"), shares=promised)
    state = put(put(state, "r", part("bristol-07", 0)), "r", part("bristol-07", 1))
    now = shares(state, ONE)
    assert now.level("r-2") is Level.INSIDE
    now.take(holder(after := put(state, "t", part("bristol-07", 2)), after.replicas["t-3"]))
    assert [now.level(one) for one in ("r-1", "r-2", "t-3")] == [Level.GUARANTEED, Level.BORROWED, Level.GUARANTEED]


def test_what_a_department_keeps_is_for_all_of_its_teams() -> None:
    state = applied(spec("r", "health/research"), spec("o"), shares={"health": 3, "health/triage": 1})
    now = shares(state, ONE)
    assert now.verdict("health/research", "default", 2).level is Level.GUARANTEED
    assert now.verdict("health", "default", 2).level is Level.GUARANTEED
    assert now.verdict("health/triage", "default", 3).level is Level.GUARANTEED
    assert now.verdict("health/research", "default", 3).level is Level.INSIDE
    assert now.verdict("health/research", "default", 4).level is Level.BORROWED


def test_a_replica_on_its_way_out_counts_against_no_guarantee() -> None:
    state = put(applied(spec("a"), shares={"health": 1}), "a", part("bristol-07", 0))
    now = shares(state, ONE)
    assert now.verdict("health", "default", 1).borrowed
    now.leave("a-1")
    assert not now.verdict("health", "default", 1).borrowed
    assert (now.standing("health", "default").held, now.standing("health", "default").leaving) == (0, 1)


def test_what_is_held_on_a_lost_node_is_not_missing_on_others() -> None:
    state = put(applied(spec("a")), "a", part("lost-01", *range(8)))
    state = apply(state, NodeLost("lost-01", "nothing is heard of it"))
    verdict = shares(state, ONE).verdict("justice", "default", 4)
    assert verdict.allowed
    assert "4 devices of the pool idle" in verdict.sentence


def test_nothing_is_reclaimed_on_a_node_where_nothing_may_be_placed() -> None:
    state = put(applied(spec("a", "justice"), shares={"health": 1}), "a", part("bristol-07", 0, 1, 2, 3))
    assert reclaimed(state, "health", 1) == ("a-1",)
    assert reclaimed(state, "health", 1, jurisdictions=("FR",)) == ()
    state = apply(state, NodeCordoned("bristol-07", False, "ops-lead", "firmware"))
    assert reclaimed(state, "health", 1) == ()


def test_guarantees_never_add_up_to_more_than_the_pool() -> None:
    promised = {("health", "default"): 2, ("justice", "default"): 1, ("justice/courts", "default"): 1}
    assert promise_problem(promised, "works", "default", 1, ONE) == ""
    assert promise_problem(promised, "works", "default", 2, ONE) == (
        "pool default has 4 devices, and 5 would be guaranteed: 1 are left for works; "
        "set another's share lower first, or add nodes"
    )
    assert promise_problem(promised, "justice/prisons", "default", 1, ONE).startswith(
        "justice is guaranteed 1 device of pool default, and its teams would be guaranteed 2"
    )
    assert promise_problem(promised, "justice", "default", 0, ONE) != "", "its team would be guaranteed more than it"
    assert promise_problem(promised, "justice", "other", 1, ONE).startswith("pool other has 0 devices")


def test_when_nodes_are_lost_a_share_can_still_be_lowered() -> None:
    promised = {("health", "default"): 6}
    assert broken_promise(promised, "default", ONE) == "pool default has 4 devices of the 6 that are guaranteed"
    assert promise_problem(promised, "health", "default", 5, ONE) == ""
    assert promise_problem(promised, "health", "default", 7, ONE) != ""
