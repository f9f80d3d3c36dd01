"""Devices of one type on one node are a shelf; those that no filter tells apart lie together, by what is free there."""

from __future__ import annotations

from bisect import bisect_left, insort
from dataclasses import dataclass, field

from fastness.core.desired import Needs
from fastness.core.node import Device, DeviceKind, FleetNode
from fastness.scheduling.filters import DeviceType
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
    profile: int = 0
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
