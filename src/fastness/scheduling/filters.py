"""What a node must be, before it is asked what it has free. Each refusal is a sentence for a person."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable

from fastness.core.desired import Needs
from fastness.core.marking import Label, Node
from fastness.core.node import Device, DeviceKind, FleetNode

Clears = Callable[[Label, Label], bool]
"""Whether a ceiling permits a label: `Lattice.dominates`."""


DeviceType = tuple[DeviceKind, int, str]
"""Devices that are alike: their kind, their own memory in bytes, and their accelerator."""


def identical(ceiling: Label, label: Label) -> bool:
    """Stand in for a lattice where there is none: what is the same is permitted, and nothing else."""
    return ceiling == label


def refused(needs: Needs, node: FleetNode, clears: Clears) -> str:
    """Say why a node can never take what is needed, whatever is free there; empty when it can.

    Labels are not looked at here, but by `refused_label`: nodes that are alike in all else differ in them.
    """
    return refused_place(needs, node.place, clears) or _refused_devices(needs, node)


def refused_place(needs: Needs, place: Node, clears: Clears) -> str:
    """Say why nothing that is needed may run under this law, operator or ceiling; empty when it may."""
    if needs.jurisdictions and place.jurisdiction not in needs.jurisdictions:
        return f"refused: jurisdiction {place.jurisdiction or 'not declared'}, needs {_any(needs.jurisdictions)}"
    if needs.operators and place.operator not in needs.operators:
        return f"refused: operator {place.operator or 'not declared'}, needs {_any(needs.operators)}"
    if not clears(place.ceiling, needs.ceiling):
        return f"refused: cleared to {place.ceiling}, needs {needs.ceiling}"
    return ""


def refused_label(wanted: Iterable[str], labels: tuple[tuple[str, str], ...]) -> str:
    """Say which wanted label a node has not, or which unwanted one it has; empty when there is none."""
    has = dict(labels)
    for one in wanted:
        key, equals, value = one.removeprefix("!").partition("=")
        meets = key in has and (not equals or has[key] == value)
        if meets == one.startswith("!"):
            there = f"label {key}={has[key]}" if key in has else f"no label {key}"
            return f"refused: {there}, needs {one}"
    return ""


def refused_domain(needs: Needs, node: FleetNode, domains: Collection[str]) -> str:
    """Say that a failure domain has a replica already, for who needs them apart; empty when it has none."""
    domain = domain_of(node)
    there = needs.apart and domain in domains
    return f"refused: a replica is in domain {domain} already, needs them apart" if there else ""


def domain_of(node: FleetNode) -> str:
    """What fails together with a node: its domain, or itself when it names none."""
    return node.domain or node.name


def suits(needs: Needs, kind: DeviceType) -> bool:
    """Tell whether devices are of the accelerator, and have the memory. A CPU slot's memory is its node's."""
    if needs.accelerator not in ("", kind[2]):
        return False
    return kind[0] is DeviceKind.CPU or kind[1] >= needs.device_bytes


def type_of(device: Device) -> DeviceType:
    """What a device has in common with those that are like it."""
    return device.kind, device.memory_bytes, device.accelerator


def gigabytes(size_bytes: int) -> str:
    """Write a size as people say it of devices: 80.0 GB are 80 × 10⁹ bytes."""
    return f"{size_bytes / 1e9:.1f} GB"


def _refused_devices(needs: Needs, node: FleetNode) -> str:
    """Devices of one replica on one node are of one type: a gang is as slow as the slowest of them."""
    types = Counter(map(type_of, node.devices))
    right = [one for one in types if needs.accelerator in ("", one[2])]
    if not right:
        has = ", ".join(f"{types[one]} × {one[2]}" for one in sorted(types)) or "no device"
        return f"refused: has {has}, needs {needs.accelerator or 'one'}"
    large = [one for one in right if suits(needs, one)]
    if not large:
        most = max(one[1] for one in right)
        return f"refused: {gigabytes(most)} on a device, needs {gigabytes(needs.device_bytes)}"
    enough = [one for one in large if types[one] >= needs.devices]
    if not enough:
        most = max(types[one] for one in large)
        return f"refused: {counted(most)} of one type in all, needs {needs.devices} on one node"
    total_bytes = needs.devices * needs.device_bytes
    if all(one[0] is DeviceKind.CPU for one in enough) and node.memory_bytes < total_bytes:
        return f"refused: {gigabytes(node.memory_bytes)} of memory in all, needs {gigabytes(total_bytes)}"
    return ""


def counted(devices: int) -> str:
    """Write a number of devices."""
    return "1 device" if devices == 1 else f"{devices} devices"


def _any(wanted: Iterable[str]) -> str:
    return " or ".join(wanted)
