"""plan(state, seen, memory, now) -> what happens next, as events. It never waits and never acts."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from fastness.core.fleet_state import FleetState, Phase
from fastness.core.observation import Observation
from fastness.scheduling.autoscaling import Need, autoscale, give_way, soak
from fastness.scheduling.draft import Draft
from fastness.scheduling.filters import Clears, identical
from fastness.scheduling.guard import judge, listen, relieved
from fastness.scheduling.lifecycle import close, give_up, missing, report, retire, welcome
from fastness.scheduling.placing import explain, place_missing
from fastness.scheduling.plan_values import LoadMemory, Pending, Plan, PlanBounds, PlanMemory, Watch
from fastness.scheduling.rolling import goal, watch_roll
from fastness.scheduling.room import make_room
from fastness.scheduling.sight import look

__all__ = ["Pending", "Plan", "PlanBounds", "PlanMemory", "plan"]


def plan(
    state: FleetState,
    seen: Observation,
    memory: PlanMemory,
    now_ms: int,
    bounds: PlanBounds,
    clears: Clears = identical,
) -> Plan:
    """Return the next steps towards what is wanted. What needs an answer from a node first comes in a later plan.

    `clears` tells whether a node's ceiling permits a marking: `Lattice.dominates`.
    """
    hearing = listen(state, seen, memory, now_ms, bounds)
    suspects_s = (now_ms - memory.suspects_ms) / 1_000 if memory.suspects_ms else None
    judgement = judge(state, hearing, suspects_s, bounds)
    if judgement.returning:
        hearing = relieved(hearing, now_ms, bounds)
    draft = Draft(state, look(seen, hearing, memory.unready, now_ms, bounds), hearing.silent_s, clears)
    give_up(draft, judgement.lost)
    close(draft)
    welcome(draft, hearing)
    watches, loads = memory.watches, memory.loads
    needs: Mapping[str, Need] = {}
    if not judgement.suspects:
        # Eyes that are not trusted judge neither revisions nor load; what a person asks for is still done.
        watches = _watches(draft, watches)
        loads, needs = autoscale(draft, loads)
    loads = _towards_goals(draft, watches, loads, needs)
    refusals = explain(draft, memory.refusals)
    for name in draft.state.deployments:
        report(draft, name)
    suspects_ms = (memory.suspects_ms or now_ms) if judgement.suspects else 0
    unready = _unready(draft, memory.unready)
    remembered = PlanMemory(now_ms, hearing.nodes, hearing.gateways, suspects_ms, unready, watches, loads, refusals)
    return Plan(tuple(draft.events), remembered, draft.pending, judgement.suspects)


def _watches(draft: Draft, before: Mapping[str, Watch]) -> Mapping[str, Watch]:
    watched = ((name, watch_roll(draft, name, before.get(name))) for name in tuple(draft.state.deployments))
    return MappingProxyType({name: watch for name, watch in watched if watch})


def _towards_goals(
    draft: Draft, watches: Mapping[str, Watch], loads: Mapping[str, LoadMemory], needs: Mapping[str, Need]
) -> Mapping[str, LoadMemory]:
    """Drain what is too much, place what is missing, and look for room where there is none."""
    goals = {name: goal(one, watches.get(name)) for name, one in draft.state.deployments.items()}
    wants = []
    for name, aim in goals.items():
        retire(draft, name, aim)
        wants += missing(draft, name, aim)
    stuck = place_missing(draft, wants)
    placing = {want.deployment for want in wants}
    for name, aim in goals.items():
        if name in stuck or name not in placing:
            make_room(draft, name, aim)
    known = dict(loads)
    if needs:
        give_way(draft, needs, stuck, known)
        soak(draft, needs, stuck, known)
    return MappingProxyType(known)


def _unready(draft: Draft, before: Mapping[str, int]) -> Mapping[str, int]:
    """Say since when replicas that should be ready are not."""
    return MappingProxyType(
        {
            one.id: before.get(one.id, draft.now_ms)
            for one in draft.state.replicas.values()
            if one.phase is Phase.PLACED and not draft.is_ready(one)
        }
    )
