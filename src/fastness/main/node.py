"""This machine as a node of the fleet, composed."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from fastness.config import Settings
from fastness.main.engines import Engines
from fastness.main.fit import ReplicaSizes

if TYPE_CHECKING:
    from fastness.control.site import Model
    from fastness.core.marking import Node
    from fastness.core.node import FleetNode
    from fastness.core.replica import Replica
    from fastness.fleet.adopted import Starter
    from fastness.fleet.node import LocalNode
    from fastness.perimeter.port import Perimeter
    from fastness.registry.library import ModelLibrary


DIGEST_CHARS = 64


def ensuring(settings: Settings, library: ModelLibrary) -> Callable[[str, Callable[[str, int, int], None]], Model]:
    """Build what finds and verifies a model that configuration names; see Site.ensure_model."""
    from fastness.control.configured import configured_parameters
    from fastness.control.site import Model
    from fastness.registry.folder import is_folder
    from fastness.registry.library import ModelRefused
    from fastness.scheduling.fit import FitUnknown

    sizes = ReplicaSizes(library)

    def ensure(name: str, tell: Callable[[str, int, int], None]) -> Model:
        model = Model(*library.ensure(name, tell))
        if is_folder(model.card):
            raise ModelRefused(
                f"{name} is a folder of safetensors, which the embedded engine does not read. Leave it out of the "
                'settings, and deploy it: engine = "vllm" (docs/how-to/run-vllm.md)'
            )
        try:
            sizes.device_bytes(model.card, configured_parameters(settings.engine), 1)
        except FitUnknown as error:  # nothing would place it: that is said before anything waits for it
            raise ModelRefused(f"{name} cannot be served: {error}") from None
        return model

    return ensure


def keeping(
    settings: Settings,
    run: Path,
    perimeter: Perimeter,
    library: ModelLibrary,
    starts: Starter | None,
    unsealed: bool,
    allowed: asyncio.Event,
    on_change: Callable[[Replica | None], None],
) -> LocalNode:
    """Build what keeps the engines of this machine as ordered."""
    from fastness.control.run_files import ORDERS
    from fastness.fleet.keeper import ReplicaKeeper
    from fastness.fleet.node import LocalNode
    from fastness.store.snapshot_file import write_snapshot

    # What an engine writes to stderr is kept in memory for diagnosis only: it might quote a prompt (law 3).
    keeper = ReplicaKeeper(settings.engine, on_change, time.time)
    engines = Engines(settings, run, perimeter, library, allowed, unsealed=unsealed, starter=starts)
    return LocalNode(
        settings.node.name, keeper, engines, lambda orders: write_snapshot(settings.home / ORDERS, orders), on_change
    )


def offer(settings: Settings) -> Callable[[Node], FleetNode]:
    """Look once at what this machine offers to the fleet; return it as that of a node at a place.

    Raises ConfigError, and StartRefused where a driver does not say what it drives.
    """
    from fastness.control.site import StartRefused
    from fastness.core.node import FleetNode
    from fastness.fleet.devices import offered
    from fastness.fleet.nvml import DevicesUnreadable

    try:
        found = offered(settings.node)
    except DevicesUnreadable as error:
        raise StartRefused(str(error)) from None
    return lambda place: FleetNode(place, found.devices, found.memory_bytes, found.domain, found.pool, found.labels)


def digests(home: Path) -> tuple[str, ...]:
    """Return the models on this disk, by digest."""
    models = home / "models"
    folders = (one.name for one in models.glob("?" * DIGEST_CHARS) if one.is_dir())
    return tuple(sorted({*(file.stem for file in models.glob("*.gguf")), *folders}))
