"""Who is placed first, what is held back for whom, and who gives devices back."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from fastness.core.desired import DeploymentSpec
from fastness.core.fleet_event import Part, ReplicaPlaced
from fastness.core.fleet_state import PlacedReplica
from fastness.scheduling.draft import Draft
from fastness.scheduling.offer_index import OfferIndex
from fastness.scheduling.placement import WHOLE, NodeRefusal, Placement, Unplaced, find, place
from fastness.scheduling.plan_values import Refused
from fastness.scheduling.wishes import Wish, ordered


@dataclass(frozen=True, slots=True)
class Want:
    """Replicas of a revision that are to be placed."""

    deployment: str
    revision: int
    count: int


def place_missing(draft: Draft, wants: Sequence[Want]) -> set[str]:
    """Place what is missing; return the deployments for which there is nothing, now or soon.

    Devices that will come free are held back for whoever is first in line for them, so that nobody behind takes them
    away piece by piece.
    """
    if not wants:
        return set()
    stuck: set[tuple[str, int]] = set()
    revisions = dict(_wishes(draft, wants))
    for wish in ordered(revisions, draft.stock.free, draft.shares):
        key = wish.deployment, revisions[wish]
        if draft.placements_left <= 0:
            draft.pend(wish.deployment, hopes="its turn comes next: there is much to place")
        elif key not in stuck and not _settle(draft, *key):
            stuck.add(key)
    return {name for name, _ in stuck}


def attempt(
    draft: Draft, spec: DeploymentSpec, offers: OfferIndex, gone: PlacedReplica | None = None
) -> Placement | None:
    """Look for a place for one replica more. `gone` will be away by then."""
    return find(spec.needs, spec.name, spec.model_digest, offers, _domains(draft, spec.name, gone))


def settled(draft: Draft, name: str, revision: int, found: Placement, borrowed: bool) -> None:
    """Record a placement."""
    needs, term = draft.deployed(name).revisions[revision].needs, draft.state.term + 1
    draft.placements_left -= 1
    draft.note(
        ReplicaPlaced(f"{name}-{term}", name, revision, found.parts, needs.device_bytes, term, borrowed, found.reason)
    )


def _wishes(draft: Draft, wants: Iterable[Want]) -> Iterator[tuple[Wish, int]]:
    """Make a wish of each replica that is wanted, with its revision; no two are the same."""
    there: Counter[str] = Counter()
    for want in wants:
        spec = draft.deployed(want.deployment).revisions[want.revision]
        if want.deployment not in there:
            there[want.deployment] = len(draft.placed(want.deployment))
        for _ in range(want.count):
            number = there[want.deployment]
            there[want.deployment] += 1
            yield Wish(spec.name, spec.owner, spec.needs, spec.model_digest, number, spec.urgent), want.revision


def _settle(draft: Draft, name: str, revision: int) -> bool:
    """Place one replica, or hold back what will come free for it; tell whether either could be done."""
    spec, stock = draft.deployed(name).revisions[revision], draft.stock
    verdict = draft.shares.verdict(spec.owner, spec.needs.pool, spec.needs.devices_in_all)
    found = attempt(draft, spec, stock.free)
    if found and verdict.allowed:
        stock.take(found.parts, spec.needs.device_bytes, name)
        settled(draft, name, revision, found, verdict.borrowed)
        return True
    later = attempt(draft, spec, stock.coming)
    parts = later.parts if later else _reclaim(draft, spec)
    draft.lacking.setdefault(name, revision)
    if not draft.is_pending(name):
        why = () if verdict.allowed else (NodeRefusal(WHOLE, verdict.sentence),)
        draft.pend(name, why, hopes=_hopes(draft, parts) if parts else "")
    stock.keep(parts, spec.needs.device_bytes)
    return bool(parts)


def _reclaim(draft: Draft, spec: DeploymentSpec) -> tuple[Part, ...]:
    """Ask borrowers to give back what an owner is guaranteed, if that helps it; return what is to be held back then."""
    needs, domains = spec.needs, _domains(draft, spec.name)
    room = draft.shares.room(spec.owner, needs.pool, spec.needs.devices_in_all, draft.stock.free, needs, domains)
    if room is None:
        return ()
    for one in room.drain:
        draft.drain(draft.state.replicas[one], f"its devices are guaranteed to {spec.owner}")
    return room.parts


def _domains(draft: Draft, name: str, gone: PlacedReplica | None = None) -> frozenset[str]:
    """Return where a deployment has replicas: those on a node that is emptied count until they drain."""
    return draft.stock.domains(one for one in draft.placed(name) if one is not gone)


def _hopes(draft: Draft, later: tuple[Part, ...]) -> str:
    """Say what has to end first, and by when it will have."""
    parts = {(part.node, device) for part in later for device in part.devices}
    taken = draft.state.taken()
    ids = sorted({taken[key] for key in parts if key in taken})
    by_ms = max((draft.state.replicas[one].deadline_ms for one in ids), default=draft.now_ms)
    nodes = ", ".join(sorted({part.node for part in later}))
    return f"{nodes}, when {' and '.join(ids)} end, in {max(0, by_ms - draft.now_ms) / 1_000:.0f} s at the latest"


def explain(draft: Draft, before: Mapping[str, Refused]) -> Mapping[str, Refused]:
    """Say of each deployment that lacks a place why each node refuses it, the longest unsaid first.

    On large fleets not all are looked at anew in each plan, since that takes longer than all the rest of it.
    """
    said: dict[str, Refused] = {}
    left = draft.bounds.refusals_max
    for name in sorted(draft.lacking, key=lambda one: (before[one].at_ms if one in before else 0, one)):
        told = before.get(name)
        if left > 0 or told is None:
            spec = draft.deployed(name).revisions[draft.lacking[name]]
            found = place(spec.needs, name, spec.model_digest, draft.stock.free, _domains(draft, name))
            told = Refused(draft.now_ms, found.refusals if isinstance(found, Unplaced) else ())
            left -= len(told.refusals)
        said[name] = told
        draft.pend(name, told.refusals)
    return MappingProxyType(said)
