"""User instructions, counted by the processor: a second figure that a busy machine does not disturb.

Many virtual machines have no such counter; then there is no second figure, and the run says so.
"""

from __future__ import annotations

import shutil
import signal
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

EVENT = "instructions:u"


def absent() -> str:
    """Say why nothing can be counted here; empty when it can."""
    if not shutil.which("perf"):
        return "there is no `perf`"
    run = subprocess.run(["perf", "stat", "-x,", "-e", EVENT, "true"], capture_output=True, text=True, check=False)
    return "" if count_of(run.stderr) else f"`perf stat -e {EVENT}` counts nothing on this machine"


def count_of(report: str) -> int:
    """Read the count out of what `perf stat -x,` reports; 0 when there is none."""
    for line in report.splitlines():
        fields = line.split(",")
        if len(fields) > 2 and fields[2].startswith(EVENT) and fields[0].isdigit():
            return int(fields[0])
    return 0


class Count:
    """How many there were, once the block has ended."""

    instructions = 0


@contextmanager
def counted(pids: Sequence[int]) -> Iterator[Count]:
    """Count what processes execute within the block."""
    argv = ["perf", "stat", "-x,", "-e", EVENT, "-p", ",".join(map(str, pids))]
    count = Count()
    with subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as perf:
        try:
            yield count
        finally:
            perf.send_signal(signal.SIGINT)
            count.instructions = count_of(perf.communicate(timeout=10)[1])
