"""The machine a run happened on, and how busy others kept it: figures without that are worth little."""

from __future__ import annotations

import os
import platform
import time
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from benchmarks.figures import median

TRIALS = 40
LOAD_QUIET = 0.25
"""Load a core at the start, above which the machine counts as busy."""
OTHERS_QUIET = 0.05
"""Share of all CPU time that others used during the run, above which the machine counts as busy."""
STEAL_QUIET = 0.01
"""Share of all CPU time that the hypervisor gave to others."""


@dataclass(frozen=True, slots=True)
class Machine:
    """What it is, and its state at the start of a run."""

    date: str
    cpu: str
    cores: int
    memory_gib: float
    kernel: str
    python: str
    load_1_min: float


@dataclass(frozen=True, slots=True)
class Busyness:
    """What happened around a run. `others_cores`: cores that processes not of this run kept busy on average.

    `python_us` is the CPU time of a fixed piece of Python, best of many; `slowdown` is its median over its best: 1.0 on
    a quiet machine, and what a contended core or cache does to every CPU figure here otherwise.
    """

    others_cores: float
    steal_share: float
    python_us: float
    slowdown: float


def machine() -> Machine:
    """Look at this machine."""
    cpu = next(
        (line.partition(":")[2].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")),
        platform.processor() or "unknown",
    )
    return Machine(
        date=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        cpu=cpu,
        cores=len(os.sched_getaffinity(0)),
        memory_gib=round(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30, 1),
        kernel=f"{platform.system()} {platform.release()}",
        python=platform.python_version(),
        load_1_min=os.getloadavg()[0],
    )


class Watch:
    """Watches the machine from its making to `busyness`, which needs the processes of the run ended."""

    def __init__(self) -> None:
        self._busy_s, self._steal_s, self._all_s = _cpu_totals()
        self._own_s = _own_s()
        self._trials: list[float] = []

    def calibrate(self) -> None:
        """Time a fixed piece of Python, between two measurements."""
        self._trials += [_fixed_work_us() for _ in range(TRIALS)]

    def busyness(self) -> Busyness:
        """Say how busy others kept the machine."""
        busy_s, steal_s, all_s = (
            after - before
            for after, before in zip(_cpu_totals(), (self._busy_s, self._steal_s, self._all_s), strict=True)
        )
        elapsed_s = all_s / (os.cpu_count() or 1)
        best = min(self._trials, default=float("nan"))
        return Busyness(
            others_cores=max(0.0, busy_s - (_own_s() - self._own_s)) / elapsed_s if elapsed_s else float("nan"),
            steal_share=steal_s / all_s if all_s else float("nan"),
            python_us=best,
            slowdown=median(self._trials) / best,
        )


def warnings(start: Machine, around: Busyness) -> list[str]:
    """Say why the figures of a run should not be trusted; empty when nothing speaks against them."""
    found = []
    if start.load_1_min > LOAD_QUIET * start.cores:
        found.append(f"the load was {start.load_1_min:.1f} on {start.cores} cores when the run began")
    if around.others_cores > OTHERS_QUIET * start.cores:
        found.append(f"other processes kept {around.others_cores:.2f} of {start.cores} cores busy during the run")
    if around.steal_share > STEAL_QUIET:
        found.append(f"the hypervisor took {around.steal_share:.1%} of the CPU time")
    if around.slowdown > 1.2:
        found.append(f"a fixed piece of Python took {around.slowdown:.2f} times its best time at the median")
    return found


def describe(start: Machine) -> str:
    """Write the machine as one line."""
    return (
        f"{start.date} · {start.cores} cores of {start.cpu} · {start.memory_gib:.0f} GiB · {start.kernel} · "
        f"Python {start.python} · load {start.load_1_min:.2f}"
    )


def as_json(start: Machine, around: Busyness) -> dict[str, object]:
    """Return both, for the results file."""
    return asdict(start) | asdict(around)


def _lines(path: str) -> list[str]:
    try:
        return Path(path).read_text().splitlines()
    except OSError:
        return []


def _cpu_totals() -> tuple[float, float, float]:
    """Return CPU seconds of the whole machine since boot: busy, stolen, and all."""
    tick = os.sysconf("SC_CLK_TCK")
    user, nice, system, idle, wait, irq, softirq, steal = (
        int(field) / tick for field in _lines("/proc/stat")[0].split()[1:9]
    )
    busy = user + nice + system + irq + softirq
    return busy, steal, busy + idle + wait + steal


def _own_s() -> float:
    """Return CPU seconds of this process and of all its ended descendants."""
    used = os.times()
    return used.user + used.system + used.children_user + used.children_system


def _fixed_work_us() -> float:
    began = time.thread_time_ns()
    words: dict[str, int] = {}
    for number in range(2_000):
        word = f"w{number % 97}"
        words[word] = words.get(word, 0) + len(word)
    return (time.thread_time_ns() - began) / 1e3
