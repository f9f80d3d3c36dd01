"""Making room: which borrowed replicas drain so that one within its owner's guarantee fits, and where."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass

from fastness.core.desired import Needs
from fastness.core.fleet_event import Part
from fastness.core.node import DeviceKind
from fastness.scheduling.account import Holder
from fastness.scheduling.filters import Clears, DeviceType, refused, refused_domain, refused_label, suits, type_of
from fastness.scheduling.offers import Offer

Harm = tuple[int, int, int, int]
"""What draining costs, the least first: devices of the owner's own, of urgent ones, in all, and how old they are."""


@dataclass(frozen=True, slots=True)
class Room:
    """Where a replica will fit: `parts` are the devices to be kept for it, once those in `drain` have drained.

    `drain` is empty when replicas that are on their way out already leave enough.
    """

    parts: tuple[Part, ...]
    drain: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Site:
    """One node as devices of one type: `mine` are all of them, `ready` those that are free or will be anyhow."""

    offer: Offer
    mine: frozenset[str]
    ready: tuple[str, ...]
    size_bytes: int
    victims: tuple[Holder, ...]
    slots: bool

    def devices(self, draining: Collection[str]) -> tuple[str, ...]:
        """The devices that are free once these have drained."""
        return (*self.ready, *(device for one in self.victims if one.id in draining for device in self.held(one)))

    def held(self, one: Holder) -> tuple[str, ...]:
        """What a victim holds here, of this type."""
        here = (part.devices for part in one.parts if part.node == self.offer.node.name)
        return tuple(device for devices in here for device in devices if device in self.mine)

    def fits(self, needs: Needs, draining: Collection[str]) -> bool:
        """Tell whether one part fits once these have drained."""
        if len(self.devices(draining)) < needs.devices:
            return False
        left_bytes = sum(one.device_bytes * len(self.held(one)) for one in self.victims if one.id in draining)
        return not self.slots or self.size_bytes + left_bytes >= needs.devices * needs.device_bytes


def make_room(
    owner: str,
    needs: Needs,
    offers: Iterable[Offer],
    victims: Iterable[Holder],
    clears: Clears,
    domains: Collection[str] = (),
) -> Room | None:
    """Choose nodes and victims so that one replica of `owner` fits with the least harm; None when no choice does.

    What is free and what drains already costs nothing. A gang gets all of its nodes, of one type of device, or none.
    """
    if needs.device_bytes <= 0:
        return None
    on: dict[str, list[Holder]] = defaultdict(list)
    for one in victims:
        for name in {part.node for part in one.parts}:
            on[name].append(one)
    sites: dict[DeviceType, list[_Site]] = defaultdict(list)
    for offer in offers:
        if not _barred(needs, offer, clears, domains):
            for kind in {one for one in map(type_of, offer.node.devices) if suits(needs, one)}:
                sites[kind].append(_site(offer, kind, on[offer.node.name]))

    def harm(one: Holder) -> Harm:
        return one.devices * (one.owner == owner), one.devices * one.urgent, one.devices, -one.term

    best: tuple[Harm, Room] | None = None
    for kind in sorted(sites):
        found = _room(needs, sites[kind], harm)
        if found is not None and (best is None or found[0] < best[0]):
            best = found
    return best[1] if best else None


def _barred(needs: Needs, offer: Offer, clears: Clears, domains: Collection[str]) -> bool:
    if offer.closed or offer.node.pool != needs.pool or refused_domain(needs, offer.node, domains):
        return True
    return bool(refused(needs, offer.node, clears) or refused_label(needs.labels, offer.node.labels))


def _site(offer: Offer, kind: DeviceType, victims: Sequence[Holder]) -> _Site:
    name = offer.node.name
    mine = frozenset(one.id for one in offer.node.devices if type_of(one) == kind)
    ready = tuple(one.id for one in (*offer.devices, *offer.coming) if one.id in mine)
    there = tuple(one for one in victims if any(part.node == name and mine & {*part.devices} for part in one.parts))
    size_bytes = offer.memory_bytes + offer.coming_bytes
    return _Site(offer, mine, ready, size_bytes, there, kind[0] is DeviceKind.CPU)


def _room(needs: Needs, sites: Sequence[_Site], harm: Callable[[Holder], Harm]) -> tuple[Harm, Room] | None:
    """Take the node that costs least, then the next, given what drains already for those before it."""
    chosen: list[_Site] = []
    draining: dict[str, Holder] = {}
    while len(chosen) < needs.nodes:
        costs = [
            (_sum(map(harm, taken)), site.offer.node.name, site, taken)
            for site in sites
            if site not in chosen and (taken := _fewest(needs, site, draining, harm)) is not None
        ]
        if not costs:
            return None
        _, _, site, taken = min(costs, key=lambda one: one[:2])
        chosen.append(site)
        draining.update({one.id: one for one in taken})
    for one in sorted(draining.values(), key=harm, reverse=True):
        if all(site.fits(needs, draining.keys() - {one.id}) for site in chosen):
            del draining[one.id]
    parts = tuple(Part(one.offer.node.name, one.devices(draining)[: needs.devices]) for one in chosen)
    ordered = sorted(draining.values(), key=harm)
    return _sum(map(harm, ordered)), Room(parts, tuple(one.id for one in ordered))


def _fewest(
    needs: Needs, site: _Site, draining: Collection[str], harm: Callable[[Holder], Harm]
) -> list[Holder] | None:
    """Return victims so that a part fits: the least harmful until there is room, less those not needed then."""
    taken: dict[str, Holder] = {}
    for one in sorted(site.victims, key=harm):
        if site.fits(needs, {*draining, *taken}):
            break
        if one.id not in draining:
            taken[one.id] = one
    if not site.fits(needs, {*draining, *taken}):
        return None
    for one in sorted(taken.values(), key=harm, reverse=True):
        if site.fits(needs, {*draining, *taken} - {one.id}):
            del taken[one.id]
    return list(taken.values())


def _sum(harms: Iterable[Harm]) -> Harm:
    own = urgent = devices = age = 0
    for one in harms:
        own, urgent, devices, age = own + one[0], urgent + one[1], devices + one[2], age + one[3]
    return own, urgent, devices, age
