"""The fleet of this machine: replicas are child processes."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Final

from fastness.config import EngineSettings
from fastness.core.replica import Diagnosis, Replica, ReplicaState
from fastness.fleet.backoff import Backoff
from fastness.fleet.port import ReplicaOrder
from fastness.fleet.probe import status_of
from fastness.fleet.process import Process
from fastness.fleet.supervised import Care, Ending, Supervised

WATCH_PERIOD_S: Final = 2.0
HEALTH_TIMEOUT_S: Final = 2.0
EVIDENCE_LINES_MAX: Final = 4

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


class LocalFleet:
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
        self._kept: dict[str, tuple[ReplicaOrder, Supervised]] = {}

    async def start(self, order: ReplicaOrder) -> None:
        """See Fleet."""
        if order.id in self._kept:
            raise ValueError(f"replica {order.id} is in this fleet already")
        if order.socket.parent != order.scratch or order.scratch.name != order.id:
            raise ValueError(f"replica {order.id} needs a scratch directory of its own name, with its socket in it")
        care = Care(
            start=lambda: self._execute(order),
            is_ready=lambda: self._is_healthy(order),
            backoff=Backoff(self._settings.backoff_first_s, self._settings.backoff_max_s),
            start_timeout_s=self._settings.start_timeout_s,
            stop_timeout_s=self._settings.stop_timeout_s,
            watch_period_s=self._watch_period_s,
        )
        supervised = Supervised(care, lambda: self._on_change(self._replica(order.id)))
        self._kept[order.id] = (order, supervised)
        supervised.begin()

    async def stop(self, replica_id: str) -> None:
        """See Fleet."""
        _, supervised = self._kept[replica_id]
        await supervised.stop()
        self._kept.pop(replica_id, None)

    def observe(self) -> tuple[Replica, ...]:
        """See Fleet."""
        return tuple(self._replica(replica_id) for replica_id in self._kept)

    async def close(self) -> None:
        """See Fleet."""
        await asyncio.gather(*(self.stop(replica_id) for replica_id in tuple(self._kept)))

    async def _execute(self, order: ReplicaOrder) -> Process:
        shutil.rmtree(order.scratch, ignore_errors=True)
        order.scratch.mkdir(parents=True, mode=0o700)
        tell = self._on_line
        on_line = (lambda line: tell(order.id, line)) if tell else None
        return await Process.start(order.argv, order.environ, descriptors=order.descriptors, on_line=on_line)

    async def _is_healthy(self, order: ReplicaOrder) -> bool:
        if not order.socket.exists():
            return False
        return await status_of(order.socket, order.health_path, self._health_timeout_s) == 200

    def _replica(self, replica_id: str) -> Replica:
        order, supervised = self._kept[replica_id]
        return Replica(
            id=order.id,
            model=order.model,
            engine=order.engine,
            state=supervised.state,
            socket=str(order.socket),
            slots=order.slots,
            context_tokens=order.context_tokens,
            epoch=supervised.epoch,
            sealed=order.sealed,
            pid=supervised.pid,
            restarts=supervised.restarts,
            since_s=self._clock() - supervised.state_age_s(),
            memory_bytes=_resident_bytes(supervised.pid),
            diagnosis=_diagnosis(order, supervised),
            node=order.node,
        )


def _diagnosis(order: ReplicaOrder, supervised: Supervised) -> Diagnosis | None:
    """What its last end means, until it is ready again."""
    if supervised.ending is None or supervised.state not in (ReplicaState.STARTING, ReplicaState.BACKING_OFF):
        return None
    told = _OWN_DIAGNOSES.get(supervised.ending)
    if told:
        return replace(told, evidence=supervised.last_lines[-EVIDENCE_LINES_MAX:])
    return order.diagnose(supervised.last_lines, supervised.exit_code)


def _resident_bytes(pid: int | None) -> int | None:
    if pid is None:
        return None
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    except (OSError, ValueError, IndexError):
        return None
    return pages * os.sysconf("SC_PAGE_SIZE")
