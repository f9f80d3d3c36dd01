"""A supervisor of a process of its own that has one companion, which keeps itself up; and who is who in it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

SUPERVISOR = """
import json, os, select, sys
from pathlib import Path
from typing import TypeVar
from fastness.main.anew import child_environ, command, companion, look_at
from fastness.main.process import stay_local
companions, told = [], None
with companion(companions, "outside", command(sys.argv[2]), child_environ(Path(sys.argv[1]))):
    stay_local()
    while not select.select([0], [], [], 0.01)[0]:
        one, = look_at(companions)
        if told != (told := (one.pid or 0, one.state.value, one.restarts)):
            print(json.dumps(told), flush=True)
"""
PROGRAM = """
import os, pathlib, time
from fastness.main.process import die_with_supervisor
die_with_supervisor()
time.sleep(600)
"""
T = TypeVar("T")
WITHIN_S = 60.0


@dataclass
class World:
    """The supervisor, told to end by the end of what it reads; what it prints is how its companion is."""

    process: subprocess.Popen[str]

    def becomes(self, state: str, restarts: int) -> int:
        """Wait for it to be so, passing over what it was on the way; return the worker's process id."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            pid, *told = json.loads(line)
            if told == [state, restarts]:
                return int(pid)
        raise AssertionError(f"the supervisor ended, and {state} after {restarts} restarts was not seen")

    def end(self) -> int:
        """Tell it to end in order; return its exit code."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        return self.process.wait(WITHIN_S)


@contextmanager
def world(home: Path, program: str = PROGRAM) -> Iterator[World]:
    argv = (sys.executable, "-c", SUPERVISOR, str(home), program)
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield World(process)
        finally:
            process.kill()  # what it has begun ends with it


def parent(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def children(pid: int, *, ended: bool = False) -> list[int]:
    """The children of a process; with `ended`, also those that nobody has waited for."""
    found = map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split())
    return [one for one in found if ended or not is_gone(one)]


def family(worker: int) -> tuple[int, int]:
    """The keeper and the successor of a worker."""
    keeper = parent(worker)
    (successor,) = soon(lambda: [one for one in children(keeper) if one != worker])
    return keeper, successor


def soon(condition: Callable[[], T]) -> T:
    deadline = time.monotonic() + WITHIN_S
    while not (found := condition()):
        assert time.monotonic() < deadline
        time.sleep(0.005)
    return found


def is_gone(pid: int) -> bool:
    with suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in "ZX"
    return True


def confinement(pid: int) -> list[str]:
    """What the kernel says that a process gave up."""
    wanted = ("Seccomp", "NoNewPrivs", "Cap")
    lines = [line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith(wanted)]
    return [*lines, *(os.readlink(f"/proc/{pid}/ns/{name}") for name in ("net", "user", "mnt", "pid"))]
