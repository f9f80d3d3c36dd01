"""What gateways say of their load: one snapshot each in the run directory, written several times a second."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Final

from fastness.control.run_files import LOADS
from fastness.core.observation import GatewayReport
from fastness.store.snapshot_file import SnapshotReader

SILENT_MS: Final = 10_000
"""A gateway that has said nothing for so long is gone, with all that ran there. A new one under its name speaks sooner.

It is long on purpose: while an old report counts, no replica that drains is taken for drained."""


class GatewayReports:
    """Reads the last report of each gateway."""

    def __init__(self, directory: Path, clock_ms: Callable[[], int]) -> None:
        self._directory, self._clock_ms = directory, clock_ms
        self._readers: dict[Path, SnapshotReader[GatewayReport]] = {}
        self._last: dict[Path, GatewayReport] = {}

    def read(self) -> tuple[GatewayReport, ...]:
        """Return the reports of the gateways that live, by name."""
        there = sorted(self._directory.glob(LOADS))
        for path in self._readers.keys() - set(there):
            del self._readers[path]
            self._last.pop(path, None)
        for path in there:
            reader = self._readers.setdefault(path, SnapshotReader(path, GatewayReport))
            if (found := reader.poll()) is not None:
                self._last[path] = found
        oldest_ms = self._clock_ms() - SILENT_MS
        return tuple(one for _, one in sorted(self._last.items()) if one.at_ms >= oldest_ms)
