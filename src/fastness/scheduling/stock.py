"""What may be placed on within one plan: free now, coming free, and held back for those it was promised to."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from fastness.core.fleet_event import Part
from fastness.core.fleet_state import FleetState, PlacedReplica
from fastness.core.node import FleetNode
from fastness.scheduling.filters import Clears
from fastness.scheduling.offer_index import OfferIndex
from fastness.scheduling.offers import Offer, offers


class Stock:
    """Offers, kept up to date while a plan is made. What is taken of them is gone for everybody else in this plan.

    `silent_s` are nodes not heard of for a while: nothing is placed there until they speak again.
    """

    def __init__(
        self, state: FleetState, nodes: Iterable[FleetNode], silent_s: Mapping[str, float], clears: Clears
    ) -> None:
        self.free = OfferIndex((_open(one, silent_s.get(one.node.name)) for one in offers(state, nodes)), clears)
        """What is free now."""
        self._coming: OfferIndex | None = None

    @property
    def coming(self) -> OfferIndex:
        """What is free now or will be, once what drains has drained."""
        if self._coming is None:
            offers_now = tuple(self.free)
            if not any(one.coming for one in offers_now):
                return self.free
            self._coming = OfferIndex(map(_arrived, offers_now), self.free.clears)
        return self._coming

    def instead_of(self, gone: PlacedReplica) -> OfferIndex:
        """What would be free on the nodes of a replica if it were to go."""
        nodes = {part.node for part in gone.parts}
        index = OfferIndex((one for one in self.free if one.node.name in nodes), self.free.clears)
        index.leave(gone.parts, gone.device_bytes)
        return OfferIndex(map(_arrived, index), self.free.clears)

    def expect(self, replica: PlacedReplica) -> None:
        """Count on what a replica holds: it drains."""
        self.free.leave(replica.parts, replica.device_bytes)
        self._coming = None

    def take(self, parts: tuple[Part, ...], device_bytes: int, deployment: str) -> None:
        """Place a replica of a deployment."""
        self.free.take(deployment, parts, device_bytes)
        if self._coming:
            self._coming.take(deployment, parts, device_bytes)

    def keep(self, parts: tuple[Part, ...], device_bytes: int) -> None:
        """Hold devices back, free or still to come, for a replica that will be placed there."""
        self.free.keep(parts, device_bytes)
        if self._coming:
            self._coming.keep(parts, device_bytes)

    def domains(self, replicas: Iterable[PlacedReplica]) -> frozenset[str]:
        """Return the failure domains where these replicas are."""
        bins = self.free.bins
        return frozenset(bins[part.node].domain for one in replicas for part in one.parts if part.node in bins)


def _open(offer: Offer, silent_s: float | None) -> Offer:
    if silent_s is None or offer.closed:
        return offer
    return replace(offer, closed=f"nothing was heard of it for {silent_s:.1f} s")


def _arrived(offer: Offer) -> Offer:
    """Return an offer as it will be once what is on its way out is gone."""
    if not offer.coming:
        return offer
    there = {one.id for one in (*offer.devices, *offer.coming)}
    return replace(
        offer,
        devices=tuple(one for one in offer.node.devices if one.id in there),
        memory_bytes=offer.memory_bytes + offer.coming_bytes,
        coming=(),
        coming_bytes=0,
    )
