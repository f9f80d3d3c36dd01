"""The nodes as files in the run directory of the head: this machine's two, and two for each other node."""

from __future__ import annotations

import os
import time
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
        if orders.node == self._here:
            write_snapshot(self._run / ORDERS, orders, durable=False)
            return
        folder = self._run / ORDERS_OF_OTHERS
        write_snapshot(folder / f"{orders.node}.json", orders, durable=False)
        now_ns = time.time_ns()  # by the kernel's tick, two changes could look like one to whoever looks at the folder
        os.utime(folder, ns=(now_ns, now_ns))

    def _read(self, path: Path) -> NodeReport | None:
        return self._readers.setdefault(path, SnapshotReader(path, NodeReport)).poll()
