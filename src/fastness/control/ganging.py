"""Gangs as doors are told of them: out of a node's orders, and of where the doors of the others are."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from fastness.core.observation import NodeOrders
from fastness.fleet.door.orders import DoorGang, HostDoor


def doors_for(orders: NodeOrders | None, known: Mapping[str, HostDoor]) -> tuple[HostDoor, ...]:
    """Return the doors, of those known by node, that a node needs for its gangs."""
    names = {name for one in orders.assignments for name in one.members} if orders else set()
    return tuple(known[name] for name in sorted(names & known.keys()))


def gangs_of(orders: NodeOrders, doors: Iterable[HostDoor]) -> tuple[DoorGang, ...]:
    """Return the gangs of a node whose members' doors are all known; the others wait."""
    known = {one.node: one for one in doors}
    return tuple(
        DoorGang(one.replica, one.term, one.members.index(orders.node), tuple(known[name] for name in one.members))
        for one in orders.assignments
        if one.members and known.keys() >= {*one.members}
    )
