"""Where a replica goes: filter, fit, score, with the reason of every refusal."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass

from fastness.core.desired import Needs
from fastness.core.fleet_event import Part
from fastness.scheduling.filters import (
    Clears,
    counted,
    gigabytes,
    identical,
    refused,
    refused_domain,
    refused_label,
    suits,
)
from fastness.scheduling.offer_index import OfferIndex
from fastness.scheduling.offers import Offer as Offer
from fastness.scheduling.score import Search, reason
from fastness.scheduling.shelves import Bin

WHOLE = ""
"""In the place of a node's name: no single node is to blame."""


@dataclass(frozen=True, slots=True)
class NodeRefusal:
    """Why a node cannot take it: `what` was needed of it is in the sentence."""

    node: str
    sentence: str


@dataclass(frozen=True, slots=True)
class Placement:
    """Where it goes, and why there."""

    parts: tuple[Part, ...]
    reason: str


@dataclass(frozen=True, slots=True)
class Unplaced:
    """It fits nowhere now; one refusal for each node of its pool, and one for the whole where no node is to blame."""

    refusals: tuple[NodeRefusal, ...]


def place(
    needs: Needs,
    deployment: str,
    digest: str,
    offers: Iterable[Offer] | OfferIndex,
    domains: Collection[str] = (),
    clears: Clears = identical,
) -> Placement | Unplaced:
    """Choose devices for one replica. `domains` are the failure domains where its deployment has replicas already.

    An index brings its own `clears`, and is not changed: whoever goes on with the placement tells it by `take`.
    """
    index = offers if isinstance(offers, OfferIndex) else OfferIndex(offers, clears)
    if senseless := _senseless(needs):
        return Unplaced((NodeRefusal(WHOLE, senseless),))
    found = find(needs, deployment, digest, index, domains)
    return found or Unplaced(tuple(_refusals(needs, index, domains)))


def find(
    needs: Needs, deployment: str, digest: str, index: OfferIndex, domains: Collection[str] = ()
) -> Placement | None:
    """Choose as `place` does, without a sentence for each node on why not: on a thousand nodes these take longest."""
    if _senseless(needs):
        return None
    search = Search(index, needs, deployment, digest, domains)
    chosen = search.shelves()
    if not chosen:
        return None
    parts = tuple(Part(one.name, tuple(one.free[: needs.devices])) for one in chosen)
    return Placement(parts, reason(search, chosen))


def _senseless(needs: Needs) -> str:
    """Say why needs can be met by nothing. What it takes and is not known is more than there is."""
    if needs.device_bytes <= 0:
        return "the memory that it takes on a device is not known, and without that it is placed nowhere"
    if needs.devices < 1 or needs.nodes < 1:
        return f"a replica takes 1 device or more on 1 node or more, not {needs.devices} on {needs.nodes}"
    return ""


def _refusals(needs: Needs, index: OfferIndex, domains: Collection[str]) -> Iterator[NodeRefusal]:
    there = [one for one in index.bins.values() if one.offer.node.pool == needs.pool]
    if not there:
        pools = ", ".join(sorted({one.offer.node.pool for one in index.bins.values()})) or "none"
        yield NodeRefusal(WHOLE, f"no node is in pool {needs.pool}; there are {pools}")
    never: dict[int, str] = {}
    for one in there:
        if one.profile not in never:
            never[one.profile] = refused(needs, one.offer.node, index.clears)
    sentences = [(one.offer.node.name, never[one.profile] or _refusal(needs, one, domains)) for one in there]
    if could := sum(not sentence for _, sentence in sentences):
        said = f"{could} of the {needs.nodes} nodes that it needs at once, alike in devices, could take a part now"
        yield NodeRefusal(WHOLE, said)
    for name, sentence in sentences:
        yield NodeRefusal(name, sentence or f"could take one of {needs.nodes} parts")


def _refusal(needs: Needs, one: Bin, domains: Collection[str]) -> str:
    """Say why a node that could take a part does not now: first what will not change by itself, then what may."""
    node = one.offer.node
    label = refused_label(needs.labels, node.labels) if needs.labels else ""
    return label or one.offer.closed or refused_domain(needs, node, domains) or _too_little(needs, one)


def _too_little(needs: Needs, one: Bin) -> str:
    shelves = [shelf for shelf in one.shelves if suits(needs, shelf.kind) and shelf.total >= needs.devices]
    best = max(shelves, key=lambda shelf: (shelf.has_memory(needs), len(shelf.free)))
    if len(best.free) >= needs.devices:
        if best.has_memory(needs):
            return ""
        has, wants = gigabytes(max(0, one.memory_bytes)), gigabytes(needs.devices * needs.device_bytes)
        return f"{has} of memory free of {gigabytes(one.offer.node.memory_bytes)}, needs {wants}"
    said = f"{counted(len(best.free))} free of {best.total}, needs {needs.devices}"
    coming = f"; {len(one.coming)} on their way out" if one.coming else ""
    kept = f"; {one.kept} kept for a replica within a guarantee" if one.kept else ""
    return f"{said}{coming}{kept}"
