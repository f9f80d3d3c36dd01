"""What a placement must be, written a second time and as plainly as can be: the laws compare decisions with this."""

from __future__ import annotations

from collections.abc import Collection

from fastness.core.desired import Needs
from fastness.core.fleet_event import Part
from fastness.core.fleet_state import FleetState, NodeWish
from fastness.core.marking import Lattice
from fastness.core.node import DeviceKind, FleetNode


def unfit(needs: Needs, node: FleetNode, wish: NodeWish, lattice: Lattice) -> str:
    """Say what forbids a replica with these needs on a node; empty: nothing does."""
    place = node.place
    labels = dict(node.labels if wish.labels is None else wish.labels)
    if node.pool != needs.pool:
        return f"it is of the pool {node.pool}, not {needs.pool}"
    if not lattice.dominates(place.ceiling, needs.ceiling):
        return f"it is cleared to {place.ceiling}, not {needs.ceiling}"
    if needs.jurisdictions and place.jurisdiction not in needs.jurisdictions:
        return f"it stands under {place.jurisdiction}, not {' or '.join(needs.jurisdictions)}"
    if needs.operators and place.operator not in needs.operators:
        return f"it is run by {place.operator}, not {' or '.join(needs.operators)}"
    for wanted in needs.labels:
        key, _, value = wanted.lstrip("!").partition("=")
        has = key in labels and (not value or labels[key] == value)
        if has == wanted.startswith("!"):
            return f"its labels do not satisfy {wanted}"
    return ""


def unfit_part(needs: Needs, node: FleetNode, part: Part) -> str:
    """Say what forbids these devices of a node for a replica; empty: nothing does."""
    there = {one.id: one for one in node.devices}
    if len(set(part.devices)) != needs.devices:
        return f"it was given {len(set(part.devices))} devices, not {needs.devices}"
    for name in part.devices:
        device = there.get(name)
        if device is None:
            return f"it has no device {name}"
        if needs.accelerator and device.accelerator != needs.accelerator:
            return f"{name} is {device.accelerator}, not {needs.accelerator}"
        if device.kind is DeviceKind.GPU and device.memory_bytes < needs.device_bytes:
            return f"{name} has {device.memory_bytes} bytes, not {needs.device_bytes}"
    return ""


def node_bytes(state: FleetState, node: FleetNode) -> int:
    """How much of a node's own memory is held by replicas on its CPU slots."""
    slots = {one.id for one in node.devices if one.kind is DeviceKind.CPU}
    return sum(
        one.device_bytes * len(slots.intersection(part.devices))
        for one in state.replicas.values()
        for part in one.parts
        if part.node == node.name
    )


def room(needs: Needs, node: FleetNode, taken: Collection[tuple[str, str]], free_bytes: int) -> bool:
    """Whether a part of a replica finds devices on a node; `free_bytes` is what is left of the node's own memory."""
    free = [
        one
        for one in node.devices
        if (node.name, one.id) not in taken
        and (not needs.accelerator or one.accelerator == needs.accelerator)
        and (one.kind is DeviceKind.CPU or one.memory_bytes >= needs.device_bytes)
    ]
    gpus = [one for one in free if one.kind is DeviceKind.GPU]
    slots = len(free) - len(gpus)
    if needs.device_bytes:
        slots = min(slots, max(0, free_bytes) // needs.device_bytes)
    return max(len(gpus), slots) >= needs.devices
