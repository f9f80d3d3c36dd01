"""What a process and its descendants used: a gateway may be several."""

from __future__ import annotations

import os
from pathlib import Path

from benchmarks.processes import cpu_s, resident_bytes


def tree(pid: int) -> list[int]:
    """Return a process and all its living descendants."""
    found = [pid]
    for one in found:  # grows while it is walked
        try:
            for thread in Path(f"/proc/{one}/task").iterdir():
                found += [int(child) for child in (thread / "children").read_text().split()]
        except OSError:  # it ended in this moment
            continue
    return found


def tree_cpu_s(pid: int) -> float:
    """CPU seconds, user and system, of a process and its descendants, ended ones included once they were waited for.

    The living ones to the nanosecond, the ended ones to 10 ms as /proc/PID/stat counts them.
    """
    total, tick = 0.0, os.sysconf("SC_CLK_TCK")
    for one in tree(pid):
        try:
            fields = Path(f"/proc/{one}/stat").read_text().rpartition(")")[2].split()
            total += cpu_s(one) + (int(fields[13]) + int(fields[14])) / tick
        except OSError:
            continue
    return total


def tree_resident_bytes(pid: int) -> int:
    """Resident memory now, pages that they share counted for each."""
    total = 0
    for one in tree(pid):
        try:
            total += resident_bytes(one)
        except OSError:
            continue
    return total
