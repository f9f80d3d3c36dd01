"""Small fleets for tests: nodes, deployments and states in a line each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from fastness.core.desired import DeploymentSpec, Needs, Scaling
from fastness.core.fleet_event import DeploymentApplied, FleetEvent, Part, ReplicaPlaced, ShareSet
from fastness.core.fleet_state import FleetState, apply, fold
from fastness.core.marking import Label, Node
from fastness.core.node import Device, DeviceKind, FleetNode

GB = 10**9
OFFICIAL = Label("OFFICIAL")
SECRET = Label("SECRET")
ORDER = ("PUBLIC", "OFFICIAL", "SECRET")


def clears(ceiling: Label, label: Label) -> bool:
    return ORDER.index(ceiling.marking) >= ORDER.index(label.marking)


def gpus(count: int, accelerator: str = "h100-80gb", gb: float = 80) -> tuple[Device, ...]:
    return tuple(Device(f"gpu-{one}", DeviceKind.GPU, accelerator, int(gb * GB)) for one in range(count))


def slots(count: int) -> tuple[Device, ...]:
    return tuple(Device(f"cpu-{one}", DeviceKind.CPU, "cpu", 0) for one in range(count))


def node(name: str, devices: int | Sequence[Device] = 8, **changes: Any) -> FleetNode:
    has = gpus(devices) if isinstance(devices, int) else tuple(devices)
    place = Node(
        name,
        changes.pop("jurisdiction", "GB"),
        changes.pop("operator", "crown"),
        "GB",
        changes.pop("ceiling", OFFICIAL),
    )
    return FleetNode(place, has, changes.pop("memory_bytes", 64 * GB), **changes)


def needs(devices: int = 1, **changes: Any) -> Needs:
    return replace(Needs(OFFICIAL, 10 * GB, devices), **changes)


def spec(name: str, owner: str = "health", wants: Needs | None = None, **changes: Any) -> DeploymentSpec:
    made = DeploymentSpec(name, owner, "smol", "ab" * 32, "chat", OFFICIAL, wants or needs(), scaling=Scaling(0, 99))
    return replace(made, **changes)


def applied(*specs: DeploymentSpec, shares: Mapping[str, int] | None = None, pool: str = "default") -> FleetState:
    happened: list[FleetEvent] = [DeploymentApplied(one, 1, "local") for one in specs]
    happened += [ShareSet(owner, pool, devices, "local") for owner, devices in (shares or {}).items()]
    return fold(happened)


def put(state: FleetState, deployment: str, *parts: Part, borrowed: bool = False) -> FleetState:
    """Place one more replica of a deployment; its id is that of the deployment and its term."""
    term = state.term + 1
    size = state.deployments[deployment].spec.needs.device_bytes
    return apply(state, ReplicaPlaced(f"{deployment}-{term}", deployment, 1, parts, size, term, borrowed, "it fits"))


def part(name: str, *numbers: int, kind: str = "gpu") -> Part:
    return Part(name, tuple(f"{kind}-{one}" for one in numbers))
