"""plan(state, seen, memory, now) -> what happens next, as events. It never waits and never acts."""

from __future__ import annotations

from dataclasses import dataclass, field

from fastness.core.fleet_event import FleetEvent, ReplicaDraining, ReplicaPlaced, ReplicaRemoved, ReplicaStopping
from fastness.core.fleet_state import FleetState, Phase, PlacedReplica, apply
from fastness.core.observation import Observation
from fastness.core.replica import ReplicaState
from fastness.scheduling.offers import offers
from fastness.scheduling.placement import NodeRefusal, Unplaced, place


@dataclass(frozen=True, slots=True)
class PlanBounds:
    """Numbers that the plan keeps to, in seconds and parts."""

    lost_after_s: float = 5.0
    suspicious_part: float = 0.5


@dataclass(frozen=True, slots=True)
class PlanMemory:
    """What the plan remembers from one time to the next beside the state. Starting without it is safe."""


@dataclass(frozen=True, slots=True)
class Pending:
    """A deployment that has fewer replicas than wanted, and why. `hopes` says what will change that, if anything."""

    deployment: str
    wanted: int
    there: int
    refusals: tuple[NodeRefusal, ...]
    hopes: str = ""


@dataclass(frozen=True, slots=True)
class Plan:
    """What to do: events to record, in order, then to carry out. `pending` is for people."""

    events: tuple[FleetEvent, ...] = ()
    memory: PlanMemory = field(default_factory=PlanMemory)
    pending: tuple[Pending, ...] = ()


def plan(state: FleetState, seen: Observation, memory: PlanMemory, now_ms: int, _bounds: PlanBounds) -> Plan:
    """Return the next steps towards what is wanted. What needs an answer from a node first comes in a later plan."""
    happened: list[FleetEvent] = []

    def note(event: FleetEvent) -> None:
        nonlocal state
        happened.append(event)
        state = apply(state, event)

    for one in tuple(state.replicas.values()):
        if one.phase is Phase.DRAINING and (now_ms >= one.deadline_ms or _is_drained(one, seen)):
            note(ReplicaStopping(one.id, "drained" if now_ms < one.deadline_ms else "its drain deadline has passed"))
        elif one.phase is Phase.STOPPING and _is_gone(one, seen):
            note(ReplicaRemoved(one.id, one.reason))
    pending = []
    for name, deployed in tuple(state.deployments.items()):
        there = [one for one in state.of(name) if one.phase is Phase.PLACED]
        for one in there[deployed.replicas :]:
            note(ReplicaDraining(one.id, now_ms + int(deployed.spec.drain_timeout_s * 1_000), "fewer are wanted"))
        for _ in range(deployed.replicas - len(there)):
            spec = deployed.spec
            found = place(spec.needs, name, spec.model_digest, offers(state, (one.node for one in seen.nodes)))
            if isinstance(found, Unplaced):
                pending.append(Pending(name, deployed.replicas, len(there), found.refusals))
                break
            term = state.term + 1
            note(
                ReplicaPlaced(
                    f"{name}-{term}",
                    name,
                    deployed.revision,
                    found.parts,
                    spec.needs.device_bytes,
                    term,
                    False,
                    found.reason,
                )
            )
    return Plan(tuple(happened), memory, tuple(pending))


def _is_drained(one: PlacedReplica, seen: Observation) -> bool:
    """Every gateway knows that it drains, and has nothing there any more."""
    return all(one.id in report.draining and dict(report.in_flight).get(one.id, 0) == 0 for report in seen.gateways)


def _is_gone(one: PlacedReplica, seen: Observation) -> bool:
    """Every node that has a part of it says, under orders without it, that it does not run there."""
    nodes = {report.node.name: report for report in seen.nodes}
    return all(
        (report := nodes.get(part.node)) is not None
        and report.version >= one.since
        and all(each.id != one.id or each.state is ReplicaState.STOPPED for each in report.replicas)
        for part in one.parts
    )
