"""What the commands know of the fleet as it is: what the reconciler saw and planned last, if one runs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from fastness.control.node_files import NodeFiles
from fastness.control.run_files import LOADS
from fastness.core.node import FleetNode
from fastness.core.observation import GatewayReport, Observation
from fastness.scheduling.plan import Plan
from fastness.store.snapshot_file import SnapshotReader


class Watching(Protocol):
    """The reconciler is one."""

    def latest(self) -> Plan | None:
        """Return the plan made last; None: nothing plans here."""
        ...

    def seen(self) -> Observation | None:
        """Return what was observed last; None: nothing was observed yet."""
        ...


class LastReports:
    """While nothing runs: what the nodes and gateways wrote last here, however long ago."""

    def __init__(self, run_directory: Path, clock: Callable[[], float]) -> None:
        self._run, self._clock = run_directory, clock

    def latest(self) -> Plan | None:
        """Return None: nothing plans here."""
        return None

    def seen(self) -> Observation | None:
        """Return the last reports; None where there is none of a node."""
        nodes = NodeFiles(self._run).reports()
        if not nodes:
            return None
        loads = (SnapshotReader(path, GatewayReport).poll() for path in sorted(self._run.glob(LOADS)))
        gateways = tuple(one for one in loads if one is not None)
        return Observation(int(self._clock() * 1_000), nodes, gateways)


def nodes_of(seen: Observation | None) -> tuple[FleetNode, ...]:
    """Return the nodes that were seen, by name."""
    found = () if seen is None else (one.node for one in seen.nodes)
    return tuple(sorted(found, key=lambda one: one.name))
