"""User instructions counted by valgrind, where the processor counts none: slow, exact, and blind to a busy machine.

Each gateway is started once more, under callgrind, and asked for a fixed number of answers. What the kernel does for it
is not in the figure; its threads take turns.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from benchmarks import processes
from benchmarks.gateway.cases import PACED, WHOLE, Case, job
from benchmarks.gateway.subjects import Subject
from benchmarks.gateway.tree import tree

WARM_UP = 100
"""Answers before it counts: half of them at full speed, half watched."""
REQUESTS = 200
STREAMS = 12
AT_ONCE = 4
"""Streams at the same time: so few that even a watched gateway keeps up, and reads each chunk by itself."""
CONTROL_TIMEOUT_S = 60.0

Starter = Callable[[Sequence[str]], AbstractContextManager[Subject]]


def absent() -> str:
    """Say why it cannot be used here; empty when it can."""
    return "" if shutil.which("valgrind") and shutil.which("callgrind_control") else "there is no `valgrind`"


def count(start: Starter, folder: Path) -> dict[str, float]:
    """Start a gateway under callgrind; return its user instructions a request, and a chunk with its share of a request.

    Raises RuntimeError or OSError when it does not run so.
    """
    with place(folder) as into, start(under(into)) as subject:
        ask(subject, WHOLE, WARM_UP // 2)
        steer(subject, "-i", "on")
        ask(subject, WHOLE, WARM_UP // 2)
        ask(subject, PACED, AT_ONCE)
        whole = counted(subject, WHOLE, REQUESTS, into)
        chunks = counted(subject, PACED, STREAMS, into)
        steer(subject, "-i", "off")
    return {
        "user_instructions_per_request": whole / REQUESTS,
        "user_instructions_per_chunk": chunks / STREAMS / PACED.events,
    }


def under(into: Path) -> list[str]:
    """Write what comes before the command of a process that is to be counted."""
    program = shutil.which("valgrind") or "valgrind"
    return [program, "--tool=callgrind", "--instr-atstart=no", f"--callgrind-out-file={into}/%p.count"]


def total(report: str) -> int:
    """Read the sum out of what callgrind dumps; 0 when there is none."""
    sums = [line.partition(":")[2].split()[0] for line in report.splitlines() if line.startswith("summary:")]
    return sum(map(int, sums))


@contextmanager
def place(folder: Path) -> Iterator[Path]:
    """Make a directory for what callgrind writes, and remove it after."""
    into = folder / "counts"
    into.mkdir()
    try:
        yield into
    finally:
        shutil.rmtree(into)


def counted(subject: Subject, case: Case, requests: int, into: Path) -> int:
    """Return the user instructions of so many answers; raises RuntimeError."""
    return watched(subject, into, lambda: ask(subject, case, requests))


def watched(subject: Subject, into: Path, act: Callable[[], object]) -> int:
    """Return the user instructions that pass while something is done; raises RuntimeError."""
    steer(subject, "-z")
    act()
    before = set(into.iterdir())
    steer(subject, "-d")
    found = sum(total(dump.read_text(errors="replace")) for dump in set(into.iterdir()) - before)
    if not found:
        raise RuntimeError("callgrind wrote no count")
    return found


def ask(subject: Subject, case: Case, requests: int) -> None:
    """Have so many answers given; raises RuntimeError when one fails."""
    asked = job(subject, case, 0.0)
    asked.requests = requests
    asked.connections = min(asked.connections, AT_ONCE) if case.events else asked.connections
    with processes.load(asked) as client:
        seen = client.go()
    if seen.failures or seen.requests < requests:
        raise RuntimeError(f"under callgrind {seen.failures} of {requests} answers failed")


def steer(subject: Subject, *what: str) -> None:
    """Tell callgrind to do something in each of a gateway's processes."""
    for pid in tree(subject.pid):
        argv = ["callgrind_control", *what, str(pid)]
        subprocess.run(argv, check=False, capture_output=True, timeout=CONTROL_TIMEOUT_S)
