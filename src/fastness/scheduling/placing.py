"""Who is placed first, what is held back for whom, and who gives devices back."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from fastness.core.desired import DeploymentSpec
from fastness.core.fleet_event import Part, ReplicaPlaced
from fastness.core.fleet_state import PlacedReplica
from fastness.scheduling.draft import Draft
from fastness.scheduling.offers import Offer
from fastness.scheduling.placement import Placement, Unplaced, place


@dataclass(frozen=True, slots=True)
class Want:
    """Replicas of a revision that are to be placed."""

    deployment: str
    revision: int
    count: int


def place_missing(draft: Draft, wants: Iterable[Want]) -> set[str]:
    """Place what is missing; return the deployments for which there is nothing, now or soon.

    Those within their guarantee go first, the urgent before others; of equals one of each in turn, who has least
    first. Devices that will come free are held back for whoever is first in line for them, so that nobody behind takes
    them away piece by piece.
    """
    left, stuck = list(wants), set()
    while left and draft.placements_left > 0:
        line = sorted((_rank(draft, want), number, want) for number, want in enumerate(left))
        first, left = line[0][0][:2], []
        for rank, _, want in line:
            if rank[:2] != first or draft.placements_left <= 0:
                left.append(want)
            elif not _settle(draft, want):
                stuck.add(want.deployment)
            elif want.count > 1:
                left.append(replace(want, count=want.count - 1))
    for want in left:
        draft.pend(want.deployment, hopes="its turn comes next: there is much to place")
    return stuck


def attempt(
    draft: Draft, spec: DeploymentSpec, offers: tuple[Offer, ...], but: tuple[PlacedReplica, ...] = ()
) -> Placement | Unplaced:
    """Look for a place for one replica more. `but` are replicas that will be gone by then."""
    return place(spec.needs, spec.name, spec.model_digest, offers, _domains(draft, spec.name, but))


def settled(draft: Draft, want: Want, found: Placement, borrowed: bool) -> None:
    """Record a placement."""
    spec = draft.deployed(want.deployment).revisions[want.revision]
    term = draft.state.term + 1
    draft.placements_left -= 1
    draft.stock.take(found.parts, spec.needs.device_bytes, spec.name)
    draft.note(
        ReplicaPlaced(
            f"{spec.name}-{term}", spec.name, want.revision, found.parts, spec.needs.device_bytes, term, borrowed,
            found.reason,
        )
    )  # fmt: skip


def hold(draft: Draft, spec: DeploymentSpec, parts: tuple[Part, ...]) -> None:
    """Hold devices back for a deployment until they have come free."""
    draft.stock.take(parts, spec.needs.device_bytes, spec.name)


def devices_of(spec: DeploymentSpec) -> int:
    """Count the devices that one replica takes in all."""
    return spec.needs.devices * spec.needs.nodes


def _rank(draft: Draft, want: Want) -> tuple[bool, bool, int, str, int]:
    spec = draft.deployed(want.deployment).revisions[want.revision]
    verdict = draft.shares.verdict(spec.owner, spec.needs.pool, devices_of(spec))
    there = len(draft.placed(want.deployment))
    return verdict.borrowed or not verdict.allowed, not spec.urgent, there, want.deployment, want.revision


def _settle(draft: Draft, want: Want) -> bool:
    """Place one replica, or hold back what will come free for it; tell whether either could be done."""
    name = want.deployment
    spec = draft.deployed(name).revisions[want.revision]
    verdict = draft.shares.verdict(spec.owner, spec.needs.pool, devices_of(spec))
    found = attempt(draft, spec, draft.stock.free)
    if isinstance(found, Placement) and verdict.allowed:
        settled(draft, want, found, verdict.borrowed)
        return True
    later = attempt(draft, spec, draft.stock.coming())
    parts = later.parts if isinstance(later, Placement) else _reclaim(draft, spec)
    refusals = found.refusals if isinstance(found, Unplaced) else ()
    sentence = "" if verdict.allowed else verdict.sentence
    draft.pend(name, refusals, hopes=_hopes(draft, parts) if parts else "", sentence=sentence)
    hold(draft, spec, parts)
    return bool(parts)


def _reclaim(draft: Draft, spec: DeploymentSpec) -> tuple[Part, ...]:
    """Ask borrowers to give back what an owner is guaranteed, if that helps it; return what is to be held back then."""
    needs, domains = spec.needs, _domains(draft, spec.name)
    room = draft.shares.room(spec.owner, needs.pool, devices_of(spec), draft.stock.free, needs, domains)
    if room is None:
        return ()
    for one in room.drain:
        draft.drain(draft.state.replicas[one], f"its devices are guaranteed to {spec.owner}")
    return room.parts


def _domains(draft: Draft, name: str, but: tuple[PlacedReplica, ...] = ()) -> frozenset[str]:
    gone = {one.id for one in but}
    return draft.stock.domains(one for one in draft.placed(name) if one.id not in gone and not draft.must_move(one))


def _hopes(draft: Draft, later: tuple[Part, ...]) -> str:
    """Say what has to end first, and by when it will have."""
    parts = {(part.node, device) for part in later for device in part.devices}
    taken = draft.state.taken()
    ids = sorted({taken[key] for key in parts if key in taken})
    by_ms = max((draft.state.replicas[one].deadline_ms for one in ids), default=draft.now_ms)
    nodes = ", ".join(sorted({part.node for part in later}))
    return f"{nodes}, when {' and '.join(ids)} end, in {max(0, by_ms - draft.now_ms) / 1_000:.0f} s at the latest"
