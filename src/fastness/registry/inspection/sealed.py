"""The inspector that is used: each artefact is read by a process of its own that is sealed and bounded."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from fastness.config import RegistrySettings
from fastness.registry.inspection.port import Inspected, Wish

Seal = Callable[[tuple[str, ...], tuple[Path, ...], int], tuple[str, ...]]
"""Turns (argv, what it may read, bytes of address space) into an argv that seals itself first."""


class SealedInspector:
    """Implements Inspector."""

    def __init__(self, seal: Seal, settings: RegistrySettings) -> None:
        self._seal = seal
        self._settings = settings

    def inspect(self, path: Path, wish: Wish) -> Inspected:
        """Read the artefact at `path` in a sealed process."""
        raise NotImplementedError
