"""What is free, kept so that the best place is found without looking at every node, and changed with each placement.

Devices of one type on one node are a shelf. Shelves that no filter tells apart are a group, and lie in it by how many
of their devices are free, and there by failure domain. What differs from node to node beside (labels, neighbours,
models on disk) are exceptions.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import replace

from fastness.core.desired import Needs
from fastness.core.fleet_event import Part
from fastness.core.node import DeviceKind
from fastness.scheduling.filters import Clears, DeviceType, domain_of, identical, refused_place, suits, type_of
from fastness.scheduling.offers import Offer
from fastness.scheduling.shelves import Bin, Group, Shelf


class OfferIndex:
    """The offers of a fleet. `take`, `keep` and `leave` change it as a plan goes on; nothing else does."""

    def __init__(self, offers: Iterable[Offer], clears: Clears = identical) -> None:
        """`clears` tells what a node may handle: `Lattice.dominates`. The order of `offers` makes no difference."""
        self.clears = clears
        self.shelves: list[Shelf] = []
        self.bins: dict[str, Bin] = {}
        self.deployments: dict[str, Counter[str]] = defaultdict(Counter)
        self.counts: Counter[tuple[str, DeviceType]] = Counter()
        self._groups: dict[tuple[object, ...], Group] = {}
        self._profiles: dict[tuple[object, ...], int] = {}
        self._eligible: dict[Needs, tuple[tuple[Group, ...], ...]] = {}
        for offer in sorted(offers, key=_name):
            self._add(offer)

    def __iter__(self) -> Iterator[Offer]:
        """Go through the offers as they are now, by name."""
        for one in self.bins.values():
            if one.changed:
                one.offer, one.changed = self._offer(one), False
            yield one.offer

    def eligible(self, needs: Needs) -> tuple[tuple[Group, ...], ...]:
        """Return the groups that may take one part, those of one type of device together, the least wasteful first.

        First processors, then the least memory that is enough, then the type that there is most of: who needs no scarce
        accelerator leaves it to who does.
        """
        found = self._eligible.get(needs)
        if found is None:
            found = self._eligible[needs] = self._choose(needs)
        return found

    def take(self, deployment: str, parts: Iterable[Part], device_bytes: int) -> None:
        """Note that a replica has been placed."""
        for part in parts:
            self._withdraw(part, device_bytes)
            self.deployments[deployment][part.node] += 1
            one = self.bins[part.node]
            one.offer = replace(one.offer, neighbours=(*one.offer.neighbours, deployment))

    def keep(self, parts: Iterable[Part], device_bytes: int) -> None:
        """Keep devices for a replica that will be placed there, whether they are free now or will be."""
        for part in parts:
            self._withdraw(part, device_bytes)
            self.bins[part.node].kept += len(part.devices)

    def leave(self, parts: Iterable[Part], device_bytes: int) -> None:
        """Note that a replica drains: what it holds is still taken, but will be free. Unknown nodes are none."""
        for part in parts:
            one = self.bins.get(part.node)
            if one is not None:
                left = {device.id: device for device in one.offer.node.devices if device.id in part.devices}
                one.coming |= left
                one.coming_bytes += device_bytes * sum(d.kind is DeviceKind.CPU for d in left.values())
                one.changed = True

    def _withdraw(self, part: Part, device_bytes: int) -> None:
        """Take devices away from what is free or coming. Memory may fall below what is free: it is coming, then."""
        one = self.bins[part.node]
        gone, one.changed = set(part.devices), True
        for shelf in one.shelves:
            before = len(shelf.free)
            shelf.free = [device for device in shelf.free if device not in gone]
            if shelf.group is not None and before != len(shelf.free):
                shelf.group.move(shelf, before)
        one.coming = {name: device for name, device in one.coming.items() if name not in gone}
        slots = sum(device.id in gone and device.kind is DeviceKind.CPU for device in one.offer.node.devices)
        one.memory_bytes -= slots * device_bytes

    def _add(self, offer: Offer) -> None:
        node = offer.node
        coming = {one.id: one for one in offer.coming}
        one = Bin(offer, domain_of(node), frozenset(node.digests), offer.memory_bytes, coming, offer.coming_bytes)
        self.bins[node.name] = one
        free: dict[DeviceType, list[str]] = defaultdict(list)
        for device in offer.devices:
            free[type_of(device)].append(device.id)
        for kind, total in Counter(map(type_of, node.devices)).items():
            shelf = Shelf(len(self.shelves), node.name, one.domain, one, kind, total, free[kind])
            self.shelves.append(shelf)
            one.shelves.append(shelf)
            if not offer.closed:
                self.counts[node.pool, kind] += total
                self._group(shelf).put(shelf)
        place, kinds = node.place, tuple((shelf.kind, shelf.total) for shelf in one.shelves)
        profile = (place.jurisdiction, place.operator, place.ceiling, kinds, node.memory_bytes)
        one.profile = self._profiles.setdefault(profile, len(self._profiles))
        for deployment in offer.neighbours:
            self.deployments[deployment][node.name] += 1

    def _group(self, shelf: Shelf) -> Group:
        node = shelf.bin.offer.node
        place = node.place
        key = (node.pool, place.jurisdiction, place.operator, place.ceiling, shelf.kind, shelf.total)
        if key not in self._groups:
            self._groups[key] = Group(node, shelf.kind, shelf.total)
        return self._groups[key]

    def _choose(self, needs: Needs) -> tuple[tuple[Group, ...], ...]:
        kinds: dict[DeviceType, list[Group]] = defaultdict(list)
        for one in self._groups.values():
            if one.node.pool != needs.pool or one.total < needs.devices or not suits(needs, one.kind):
                continue
            if not refused_place(needs, one.node.place, self.clears):
                kinds[one.kind].append(one)
        order = sorted(
            kinds, key=lambda kind: (kind[0] is DeviceKind.GPU, kind[1], -self.counts[needs.pool, kind], kind)
        )
        return tuple(tuple(kinds[kind]) for kind in order)

    def _offer(self, one: Bin) -> Offer:
        free = {device for shelf in one.shelves for device in shelf.free}
        return replace(
            one.offer,
            devices=tuple(device for device in one.offer.node.devices if device.id in free),
            memory_bytes=one.memory_bytes,
            coming=tuple(one.coming.values()),
            coming_bytes=one.coming_bytes,
        )


def _name(offer: Offer) -> str:
    return offer.node.name
