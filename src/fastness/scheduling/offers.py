"""What nodes have free, out of what they report and what is held of them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, replace

from fastness.core.fleet_state import FleetState, NodeWish, Phase, PlacedReplica
from fastness.core.node import Device, DeviceKind, FleetNode

LEAVING = (Phase.DRAINING, Phase.STOPPING)
"""Phases whose devices are taken, and will be free without a further decision. Of a lost node nobody knows when."""


@dataclass(frozen=True, slots=True)
class Offer:
    """What a node has free now. `closed` says why nothing is placed there (cordoned, lost, ...); empty: it is open.

    `node` has the labels that hold. `memory_bytes` is what is free of the node's own memory. `neighbours` are the
    deployments with a replica there, once for each. `coming` are the devices, and `coming_bytes` the memory, that
    replicas on their way out still hold.
    """

    node: FleetNode
    devices: tuple[Device, ...]
    memory_bytes: int
    closed: str = ""
    neighbours: tuple[str, ...] = ()
    coming: tuple[Device, ...] = ()
    coming_bytes: int = 0


def offers(state: FleetState, nodes: Iterable[FleetNode]) -> tuple[Offer, ...]:
    """Return what each node has free, in the order given. Whatever a replica holds is taken until it is removed."""
    there = defaultdict(list)
    for replica in state.replicas.values():
        for part in replica.parts:
            there[part.node].append((replica, part.devices))
    return tuple(_offer(node, there[node.name], state.nodes.get(node.name, NodeWish())) for node in nodes)


def _offer(node: FleetNode, there: Iterable[tuple[PlacedReplica, tuple[str, ...]]], wish: NodeWish) -> Offer:
    slots = {one.id for one in node.devices if one.kind is DeviceKind.CPU}
    taken: set[str] = set()
    coming: set[str] = set()
    held_bytes = coming_bytes = 0
    for replica, devices in there:
        size_bytes = replica.device_bytes * sum(one in slots for one in devices)
        taken.update(devices)
        held_bytes += size_bytes
        if replica.phase in LEAVING:
            coming.update(devices)
            coming_bytes += size_bytes
    return Offer(
        node if wish.labels is None else replace(node, labels=wish.labels),
        tuple(one for one in node.devices if one.id not in taken),
        node.memory_bytes - held_bytes,
        _closed(wish),
        tuple(replica.deployment for replica, _ in there),
        tuple(one for one in node.devices if one.id in coming),
        coming_bytes,
    )


def _closed(wish: NodeWish) -> str:
    if wish.lost:
        return "nothing is heard of it"
    return f"cordoned by {wish.by}: {wish.reason or 'no reason given'}" if wish.cordoned else ""
