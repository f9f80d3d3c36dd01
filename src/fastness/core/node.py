"""A node as the fleet has it: its devices and its memory. Whose law it stands under is in marking.py."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from fastness.core.marking import Node

POOL: Final = "default"
"""The pool of nodes and deployments that say nothing of pools."""


class DeviceKind(StrEnum):
    """What a device is: an accelerator with a memory of its own, or a slot of the processor in the node's memory."""

    GPU = "gpu"
    CPU = "cpu"


@dataclass(frozen=True, slots=True)
class Device:
    """One device: at most one replica holds it. `accelerator` is its type, such as `h100-80gb`, or `cpu`.

    `memory_bytes` is its own memory; 0 for a CPU slot: what runs there takes from the memory of its node.
    """

    id: str
    kind: DeviceKind
    accelerator: str
    memory_bytes: int


@dataclass(frozen=True, slots=True)
class FleetNode:
    """What a node offers. `memory_bytes` is what engines may take of its own memory, `domain` what fails together.

    `place` is whose law it stands under and the most that it may handle. `labels` are pairs of key and value, sorted.
    `digests` are the models on its disk. Nodes of one `pool` share devices out between them.
    """

    place: Node
    devices: tuple[Device, ...]
    memory_bytes: int
    domain: str = ""
    pool: str = POOL
    labels: tuple[tuple[str, str], ...] = ()
    digests: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """Its name."""
        return self.place.name
