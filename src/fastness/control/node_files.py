"""The nodes as files in the run directory of the head: this machine's two, and two for each other node."""

from __future__ import annotations

from pathlib import Path

from fastness.control.run_files import ORDERS, ORDERS_OF_OTHERS, REPORT, REPORTS_OF_OTHERS
from fastness.core.observation import NodeOrders, NodeReport
from fastness.store.snapshot_file import SnapshotReader, write_snapshot


class NodeFiles:
    """Reads reports and writes orders, as control does. Which node is this machine, its report says."""

    def __init__(self, run_directory: Path) -> None:
        self._run = run_directory
        self._readers: dict[Path, SnapshotReader[NodeReport]] = {}
        self._here: str | None = None

    def reports(self) -> tuple[NodeReport, ...]:
        """Return the reports that were written since the last time, this machine's first."""
        here = self._read(self._run / REPORT)
        if here is not None:
            self._here = here.node.name
        others = (self._read(path) for path in sorted((self._run / REPORTS_OF_OTHERS).glob("*.json")))
        return tuple(one for one in (here, *others) if one is not None)

    def send(self, orders: NodeOrders) -> None:
        """Replace the orders of a node; they are carried on from there. Raises OSError."""
        own = orders.node == self._here
        path = self._run / (ORDERS if own else f"{ORDERS_OF_OTHERS}/{orders.node}.json")
        write_snapshot(path, orders, durable=False)

    def _read(self, path: Path) -> NodeReport | None:
        return self._readers.setdefault(path, SnapshotReader(path, NodeReport)).poll()
