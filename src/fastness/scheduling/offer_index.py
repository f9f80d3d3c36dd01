"""What is free, kept so that the best place is found without looking at every node, and changed with each placement.

Devices of one type on one node are a shelf. Shelves that no filter tells apart are a group, and lie in it by how many
of their devices are free, and there by failure domain. What differs from node to node beside (labels, neighbours,
models on disk) are exceptions.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace

from fastness.core.desired import Needs
from fastness.core.fleet_event import Part
from fastness.core.node import Device, DeviceKind, FleetNode
from fastness.scheduling.filters import Clears, DeviceType, domain_of, identical, refused_place, suits, type_of
from fastness.scheduling.offers import Offer


@dataclass(slots=True)
class Bin:
    """One node: what was offered of it, and what has changed since. `kept` counts devices kept for a replica.

    Of nodes with the same `profile` the same can be said in all that does not change but labels.
    """

    offer: Offer
    domain: str
    digests: frozenset[str]
    memory_bytes: int
    coming: dict[str, Device]
    coming_bytes: int
    shelves: list[Shelf] = field(default_factory=list)
    profile: tuple[object, ...] = ()
    kept: int = 0
    changed: bool = False


@dataclass(slots=True)
class Shelf:
    """The devices of one type on one node: `free` are ids, in the order of the node. `order` is its place by name."""

    order: int
    name: str
    domain: str
    bin: Bin
    kind: DeviceType
    total: int
    free: list[str]
    group: Group | None = None

    def has_memory(self, needs: Needs) -> bool:
        """Tell whether the node's memory is enough for one part, where devices have none of their own."""
        return self.kind[0] is not DeviceKind.CPU or self.bin.memory_bytes >= needs.devices * needs.device_bytes


class Row:
    """Shelves of one group with the same number of free devices: `domains` sorted, and the orders in each, sorted."""

    __slots__ = ("domains", "orders")

    def __init__(self) -> None:
        """It begins empty."""
        self.domains: list[str] = []
        self.orders: dict[str, list[int]] = {}

    def put(self, shelf: Shelf) -> None:
        """Put a shelf in."""
        if shelf.domain not in self.orders:
            insort(self.domains, shelf.domain)
            self.orders[shelf.domain] = []
        insort(self.orders[shelf.domain], shelf.order)

    def remove(self, shelf: Shelf) -> None:
        """Take a shelf out."""
        there = self.orders[shelf.domain]
        del there[bisect_left(there, shelf.order)]
        if not there:
            del self.orders[shelf.domain]
            del self.domains[bisect_left(self.domains, shelf.domain)]


class Rows:
    """Shelves by how many of their devices are free: `rows[n]` has those with n."""

    __slots__ = ("rows",)

    def __init__(self, total: int) -> None:
        """`total` is the devices of each."""
        self.rows = [Row() for _ in range(total + 1)]

    def put(self, shelf: Shelf) -> None:
        """Put a shelf in."""
        self.rows[len(shelf.free)].put(shelf)

    def move(self, shelf: Shelf, before: int) -> None:
        """Put a shelf, which had `before` devices free, where it belongs now."""
        self.rows[before].remove(shelf)
        self.rows[len(shelf.free)].put(shelf)


class Group:
    """Shelves that filters do not tell apart, of open nodes: all of them, and those with a model on their disk."""

    def __init__(self, node: FleetNode, kind: DeviceType, total: int) -> None:
        """`node` is any of them; `total` the devices of each."""
        self.node, self.kind, self.total, self.size = node, kind, total, 0
        self.all = Rows(total)
        self.with_model: dict[str, Rows] = {}

    def put(self, shelf: Shelf) -> None:
        """Put a shelf in."""
        shelf.group = self
        self.size += 1
        self.all.put(shelf)
        for digest in shelf.bin.digests:
            if digest not in self.with_model:
                self.with_model[digest] = Rows(self.total)
            self.with_model[digest].put(shelf)

    def move(self, shelf: Shelf, before: int) -> None:
        """Put a shelf, which had `before` devices free, where it belongs now."""
        self.all.move(shelf, before)
        for digest in shelf.bin.digests:
            self.with_model[digest].move(shelf, before)


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
        one.profile = (place.jurisdiction, place.operator, place.ceiling, kinds, node.memory_bytes)
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
