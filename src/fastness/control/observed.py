"""What the control process sees of the installation: the supervisor's two files in the run directory, and the logs."""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec

from fastness.control.declaration import Served
from fastness.control.problem import Problem
from fastness.control.run_files import ROUTING
from fastness.core.ids import is_name
from fastness.core.own_process import PROCESSES, OwnProcess, OwnProcesses
from fastness.core.replica import ReplicaState, RoutingSnapshot
from fastness.store.snapshot_file import SnapshotReader

LOG_TAIL_BYTES_MAX: Final = 1_048_576
"""How much of the end of one log file is read, however many lines are asked for."""
RUN_FILE_BYTES_MAX: Final = 65_536
_NOTHING: Final = RoutingSnapshot(0, (), ())


@dataclass(frozen=True, slots=True)
class Running:
    """The installation as its supervisor describes it in fastness.json. `base_url` ends in `/v1`."""

    pid: int
    base_url: str
    started_s: float | None = None


_RUNNING: Final = msgspec.json.Decoder(Running)


class ReplicaCount(msgspec.Struct, frozen=True):
    """How many replicas there are, how many of them are ready, and how many are in each state."""

    total: int
    ready: int
    states: dict[str, int]


class Status(msgspec.Struct, frozen=True):
    """The installation in a few words. `pid` is the supervisor's; it, `base_url` and the times are null when none runs.

    `sealed` tells whether every replica's engine is cut off from the network; null when there is no replica.
    """

    version: str
    pid: int | None
    control_pid: int
    base_url: str | None
    started_s: float | None
    uptime_s: float | None
    sealed: bool | None
    models: tuple[str, ...]
    replicas: ReplicaCount
    processes: tuple[OwnProcess, ...] = ()


class Observed:
    """Reads the run directory, anew at each call; a snapshot that cannot be read leaves the one before in force."""

    def __init__(self, run_directory: Path) -> None:
        self._run_file = run_directory / "fastness.json"
        self._reader = SnapshotReader(run_directory / ROUTING, RoutingSnapshot)
        self._routing = _NOTHING
        self._processes = SnapshotReader(run_directory / PROCESSES, OwnProcesses)
        self._kept = OwnProcesses()

    def processes(self) -> tuple[OwnProcess, ...]:
        """Return our own processes as the supervisor keeps them up; none while it does not run."""
        self._kept = self._processes.poll() or self._kept
        return self._kept.processes if self.running() else ()

    def routing(self) -> RoutingSnapshot:
        """Return the models and replicas; none before the supervisor has written them."""
        self._routing = self._reader.poll() or self._routing
        return self._routing

    def served(self) -> Served:
        """Return what a gateway would ask policy about."""
        routing = self.routing()
        places = frozenset((replica.deployment or replica.model, replica.node) for replica in routing.replicas)
        return Served(routing.deployments, routing.nodes, places)

    def running(self) -> Running | None:
        """Return what the supervisor wrote, or None when there is no live one."""
        try:
            with self._run_file.open("rb") as file:
                running = _RUNNING.decode(file.read(RUN_FILE_BYTES_MAX))
        except (OSError, ValueError, msgspec.MsgspecError):
            return None
        return running if _lives(running.pid) else None

    def status(self, version: str, now_s: float) -> Status:
        """Sum up what is seen."""
        running, routing = self.running(), self.routing()
        started_s = running.started_s if running else None
        states = Counter(replica.state for replica in routing.replicas)
        return Status(
            version=version,
            pid=running.pid if running else None,
            control_pid=os.getpid(),
            base_url=running.base_url if running else None,
            started_s=started_s,
            uptime_s=None if started_s is None else round(now_s - started_s, 3),
            sealed=all(replica.sealed for replica in routing.replicas) if routing.replicas else None,
            models=tuple(card.name for card in routing.models),
            replicas=ReplicaCount(states.total(), states[ReplicaState.READY], {str(k): n for k, n in states.items()}),
            processes=self.processes(),
        )


class LogTail(msgspec.Struct, frozen=True):
    """The last lines of one process's log, oldest first, each a JSON object as text."""

    process: str
    lines: tuple[str, ...]


def tail_logs(directory: Path, process: str | None, lines: int) -> tuple[LogTail, ...]:
    """Return the end of the log of one process, or of each; raises Problem for a process that has no log. Blocks."""
    found = sorted(path.stem for path in directory.glob("*.jsonl") if is_name(path.stem))
    if process is not None and process not in found:
        raise Problem(
            "not_found",
            f"No process {process[:80]!r} has a log here; there are {', '.join(found) or 'none'}.",
            "Leave `process` out for the logs of all processes.",
            param="process",
        )
    wanted = found if process is None else [process]
    return tuple(LogTail(name, _last_lines(directory / f"{name}.jsonl", lines)) for name in wanted)


def _last_lines(path: Path, count: int) -> tuple[str, ...]:
    try:
        with path.open("rb") as file:
            start = max(0, file.seek(0, os.SEEK_END) - LOG_TAIL_BYTES_MAX)
            file.seek(start)
            content = file.read(LOG_TAIL_BYTES_MAX)
    except FileNotFoundError:  # rotated just now
        return ()
    lines = content.decode("utf-8", "replace").splitlines()
    return tuple(lines[1 if start else 0 :][-count:])


def _lives(pid: int) -> bool:
    if pid <= 0:
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True
