"""This machine as a node of the fleet, composed."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from fastness.config import Settings
from fastness.main.engines import Engines

if TYPE_CHECKING:
    from fastness.core.marking import Node
    from fastness.core.node import Device, FleetNode
    from fastness.core.replica import Replica
    from fastness.fleet.node import LocalNode
    from fastness.perimeter.port import Perimeter
    from fastness.registry.library import ModelLibrary

SLOTS_PER_CORE = 4


def keeping(
    settings: Settings,
    run: Path,
    perimeter: Perimeter,
    library: ModelLibrary,
    unsealed: bool,
    allowed: asyncio.Event,
    on_change: Callable[[Replica | None], None],
) -> LocalNode:
    """Build what keeps the engines of this machine as ordered."""
    from fastness.control.this_node import ORDERS
    from fastness.fleet.keeper import ReplicaKeeper
    from fastness.fleet.node import LocalNode
    from fastness.store.snapshot_file import write_snapshot

    # What an engine writes to stderr is kept in memory for diagnosis only: it might quote a prompt (law 3).
    keeper = ReplicaKeeper(settings.engine, on_change, time.time)
    devices = {one.id: one for one in _devices()}
    engines = Engines(settings, run, perimeter, library, devices, allowed, unsealed=unsealed)
    return LocalNode(
        settings.node.name, keeper, engines, lambda orders: write_snapshot(settings.home / ORDERS, orders), on_change
    )


def offer(_settings: Settings, place: Node) -> FleetNode:
    """Say what this machine offers to the fleet."""
    from fastness.core.node import FleetNode

    memory_bytes = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return FleetNode(place, _devices(), memory_bytes)


def digests(home: Path) -> tuple[str, ...]:
    """Return the models on this disk, by digest."""
    return tuple(sorted(file.stem for file in (home / "models").glob("*.gguf")))


def _devices() -> tuple[Device, ...]:
    from fastness.core.node import Device, DeviceKind

    return tuple(
        Device(f"cpu-{number}", DeviceKind.CPU, "cpu", 0)
        for number in range(SLOTS_PER_CORE * len(os.sched_getaffinity(0)))
    )
