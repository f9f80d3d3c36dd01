"""What the supervisor cannot start a second time, since it needs sockets: begun before, and kept up by itself.

See perimeter/succession.py. Here is the supervisor's side of it, and the keeper of a Python program.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Final

from fastness.core.own_process import OwnProcess
from fastness.core.replica import ReplicaState
from fastness.main.process import PARENT_VARIABLE, die_with_supervisor, write_no_core

_READ_BYTES: Final = 65_536


class Kept:
    """One of them as the supervisor sees it: `told` is the end of a pipe of which its keeper has the other."""

    def __init__(self, name: str, process: subprocess.Popen[bytes], told: int) -> None:
        self._process, self._told, self._rest = process, told, b""
        self._seen = OwnProcess(name, None, ReplicaState.STARTING, -1, time.time())
        os.set_blocking(told, False)

    def look(self) -> OwnProcess:
        """Return how its worker is, without waiting; it is stopped for good when nobody is left to bring it back."""
        with suppress(BlockingIOError):
            while self._seen.state is not ReplicaState.STOPPED:
                said = os.read(self._told, _READ_BYTES)
                *pids, self._rest = (self._rest + said).split(b"\n")
                for pid in map(int, pids):
                    self._becomes(ReplicaState.READY if pid else ReplicaState.BACKING_OFF, pid or None)
                if not said:
                    self._becomes(ReplicaState.STOPPED, None)
        return replace(self._seen, restarts=max(0, self._seen.restarts))

    def end(self) -> None:
        """Have it end, and wait until nothing of it is left."""
        group = self._process.pid
        if self.look().state is not ReplicaState.STOPPED:  # else the number of the group may be another's by now
            os.killpg(group, signal.SIGTERM)
        with suppress(ChildProcessError):
            while True:
                os.waitpid(-group, 0)
        self._process.wait()
        os.close(self._told)

    def _becomes(self, state: ReplicaState, pid: int | None) -> None:
        starts = self._seen.restarts + (state is ReplicaState.READY)
        self._seen = replace(self._seen, pid=pid, state=state, restarts=starts, since_s=time.time())


Companions = list[Kept]
"""All of an installation, in the order in which they were begun."""


@contextmanager
def companion(
    companions: Companions,
    name: str,
    argv: Sequence[str],
    environ: Mapping[str, str],
    descriptors: Sequence[int] = (),
    *,
    stderr: int | None = subprocess.DEVNULL,
) -> Iterator[None]:
    """Have a keeper, and what it keeps up, while it lasts; its last argument is the pipe that it tells. Raises OSError.

    It is added to `companions`. This process is a subreaper from then on: who succeeds a keeper is its child.
    """
    from fastness.perimeter.kernel import PR_SET_CHILD_SUBREAPER, Kernel

    Kernel().prctl(PR_SET_CHILD_SUBREAPER, 1)
    told, telling = os.pipe()
    try:
        process = subprocess.Popen(
            (*argv, str(telling)),
            env=dict(environ),
            pass_fds=(telling, *descriptors),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=stderr,
            start_new_session=True,
        )
    except OSError:
        os.close(told)
        raise
    finally:
        os.close(telling)
    companions.append(Kept(name, process, told))
    try:
        yield
    finally:
        companions.pop().end()


def look_at(companions: Companions) -> tuple[OwnProcess, ...]:
    """Return how each of them is, and wait for whatever else that has ended became a child of this process."""
    from fastness.fleet.process import reap_orphans

    if companions:
        reap_orphans()
    return tuple(one.look() for one in companions)


def command(program: str, *ports: int) -> tuple[str, ...]:
    """Return the command of who keeps a Python program up, and both of them to these ports."""
    return (sys.executable, "-c", "from fastness.main.anew import run; run()", program, *map(str, ports))


def child_environ(home: Path) -> dict[str, str]:
    """Return the environment of a child of this process that ends with it."""
    return os.environ | {"FASTNESS_HOME": str(home), PARENT_VARIABLE: str(os.getpid())}


def run() -> None:
    """Keep a program up until SIGTERM, or until the supervisor is gone."""
    from fastness.main.door import keep_to_ports
    from fastness.perimeter.succession import keep

    write_no_core()
    die_with_supervisor()
    program, *ports, told = sys.argv[1:]
    keep_to_ports(*map(int, ports))

    def become(held: int) -> None:
        os.environ[PARENT_VARIABLE] = str(os.getppid())
        os.set_inheritable(held, True)
        os.execv(sys.executable, (sys.executable, "-c", program))  # noqa: S606 - it is there for that

    keep(become, int(told))
