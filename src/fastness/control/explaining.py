"""`why`: what a deployment wants and has, what each node says, whose devices they are, and what comes next."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Final

from fastness.control.fleet_views import placed_view, reports, wanted_view
from fastness.control.fleet_wire import SaidView, WhyView
from fastness.control.fleet_words import where
from fastness.control.guarantees import standings
from fastness.control.watching import nodes_of
from fastness.core.desired import DeploymentSpec, Needs
from fastness.core.fleet_state import Deployed, FleetState, Phase, PlacedReplica
from fastness.core.node import POOL
from fastness.core.observation import Observation
from fastness.core.replica import ReplicaState
from fastness.scheduling.account import department_of
from fastness.scheduling.filters import Clears, counted
from fastness.scheduling.offers import offers
from fastness.scheduling.placement import Unplaced, place
from fastness.scheduling.plan import Pending, Plan, PlanBounds, PlanMemory, plan
from fastness.scheduling.promise import broken_promise
from fastness.scheduling.shares import Standing

NODES_SHOWN_MAX: Final = 100
"""Nodes that are spoken of; there may be thousands."""
NOTHING_RUNS: Final = "nothing runs here: what is recorded takes effect at the next start (fastness up)"


@dataclass(frozen=True, slots=True)
class Asked:
    """What is known when somebody asks. `latest` None: nothing plans here; `since_ms`: its last event."""

    state: FleetState
    seen: Observation | None
    latest: Plan | None
    now_ms: int
    since_ms: int | None
    clears: Clears


def explain(asked: Asked, deployed: Deployed) -> WhyView:
    """Explain one deployment; pure. Where nothing plans, the plan is made here, and nothing will carry it out yet."""
    state, seen, spec = asked.state, asked.seen, deployed.spec
    view = wanted_view(state, spec.name, deployed, seen)
    pending = _pending(asked, spec.name)
    return WhyView(
        deployment=spec.name,
        wanted=view.wanted,
        ready=view.ready,
        since_ms=asked.since_ms,
        settled=view.settled,
        needs=needs_text(spec.needs),
        nodes=tuple(_nodes(state, spec, pending)),
        shares=tuple(_shares(asked, spec)),
        replicas=tuple(_replicas(state, spec.name, seen)),
        next=tuple(_next(asked, deployed, pending, view.settled)),
        would_fit=tuple(would_fit(asked, spec)) if pending else (),
    )


def needs_text(needs: Needs) -> str:
    """Say what one replica needs: `2 × h100-80gb with 64.1 GB on each, marking OFFICIAL, law GB`."""
    each = f"{needs.devices} × {needs.accelerator or 'any device'} with {size(needs.device_bytes)} on each"
    parts = [f"{each}, on each of {needs.nodes} nodes at once" if needs.nodes > 1 else f"{each}, on one node"]
    parts.append(f"marking {needs.ceiling}")
    if needs.jurisdictions:
        parts.append(f"law {' or '.join(needs.jurisdictions)}")
    if needs.operators:
        parts.append(f"operator {' or '.join(needs.operators)}")
    if needs.labels:
        parts.append(f"labels {' '.join(needs.labels)}")
    if needs.pool != POOL:
        parts.append(f"pool {needs.pool}")
    if needs.apart:
        parts.append("no two in one failure domain")
    return ", ".join(parts)


def would_fit(asked: Asked, spec: DeploymentSpec) -> Iterator[str]:
    """Say which single concession would let a replica be placed at once."""
    nodes = nodes_of(asked.seen)
    offered = offers(asked.state, nodes)
    for text, less in _concessions(spec.needs, sorted({node.pool for node in nodes})):
        if less == spec.needs:
            continue
        found = place(less, spec.name, spec.model_digest, offered, clears=asked.clears)
        if not isinstance(found, Unplaced):
            yield f"{text}: on {where(found.parts)}"


def size(size_bytes: int) -> str:
    """Write bytes for people: `64.1 GB`."""
    return f"{size_bytes / 1e9:.1f} GB" if size_bytes >= 1e8 else f"{size_bytes / 1e6:.0f} MB"


def clock_text(time_ms: int) -> str:
    """Write a time of day, in UTC."""
    return datetime.fromtimestamp(time_ms / 1_000, UTC).strftime("%H:%M:%SZ")


def _concessions(needs: Needs, pools: Sequence[str]) -> Iterator[tuple[str, Needs]]:
    for label in needs.labels:
        yield f"without the label {label}", replace(needs, labels=tuple(one for one in needs.labels if one != label))
    for pool in pools:
        yield f"in pool {pool}", replace(needs, pool=pool)
    yield f"on another device than {needs.accelerator}", replace(needs, accelerator="")
    yield "under another law", replace(needs, jurisdictions=())
    yield "with another operator", replace(needs, operators=())
    yield "beside a replica in the same failure domain", replace(needs, apart=False)
    for devices in range(needs.devices - 1, 0, -1):
        yield f"on {counted(devices)} with as much memory each", replace(needs, devices=devices)
    for percent in (75, 50, 25):
        less = replace(needs, device_bytes=needs.device_bytes * percent // 100)
        yield f"with {size(less.device_bytes)} on each device, by fewer slots or less context", less


def _pending(asked: Asked, name: str) -> Pending | None:
    made = asked.latest
    if made is None and asked.seen is not None:
        made = plan(asked.state, asked.seen, PlanMemory(), asked.now_ms, PlanBounds(), asked.clears)
    return next((one for one in made.pending if one.deployment == name), None) if made else None


def _nodes(state: FleetState, spec: DeploymentSpec, pending: Pending | None) -> Iterator[SaidView]:
    refusals = pending.refusals if pending else ()
    for one in refusals[:NODES_SHOWN_MAX]:
        held = _held(state, one.node, spec.name)
        yield SaidView(one.node, f"{one.sentence}{f'   ({held})' if held else ''}")
    if len(refusals) > NODES_SHOWN_MAX:
        yield SaidView("…", f"and {len(refusals) - NODES_SHOWN_MAX} more nodes")


def _held(state: FleetState, node: str, name: str) -> str:
    """Say who else holds devices of a node, what of that is borrowed, and what is on its way out."""
    said = []
    for one in sorted(state.replicas.values(), key=lambda one: one.id):
        devices = sum(len(part.devices) for part in one.parts if part.node == node)
        if not devices or one.deployment == name:
            continue
        owner = state.spec_of(one).owner
        text = f"{one.id} of {owner} holds {devices}{', borrowed' if one.borrowed else ''}"
        if one.phase is Phase.DRAINING:
            text += f", drains by {clock_text(one.deadline_ms)}"
        elif one.phase is not Phase.PLACED:
            text += f", {one.phase}"
        said.append(text)
    return "; ".join(said)


def _shares(asked: Asked, spec: DeploymentSpec) -> Iterator[str]:
    department = department_of(spec.owner)
    for owner, pool, one in standings(asked.state, asked.seen, asked.clears):
        if pool == spec.needs.pool and (department_of(owner) == department or one.borrowed):
            yield _standing(owner, pool, one)
    if broken := broken_promise(asked.state.shares, spec.needs.pool, nodes_of(asked.seen)):
        yield broken


def _standing(owner: str, pool: str, one: Standing) -> str:
    promised = f"its share of {one.guaranteed}" if one.guaranteed else "no share"
    more = [f"{one.borrowed} borrowed"] if one.borrowed else []
    more += [f"{one.inside} borrowed within {department_of(owner)}"] if one.inside else []
    more += [f"{one.leaving} on their way out"] if one.leaving else []
    return f"{owner} holds {one.held} of pool {pool}, {promised}{': ' if more else ''}{', '.join(more)}"


def _replicas(state: FleetState, name: str, seen: Observation | None) -> Iterator[str]:
    told = reports(seen)
    diagnosed = {
        each.id: each.diagnosis for report in told.values() for each in report.replicas if each.diagnosis is not None
    }
    for one in state.of(name):
        shown = placed_view(one, told)
        going = shown.stage or shown.state or "ordered, not seen yet"
        text = f"{one.id} on {where(one.parts)}: {_phase_text(one)}{going}"
        reason = f", {one.reason}" if one.reason else ""
        diagnosis = diagnosed.get(one.id)
        if diagnosis is not None and shown.state != ReplicaState.READY:
            reason = f": {diagnosis.summary}. {diagnosis.hint}"
        yield f"{text}{', borrowed' if one.borrowed else ''}{reason}"


def _phase_text(one: PlacedReplica) -> str:
    if one.phase is Phase.PLACED:
        return ""
    return f"draining by {clock_text(one.deadline_ms)}, " if one.phase is Phase.DRAINING else f"{one.phase}, "


def _next(asked: Asked, deployed: Deployed, pending: Pending | None, settled: bool) -> Iterator[str]:
    name = deployed.spec.name
    if asked.seen is None or asked.latest is None:
        yield NOTHING_RUNS
    elif asked.latest.suspects:
        yield f"the control plane suspects itself, and moves nothing: {asked.latest.suspects}"
    if deployed.removed:
        yield f"it was removed by {deployed.by}: it is gone once its last replica is"
    if deployed.rolled_back:
        yield f"a revision was rolled back: {deployed.rolled_back}"
    if deployed.revision != deployed.stable:
        yield f"revision {deployed.revision} takes the place of revision {deployed.stable}"
    if pending is not None:
        yield _hope(asked.state, name, pending)
    elif not settled and not deployed.removed and asked.latest is not None:
        yield "its replicas become ready, without further action"


def _hope(state: FleetState, name: str, pending: Pending) -> str:
    leaving = [one for one in state.replicas.values() if one.phase is Phase.DRAINING and one.deployment != name]
    if pending.hopes:
        return pending.hopes
    if leaving:
        soon = min(leaving, key=lambda one: one.deadline_ms)
        return f"{where(soon.parts)} at {clock_text(soon.deadline_ms)}, without further action"
    return "nothing, until a node has room for it: fastness nodes list shows them"
