"""How large this machine is for us: cores and memory as the kernel lets this process use them, cgroups included."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

ROOT: Final = Path("/")


def usable_cores(root: Path = ROOT) -> float:
    """Return how many cores may be used: those of the affinity, or the quota of the cgroup where that is less."""
    cores = float(len(os.sched_getaffinity(0)))
    for folder in _cgroups(root, "cpu"):
        quota, _, period = _read(folder / "cpu.max").partition(" ")
        if not quota:
            quota, period = _read(folder / "cpu.cfs_quota_us"), _read(folder / "cpu.cfs_period_us")
        if quota.isdigit() and period.isdigit():
            cores = min(cores, int(quota) / int(period))
    return cores


def memory_bytes(root: Path = ROOT) -> int:
    """Return how much memory there is: that of the machine, or the limit of a cgroup above us where that is less."""
    total = next(
        int(line.split()[1]) * 1_024
        for line in (root / "proc/meminfo").read_text().splitlines()
        if line.startswith("MemTotal:")
    )
    for folder in _cgroups(root, "memory"):
        for name in ("memory.max", "memory.limit_in_bytes"):
            if (limit := _read(folder / name)).isdigit():
                total = min(total, int(limit))
    return total


def _cgroups(root: Path, controller: str) -> Iterator[Path]:
    """Give the folders of our cgroup and of all above it, in either version. A container sees its own as the root."""
    mounts = root / "sys/fs/cgroup"
    for line in _read(root / "proc/self/cgroup").splitlines():
        number, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if number == "0" and not controllers:
            base = mounts
        elif controller in controllers.split(","):
            base = mounts / controller
        else:
            continue
        own = base / path.strip("/")
        yield from (folder for folder in (own, *own.parents) if folder.is_relative_to(base))


def _read(file: Path) -> str:
    with suppress(OSError):
        return file.read_text().strip()
    return ""
