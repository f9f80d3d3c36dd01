"""Law 7 of shares: a guarantee can always be had back, and nobody pays for it out of their own."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection

from hypothesis import given
from hypothesis import strategies as st

from fastness.core.fleet_event import ReplicaDraining, ReplicaRemoved, ReplicaStopping, ShareSet
from fastness.core.fleet_state import FleetState, Phase, apply
from fastness.core.node import FleetNode
from fastness.scheduling.account import Level, department_of
from fastness.scheduling.offers import offers
from fastness.scheduling.placement import Placement, place
from fastness.scheduling.promise import promise_problem
from fastness.scheduling.shares import Shares, holder, shares
from fleets import applied, needs, node, put, spec

OWNERS = ("health", "health/triage", "health/research", "justice", "justice/courts", "works")
SHAPES = {"1": needs(1), "2": needs(2), "4": needs(4), "1x2": needs(1, nodes=2), "2x2": needs(2, nodes=2)}
POOL = "default"
Fleet = tuple[FleetState, tuple[FleetNode, ...]]


def moved(state: FleetState, name: str) -> FleetState:
    """A replica on its way out, one step further."""
    one = state.replicas[name]
    step = {Phase.PLACED: ReplicaDraining(name, 1, ""), Phase.DRAINING: ReplicaStopping(name, "")}
    return apply(state, step.get(one.phase, ReplicaRemoved(name, "")))


def left(state: FleetState, gone: Collection[str]) -> FleetState:
    """The state once these, and all that are on their way out already, are gone."""
    for name in [one.id for one in state.replicas.values() if one.id in gone or one.phase is not Phase.PLACED]:
        while name in state.replicas:
            state = moved(state, name)
    return state


def fits(state: FleetState, nodes: tuple[FleetNode, ...], shape: str) -> Placement | None:
    found = place(SHAPES[shape], "newcomer", "", offers(state, nodes))
    return found if isinstance(found, Placement) else None


def short(owner: str, shape: str, urgent: bool) -> str:
    return f"{owner.replace('/', '-')}-{shape}{'-urgent' * urgent}"


KINDS = [(owner, shape, urgent) for owner in OWNERS for shape in SHAPES for urgent in (False, True)]
EMPTY = applied(*(spec(short(*one), one[0], SHAPES[one[1]], urgent=one[2]) for one in KINDS))


@st.composite
def fleets(draw: st.DrawFn) -> Fleet:
    """A fleet in use: guarantees that may be promised, replicas placed where they fit, some on their way out."""
    counts = draw(st.lists(st.sampled_from((2, 4, 6)), min_size=1, max_size=3))
    nodes, state = tuple(node(f"n{number}", count) for number, count in enumerate(counts)), EMPTY
    promised = draw(st.tuples(*(st.integers(0, 5 if "/" not in owner else 2) for owner in OWNERS)))
    for owner, devices in zip(OWNERS, promised, strict=True):
        if not promise_problem(state.shares, owner, POOL, devices, nodes):
            state = apply(state, ShareSet(owner, POOL, devices, "local"))
    for kind, out in draw(st.lists(st.tuples(st.sampled_from(KINDS), st.integers(0, 12)), min_size=4, max_size=14)):
        if found := fits(state, nodes, kind[1]):
            state = put(state, short(*kind), *found.parts)
            for _ in range(max(0, out - 9)):
                state = moved(state, f"{short(*kind)}-{state.term}")
    return state, nodes


def asked(state: FleetState, nodes: tuple[FleetNode, ...], owner: str, shape: str) -> tuple[Shares, tuple[str, ...]]:
    now, wants = shares(state, nodes), SHAPES[shape]
    return now, now.reclaim(owner, POOL, wants.devices * wants.nodes, offers(state, nodes), wants)


def level(now: Shares, owner: str, shape: str) -> Level:
    return now.verdict(owner, POOL, SHAPES[shape].devices * SHAPES[shape].nodes).level


@given(fleets())
def test_what_is_guaranteed_can_always_be_had_back(fleet: Fleet) -> None:
    state, nodes = fleet
    for owner in OWNERS:
        now, drained = asked(state, nodes, owner, "1")
        if level(now, owner, "1") is not Level.BORROWED:
            assert fits(left(state, drained), nodes, "1")


@given(fleets(), st.sampled_from(tuple(SHAPES)))
def test_a_gang_gets_room_wherever_draining_what_is_borrowed_can_make_it(fleet: Fleet, shape: str) -> None:
    state, nodes = fleet
    for owner in OWNERS:
        now, drained = asked(state, nodes, owner, shape)
        borrowed = {one for one in state.replicas if now.level(one) is Level.BORROWED}
        room = fits(left(state, drained), nodes, shape)
        if level(now, owner, shape) is not Level.BORROWED and fits(left(state, borrowed), nodes, shape):
            assert room
        assert room or drained == (), "nothing drains in vain"


@given(fleets(), st.sampled_from(OWNERS), st.sampled_from(tuple(SHAPES)))
def test_no_more_is_reclaimed_than_is_needed(fleet: Fleet, owner: str, shape: str) -> None:
    state, nodes = fleet
    _, drained = asked(state, nodes, owner, shape)
    if fits(left(state, ()), nodes, shape):
        assert drained == (), "what is free, or on its way out, is enough"
    if SHAPES[shape].nodes == 1:
        assert not any(fits(left(state, set(drained) - {one}), nodes, shape) for one in drained)


@given(fleets(), st.sampled_from(OWNERS), st.sampled_from(tuple(SHAPES)))
def test_nobody_is_reclaimed_below_a_guarantee(fleet: Fleet, owner: str, shape: str) -> None:
    state, nodes = fleet
    now, drained = asked(state, nodes, owner, shape)
    assert level(now, owner, shape) is not Level.BORROWED or drained == (), "beyond its guarantee nobody takes"
    for one in drained:
        whose = state.deployments[state.replicas[one].deployment].spec.owner
        inside = now.level(one) is Level.INSIDE and department_of(whose) == department_of(owner)
        assert now.level(one) is Level.BORROWED or inside
        assert state.replicas[one].phase is Phase.PLACED
    after = shares(left(state, drained), nodes)
    for one in state.replicas:
        if now.level(one) is Level.GUARANTEED:
            assert after.level(one) is Level.GUARANTEED


@given(fleets())
def test_what_is_within_guarantees_never_adds_up_to_more_than_them(fleet: Fleet) -> None:
    state, nodes = fleet
    now, sums, whole = shares(state, nodes), Counter[tuple[str, Level]](), Counter[str]()
    for one in state.replicas.values():
        if (safe := now.level(one.id)) is not None:
            devices = sum(len(part.devices) for part in one.parts)
            whose = state.deployments[one.deployment].spec.owner
            sums[whose, safe] += devices
            whole[department_of(whose)] += devices * (safe is not Level.BORROWED)
    for department in {department_of(one) for one in OWNERS}:
        assert whole[department] <= state.shares.get((department, POOL), 0)
    for owner in OWNERS:
        standing = now.standing(owner, POOL)
        assert standing.held == sum(count for (whose, _), count in sums.items() if whose == owner)
        assert standing.borrowed == sums[owner, Level.BORROWED]
        assert standing.inside == sums[owner, Level.INSIDE]


@given(fleets(), st.sampled_from(OWNERS), st.integers(1, 4))
def test_shares_that_were_told_are_as_shares_that_are_made_anew(fleet: Fleet, owner: str, devices: int) -> None:
    state, nodes = fleet
    now = shares(state, nodes)
    now.verdict(owner, POOL, devices)
    placed = [one.id for one in state.replicas.values() if one.phase is Phase.PLACED]
    for name in placed[::2]:
        state = moved(state, name)
        now.leave(name)
    anew = shares(state, nodes)
    assert {one: now.level(one) for one in state.replicas} == {one: anew.level(one) for one in state.replicas}
    assert now.verdict(owner, POOL, devices) == anew.verdict(owner, POOL, devices)


@given(fleets())
def test_shares_that_are_told_of_one_after_the_other_count_as_those_that_see_all(fleet: Fleet) -> None:
    state, nodes = fleet
    told, anew = Shares(state.shares, {POOL: sum(len(one.devices) for one in nodes)}, ()), shares(state, nodes)
    for one in sorted(state.replicas.values(), key=lambda one: one.term):
        told.verdict(state.deployments[one.deployment].spec.owner, POOL, 1)
        told.take(holder(state, one))
    assert {one: told.level(one) for one in state.replicas} == {one: anew.level(one) for one in state.replicas}


@given(fleets())
def test_a_promise_is_kept_to_its_pool(fleet: Fleet) -> None:
    state, nodes = fleet
    departments = [devices for (owner, _), devices in state.shares.items() if "/" not in owner]
    assert sum(departments) <= sum(len(one.devices) for one in nodes)
