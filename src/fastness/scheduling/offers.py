"""What nodes have free, out of what they report and what is held of them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

from fastness.core.fleet_state import FleetState, NodeWish
from fastness.core.node import DeviceKind, FleetNode
from fastness.scheduling.placement import Offer


def offers(state: FleetState, nodes: Iterable[FleetNode]) -> tuple[Offer, ...]:
    """Return what each node has free, in the order given. Whatever a replica holds is taken until it is removed."""
    taken, neighbours = state.taken(), defaultdict(list)
    for replica in state.replicas.values():
        for part in replica.parts:
            neighbours[part.node].append(replica)
    found = []
    for node in nodes:
        kinds = {one.id: one.kind for one in node.devices}
        held = sum(
            one.device_bytes
            for one in neighbours[node.name]
            for part in one.parts
            for device in part.devices
            if part.node == node.name and kinds.get(device) is DeviceKind.CPU
        )
        free = tuple(one for one in node.devices if (node.name, one.id) not in taken)
        there = tuple(one.deployment for one in neighbours[node.name])
        found.append(Offer(node, free, node.memory_bytes - held, _closed(state.nodes.get(node.name)), there))
    return tuple(found)


def _closed(wish: NodeWish | None) -> str:
    if wish is None:
        return ""
    if wish.lost:
        return "nothing is heard of it"
    return f"cordoned by {wish.by}: {wish.reason or 'no reason given'}" if wish.cordoned else ""
