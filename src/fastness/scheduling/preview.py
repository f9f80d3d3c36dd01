"""What would happen: the plan, played against a fleet on which everything goes well. Pure, and bounded."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import Final

from fastness.core.fleet_event import FleetEvent
from fastness.core.fleet_state import FleetState, Phase, fold
from fastness.core.observation import Assignment, GatewayReport, NodeOrders, NodeReport, Observation
from fastness.core.replica import Replica, ReplicaState
from fastness.scheduling.filters import Clears, identical
from fastness.scheduling.orders import orders_of
from fastness.scheduling.plan import Pending, PlanBounds, PlanMemory, plan

ROUNDS_MAX: Final = 400
EVENTS_MAX: Final = 2_000
ROUND_MS: Final = 1_000
QUIET_ROUNDS: Final = 5
"""After so many rounds in which nothing happens, nothing will."""


@dataclass(frozen=True, slots=True)
class Preview:
    """The events that would follow, what would still be missing at the end, and whether all is then as wanted."""

    events: tuple[FleetEvent, ...]
    pending: tuple[Pending, ...]
    complete: bool


def preview(
    state: FleetState,
    seen: Observation,
    memory: PlanMemory,
    now_ms: int,
    bounds: PlanBounds,
    changes: Sequence[FleetEvent],
    clears: Clears = identical,
) -> Preview:
    """Play what follows if `changes` happened now: nodes obey at once, engines come up, no answer runs, nobody asks.

    Nodes that are silent stay so. Raises Impossible for changes that cannot follow the state.
    """
    state, happened, pending, quiet = fold(changes, state), list[FleetEvent](), tuple[Pending, ...](), 0
    silent = {name for name, one in memory.nodes.items() if now_ms - one.heard_ms > bounds.lost_after_s * 500}
    for _ in range(ROUNDS_MAX):
        made = plan(state, _obedient(state, seen, silent, now_ms), memory, now_ms, bounds, clears)
        state, memory, pending = fold(made.events, state), made.memory, made.pending
        happened += made.events
        quiet = 0 if made.events else quiet + 1
        if quiet == QUIET_ROUNDS or len(happened) > EVENTS_MAX:
            break
        now_ms += ROUND_MS if made.events else ROUND_MS + _pause_ms(state)
    complete = quiet == QUIET_ROUNDS and not pending and _is_settled(state)
    return Preview(tuple(happened[:EVENTS_MAX]), pending, complete)


def _obedient(state: FleetState, seen: Observation, silent: Collection[str], now_ms: int) -> Observation:
    """Return what would be seen if every node had done what it was ordered, and gateways had nothing to do."""
    ordered = orders_of(state, (one.node.name for one in seen.nodes))
    reports = tuple(
        one if one.node.name in silent else _report(one, ordered[one.node.name], now_ms) for one in seen.nodes
    )
    draining = tuple(one.id for one in state.replicas.values() if one.phase is Phase.DRAINING)
    return Observation(now_ms, reports, (GatewayReport("", now_ms, state.sequence, draining),))


def _report(one: NodeReport, ordered: NodeOrders, now_ms: int) -> NodeReport:
    up = tuple(_up(each) for each in ordered.assignments)
    return replace(one, at_ms=now_ms, version=ordered.version, replicas=up)


def _up(one: Assignment) -> Replica:
    return replace(one.as_replica(ReplicaState.READY if one.routed else ReplicaState.DRAINING), epoch=1)


def _pause_ms(state: FleetState) -> int:
    """While a canary is watched nothing happens: the time until it was watched long enough is left out."""
    watched = (one.spec.rollout.hold_s for one in state.deployments.values() if one.revision != one.stable)
    return int(max(watched, default=0.0) * 1_000)


def _is_settled(state: FleetState) -> bool:
    return all(
        not deployed.removed
        and deployed.revision == deployed.stable
        and len(there := state.of(name)) == deployed.replicas
        and all(one.phase is Phase.PLACED and one.revision == deployed.revision for one in there)
        for name, deployed in state.deployments.items()
    )
