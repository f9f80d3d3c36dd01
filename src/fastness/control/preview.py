"""What would happen: the plan, played against a fleet on which everything goes well."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from fastness.core.fleet_event import FleetEvent
from fastness.core.fleet_state import FleetState, Phase, fold
from fastness.core.observation import GatewayReport, NodeReport, Observation
from fastness.core.replica import Replica, ReplicaState
from fastness.scheduling.orders import orders
from fastness.scheduling.plan import Pending, PlanBounds, PlanMemory, plan

ROUNDS_MAX: Final = 200
QUIET_ROUNDS: Final = 3
ROUND_MS: Final = 1_000
EVENTS_MAX: Final = 1_000


@dataclass(frozen=True, slots=True)
class Preview:
    """The events that would follow, what would still be missing at the end, and whether all is then as wanted."""

    events: tuple[FleetEvent, ...]
    pending: tuple[Pending, ...]
    complete: bool


def preview(state: FleetState, seen: Observation, decided: Sequence[FleetEvent], now_ms: int) -> Preview:
    """Play what follows if `decided` happened now: nodes obey at once, replicas become ready, nothing is running."""
    state, memory, happened, pending = fold(decided, state), PlanMemory(), list[FleetEvent](), tuple[Pending, ...]()
    quiet = 0
    for _ in range(ROUNDS_MAX):
        made = plan(state, obedient(state, seen, now_ms), memory, now_ms, PlanBounds())
        state, memory, pending = fold(made.events, state), made.memory, made.pending
        happened += made.events
        quiet = 0 if made.events else quiet + 1
        if quiet == QUIET_ROUNDS or len(happened) > EVENTS_MAX:
            break
        now_ms += _pause_ms(state) if quiet else ROUND_MS
    return Preview(tuple(happened[:EVENTS_MAX]), pending, quiet == QUIET_ROUNDS and _is_settled(state))


def obedient(state: FleetState, seen: Observation, now_ms: int) -> Observation:
    """Return what would be seen if every node had done all of its orders, and gateways had nothing to do."""
    reports = []
    for one in seen.nodes:
        assigned = orders(state, one.node.name).assignments
        replicas = tuple(
            Replica(
                each.replica, each.spec.model, each.spec.parameters.engine, ReplicaState.READY, "", 1, 1, 1, True,
                node=one.node.name, deployment=each.spec.name, revision=each.revision,
                model_digest=each.spec.model_digest, term=each.term,
            )
            for each in assigned
        )  # fmt: skip
        reports.append(NodeReport(one.node, now_ms, state.sequence, replicas))
    draining = tuple(one.id for one in state.replicas.values() if one.phase is Phase.DRAINING)
    gateway = GatewayReport("preview", now_ms, state.sequence, draining)
    return Observation(now_ms, tuple(reports), (gateway,))


def _pause_ms(state: FleetState) -> int:
    """While a canary is watched nothing happens: the time until it was watched long enough is left out."""
    watched = [one.spec.rollout.hold_s for one in state.deployments.values() if one.revision != one.stable]
    return ROUND_MS + int(max(watched, default=0) * 1_000)


def _is_settled(state: FleetState) -> bool:
    return all(
        not deployed.removed
        and deployed.revision == deployed.stable
        and len(placed := state.of(name)) == deployed.replicas
        and all(one.phase is Phase.PLACED and one.revision == deployed.revision for one in placed)
        for name, deployed in state.deployments.items()
    )
