"""What may be placed on within one plan: free now, coming free, and held back for those it was promised to."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from fastness.core.fleet_event import Part
from fastness.core.fleet_state import FleetState, PlacedReplica
from fastness.core.node import DeviceKind, FleetNode
from fastness.scheduling.filters import domain_of
from fastness.scheduling.offers import Offer, offers


class Stock:
    """Offers, kept up to date while a plan is made. What is taken of them is gone for everybody else in this plan.

    `silent_s` are nodes not heard of for a while: nothing is placed there until they speak again.
    """

    def __init__(self, state: FleetState, nodes: Iterable[FleetNode], silent_s: Mapping[str, float]) -> None:
        self._offers = {one.node.name: one for one in offers(state, nodes)}
        for name, quiet_s in silent_s.items():
            if (one := self._offers.get(name)) and not one.closed:
                self._offers[name] = replace(one, closed=f"nothing was heard of it for {quiet_s:.1f} s")

    @property
    def free(self) -> tuple[Offer, ...]:
        """What is free now."""
        return tuple(self._offers.values())

    def coming(self, gone: Iterable[PlacedReplica] = ()) -> tuple[Offer, ...]:
        """What is free now or will be, once what drains has drained; and, if they were to go, too, `gone`."""
        changed = dict(self._offers)
        for one in gone:
            _expect(changed, one)
        return tuple(_arrived(one) if one.coming else one for one in changed.values())

    def expect(self, replica: PlacedReplica) -> None:
        """Count on what a replica holds: it drains."""
        _expect(self._offers, replica)

    def take(self, parts: Iterable[Part], device_bytes: int, deployment: str) -> None:
        """Take devices, or hold back for a deployment those that are still to come free."""
        for part in parts:
            self._offers[part.node] = _without(self._offers[part.node], part, device_bytes, deployment)

    def domains(self, replicas: Iterable[PlacedReplica]) -> frozenset[str]:
        """Return the failure domains where these replicas are."""
        parts = (part for one in replicas for part in one.parts)
        return frozenset(domain_of(offer.node) for part in parts if (offer := self._offers.get(part.node)))


def _arrived(offer: Offer) -> Offer:
    there = {one.id for one in (*offer.devices, *offer.coming)}
    return replace(
        offer,
        devices=tuple(one for one in offer.node.devices if one.id in there),
        memory_bytes=offer.memory_bytes + offer.coming_bytes,
        coming=(),
        coming_bytes=0,
    )


def _expect(offers: dict[str, Offer], replica: PlacedReplica) -> None:
    for part in replica.parts:
        if offer := offers.get(part.node):
            theirs = tuple(one for one in offer.node.devices if one.id in part.devices)
            offers[part.node] = replace(
                offer,
                coming=(*offer.coming, *theirs),
                coming_bytes=offer.coming_bytes
                + replica.device_bytes * sum(one.kind is DeviceKind.CPU for one in theirs),
            )


def _without(offer: Offer, part: Part, device_bytes: int, deployment: str) -> Offer:
    """Take a part out of an offer. What it takes of the memory is free now as far as its devices are."""
    slots = [one.id for one in offer.node.devices if one.kind is DeviceKind.CPU and one.id in part.devices]
    later = {one.id for one in offer.coming}
    return replace(
        offer,
        devices=tuple(one for one in offer.devices if one.id not in part.devices),
        memory_bytes=offer.memory_bytes - device_bytes * sum(one not in later for one in slots),
        coming=tuple(one for one in offer.coming if one.id not in part.devices),
        coming_bytes=offer.coming_bytes - device_bytes * sum(one in later for one in slots),
        neighbours=(*offer.neighbours, deployment),
    )
