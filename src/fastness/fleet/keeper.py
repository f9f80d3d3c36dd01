"""Keeps replicas up on this machine: each is a process with a seal around it."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from fastness.config import EngineSettings
from fastness.core.replica import Diagnosis, Replica, ReplicaState
from fastness.fleet.backoff import Backoff
from fastness.fleet.probe import status_of
from fastness.fleet.process import Process, Start
from fastness.fleet.supervised import Care, Ending, Supervised

WATCH_PERIOD_S: Final = 2.0
HEALTH_TIMEOUT_S: Final = 2.0
EVIDENCE_LINES_MAX: Final = 4
FAMILY_MAX: Final = 256
"""Processes of a replica whose memory is looked at."""

# What no engine can say of itself; all else is read by the engine's own table.
NOT_STARTED: Final = Diagnosis(
    "not_started",
    "The engine's process could not be started.",
    "See the evidence: the program is missing, or this machine has no process or memory left for it.",
)
HUNG: Final = Diagnosis(
    "hung",
    "The engine ran, but did not answer any more; it was ended.",
    "It is started again by itself. If it happens often, give it more processor time: fewer slots or fewer threads.",
)
_OWN_DIAGNOSES: Final = {Ending.NOT_STARTED: NOT_STARTED, Ending.HUNG: HUNG}


@dataclass(frozen=True, slots=True)
class Execution:
    """How one replica is executed: the program, where its socket will be, and how its last words are read.

    `scratch` is the private directory of this replica; it is emptied before each start and holds the socket.
    `descriptors` stay open in it, under the same numbers. `node` is the machine it is placed on. `deployment`,
    `revision`, `model_digest`, `term`, `build` and `adapters` are those of a Replica. `start` starts it in another way.
    """

    id: str
    model: str
    engine: str
    argv: tuple[str, ...]
    environ: dict[str, str]
    socket: Path
    scratch: Path
    slots: int
    context_tokens: int
    health_path: str
    sealed: bool
    diagnose: Callable[[tuple[str, ...], int | None], Diagnosis]
    descriptors: tuple[int, ...] = ()
    node: str = "local"
    deployment: str = ""
    revision: int = 0
    model_digest: str = ""
    term: int = 0
    build: str = ""
    start: Start | None = None
    adapters: tuple[str, ...] = ()


class ReplicaKeeper:
    """Keeps replicas up on this machine. `on_change` gets each replica whose state changed, within milliseconds."""

    def __init__(
        self,
        settings: EngineSettings,
        on_change: Callable[[Replica], None],
        clock: Callable[[], float],
        on_line: Callable[[str, str], None] | None = None,
        *,
        watch_period_s: float = WATCH_PERIOD_S,
        health_timeout_s: float = HEALTH_TIMEOUT_S,
    ) -> None:
        self._settings = settings
        self._on_change = on_change
        self._clock = clock
        self._on_line = on_line
        self._watch_period_s = watch_period_s
        self._health_timeout_s = health_timeout_s
        self._kept: dict[str, tuple[Execution, Supervised]] = {}

    async def start(self, execution: Execution, starts: int = 0) -> None:
        """Begin to keep a replica up, whose engine was started so often before.

        Raises ValueError for an id that is known, or a scratch directory not its own."""
        if execution.id in self._kept:
            raise ValueError(f"replica {execution.id} is kept already")
        if execution.socket.parent != execution.scratch or execution.scratch.name != execution.id:
            raise ValueError(f"replica {execution.id} needs a scratch directory of its own name, with its socket in it")
        care = Care(
            start=lambda: self._execute(execution),
            is_ready=lambda: self._is_healthy(execution),
            backoff=Backoff(self._settings.backoff_first_s, self._settings.backoff_max_s),
            start_timeout_s=self._settings.start_timeout_s,
            stop_timeout_s=self._settings.stop_timeout_s,
            watch_period_s=self._watch_period_s,
        )
        supervised = Supervised(care, lambda: self._on_change(self._replica(execution.id)), starts)
        self._kept[execution.id] = (execution, supervised)
        supervised.begin()

    async def stop(self, replica_id: str) -> int:
        """End a replica for good; return how often its engine was started. Raises KeyError."""
        _, supervised = self._kept[replica_id]
        await supervised.stop()
        self._kept.pop(replica_id, None)
        return supervised.epoch

    def kill(self) -> None:
        """End every engine at once; `stop` still has to be called for each."""
        for _, supervised in self._kept.values():
            supervised.kill()

    def observe(self) -> tuple[Replica, ...]:
        """Return every replica as it is now, in the order of their start."""
        return tuple(self._replica(replica_id) for replica_id in self._kept)

    async def close(self) -> None:
        """End every replica."""
        await asyncio.gather(*(self.stop(replica_id) for replica_id in tuple(self._kept)))

    async def _execute(self, execution: Execution) -> Process:
        shutil.rmtree(execution.scratch, ignore_errors=True)
        execution.scratch.mkdir(parents=True, mode=0o700)
        tell = self._on_line
        on_line = (lambda line: tell(execution.id, line)) if tell else None
        return await Process.start(
            execution.argv,
            execution.environ,
            descriptors=execution.descriptors,
            on_line=on_line,
            start=execution.start,
        )

    async def _is_healthy(self, execution: Execution) -> bool:
        if not execution.socket.exists():
            return False
        return await status_of(execution.socket, execution.health_path, self._health_timeout_s) == 200

    def _replica(self, replica_id: str) -> Replica:
        execution, supervised = self._kept[replica_id]
        return Replica(
            id=execution.id,
            model=execution.model,
            engine=execution.engine,
            state=supervised.state,
            socket=str(execution.socket),
            slots=execution.slots,
            context_tokens=execution.context_tokens,
            epoch=supervised.epoch,
            sealed=execution.sealed,
            pid=supervised.pid,
            restarts=supervised.restarts,
            since_s=self._clock() - supervised.state_age_s(),
            memory_bytes=_resident_bytes(supervised.pid),
            diagnosis=_diagnosis(execution, supervised),
            node=execution.node,
            deployment=execution.deployment,
            revision=execution.revision,
            model_digest=execution.model_digest,
            term=execution.term,
            build=execution.build,
            adapters=execution.adapters,
        )


def _diagnosis(execution: Execution, supervised: Supervised) -> Diagnosis | None:
    """What its last end means, until it is ready again."""
    if supervised.ending is None or supervised.state not in (ReplicaState.STARTING, ReplicaState.BACKING_OFF):
        return None
    told = _OWN_DIAGNOSES.get(supervised.ending)
    if told:
        return replace(told, evidence=supervised.last_lines[-EVIDENCE_LINES_MAX:])
    return execution.diagnose(supervised.last_lines, supervised.exit_code)


def _resident_bytes(pid: int | None) -> int | None:
    """What a process and those that it has started have in memory; what they share is counted for each."""
    if pid is None:
        return None
    try:
        pages, found = 0, [pid]
        for one in found:  # which grows as their children are found
            pages += int(Path(f"/proc/{one}/statm").read_text().split()[1])
            if len(found) < FAMILY_MAX:
                found += _children(one)
    except (OSError, ValueError, IndexError):
        return None
    return pages * os.sysconf("SC_PAGE_SIZE")


def _children(pid: int) -> list[int]:
    try:
        return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:  # a kernel that does not tell
        return []
