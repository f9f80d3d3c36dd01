"""Small random fleets, and the best that can be done on each, by trying everything: what placement is held against.

The measure is devices put to work: a replica that is placed counts as the devices that it takes, one that is not as
none. The optimum keeps every hard condition, knows all wishes before it places the first, and cares for nothing else.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache
from itertools import combinations
from random import Random
from typing import Final

from fastness.core.desired import Needs
from fastness.core.marking import Label, Node
from fastness.core.node import Device, DeviceKind, FleetNode
from fastness.scheduling.filters import domain_of, refused_label, refused_place, suits, type_of
from fastness.scheduling.offer_index import OfferIndex
from fastness.scheduling.offers import Offer
from fastness.scheduling.placement import Placement
from fastness.scheduling.shares import Shares
from fastness.scheduling.wishes import Wish, ordered, place_all

GB: Final = 10**9
OFFICIAL: Final = Label("OFFICIAL")
SECRET: Final = Label("SECRET")
TYPES: Final = (("h100-80gb", 80), ("h100-80gb", 80), ("l4-24gb", 24), ("cpu", 0))


@dataclass(frozen=True, slots=True)
class Case:
    """A fleet with nothing on it, and what is wanted of it."""

    nodes: tuple[FleetNode, ...]
    wishes: tuple[Wish, ...]

    @property
    def offers(self) -> list[Offer]:
        """Everything is free."""
        return [Offer(one, one.devices, one.memory_bytes) for one in self.nodes]


def clears(ceiling: Label, label: Label) -> bool:
    """SECRET is above OFFICIAL."""
    return ceiling in (label, SECRET)


def case(seed: int, nodes_max: int = 5, wishes_max: int = 10) -> Case:
    """Draw a fleet, and about as much as it can hold, at times more and at times less."""
    dice = Random(f"placement {seed}")
    nodes = tuple(_node(dice, number) for number in range(dice.randint(2, nodes_max)))
    room = sum(len(one.devices) for one in nodes) * dice.uniform(0.7, 1.3)
    wishes: list[Wish] = []
    while room > 0 and len(wishes) < wishes_max:
        needs = _needs(dice)
        for there in range(dice.choice((1, 1, 2, 3))):
            wishes.append(Wish(f"d{len(wishes) - there}", "health", needs, "", there))
            room -= needs.devices_in_all
    return Case(nodes, tuple(wishes[:wishes_max]))


def optimum(case: Case) -> int:
    """Return the most devices that any choice of places puts to work."""
    shelves = [
        (node, kind, sum(type_of(one) == kind for one in node.devices))
        for node in case.nodes
        for kind in sorted(set(map(type_of, node.devices)))
    ]
    wishes = sorted(case.wishes, key=lambda one: (one.deployment, one.there))
    choices = [_choices(one.needs, shelves) for one in wishes]
    rest = [sum(one.devices for one in wishes[number:]) for number in range(len(wishes) + 1)]

    @cache
    def most(number: int, free: tuple[int, ...], memory: tuple[int, ...], used: frozenset[str]) -> int:
        if number == len(wishes):
            return 0
        one = wishes[number]
        if number and wishes[number - 1].deployment != one.deployment:
            used = frozenset()
        best = most(number + 1, free, memory, used)
        for chosen in choices[number]:
            if best == rest[number]:
                break
            after = _after(one.needs, chosen, shelves, free, memory, used)
            if after is not None:
                best = max(best, one.devices + most(number + 1, *after))
        return best

    free = tuple(total for _, _, total in shelves)
    return most(0, free, tuple(node.memory_bytes for node, _, _ in shelves), frozenset())


def placed(case: Case, planned: bool = True) -> int:
    """Return the devices that our placement puts to work: knowing all wishes, or one after the other as they come."""
    index, shares = OfferIndex(case.offers, clears), Shares({}, {}, (), clears)
    wishes = ordered(case.wishes, index, shares) if planned else case.wishes
    return sum(one.devices for one, found in place_all(wishes, index, shares) if isinstance(found, Placement))


def _node(dice: Random, number: int) -> FleetNode:
    accelerator, gb = dice.choice(TYPES)
    kind = DeviceKind.GPU if gb else DeviceKind.CPU
    count = dice.choice((1, 2, 4, 4, 8))
    devices = tuple(Device(f"{kind}-{one}", kind, accelerator, gb * GB) for one in range(count))
    if gb and dice.random() < 0.15:
        devices += (Device("gpu-small", DeviceKind.GPU, "l4-24gb", 24 * GB),)
    ceiling = SECRET if dice.random() < 0.4 else OFFICIAL
    place = Node(f"n{number}", dice.choice(("GB", "GB", "IE")), "crown", "GB", ceiling)
    labels = (("tier", "gold"),) if dice.random() < 0.3 else ()
    return FleetNode(place, devices, dice.choice((32, 64)) * GB, dice.choice(("", "a", "b")), labels=labels)


def _needs(dice: Random) -> Needs:
    found = Needs(
        SECRET if dice.random() < 0.25 else OFFICIAL,
        dice.choice((5, 10, 20, 40)) * GB,
        dice.choice((1, 1, 1, 2, 2, 4, 8)),
        2 if dice.random() < 0.15 else 1,
        dice.choice(("", "", "h100-80gb", "l4-24gb")),
        jurisdictions=("GB",) if dice.random() < 0.3 else (),
        labels=dice.choice(((), (), (), ("tier=gold",), ("!tier",))),
        apart=dice.random() < 0.2,
    )
    return replace(found, devices=min(found.devices, 4)) if found.nodes > 1 else found


def _choices(needs: Needs, shelves: list[tuple[FleetNode, object, int]]) -> list[tuple[int, ...]]:
    able = [
        number
        for number, (node, kind, total) in enumerate(shelves)
        if suits(needs, kind)  # type: ignore[arg-type]
        and total >= needs.devices
        and not refused_place(needs, node.place, clears)
        and not refused_label(needs.labels, node.labels)
    ]
    return [one for one in combinations(able, needs.nodes) if len({shelves[number][1] for number in one}) == 1]


def _after(
    needs: Needs,
    chosen: tuple[int, ...],
    shelves: list[tuple[FleetNode, object, int]],
    free: tuple[int, ...],
    memory: tuple[int, ...],
    used: frozenset[str],
) -> tuple[tuple[int, ...], tuple[int, ...], frozenset[str]] | None:
    left, left_bytes = list(free), list(memory)
    for number in chosen:
        left[number] -= needs.devices
        slots = next(iter(shelves[number][0].devices)).kind is DeviceKind.CPU
        left_bytes[number] -= needs.devices * needs.device_bytes * slots
    domains = {domain_of(shelves[number][0]) for number in chosen}
    if min(left) < 0 or min(left_bytes) < 0 or (needs.apart and domains & used):
        return None
    return tuple(left), tuple(left_bytes), used | domains if needs.apart else used
