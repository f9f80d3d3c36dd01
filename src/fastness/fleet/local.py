"""The fleet of this machine: replicas are child processes."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Final

from fastness.config import EngineSettings
from fastness.core.replica import Diagnosis, Replica, ReplicaState
from fastness.fleet.backoff import Backoff
from fastness.fleet.port import ReplicaOrder
from fastness.fleet.probe import status_of
from fastness.fleet.process import Process
from fastness.fleet.supervised import Care, Supervised

HEALTH_TIMEOUT_S: Final = 2.0


class LocalFleet:
    """Keeps replicas up on this machine. `on_change` gets each replica whose state changed, within milliseconds."""

    def __init__(
        self,
        settings: EngineSettings,
        on_change: Callable[[Replica], None],
        clock: Callable[[], float],
        on_line: Callable[[str, str], None] | None = None,
    ) -> None:
        self._settings = settings
        self._on_change = on_change
        self._clock = clock
        self._on_line = on_line
        self._kept: dict[str, tuple[ReplicaOrder, Supervised]] = {}

    async def start(self, order: ReplicaOrder) -> None:
        """See Fleet."""
        if order.id in self._kept:
            raise ValueError(f"replica {order.id} is in this fleet already")
        care = Care(
            start=lambda: self._execute(order),
            is_ready=lambda: _is_healthy(order),
            backoff=Backoff(self._settings.backoff_first_s, self._settings.backoff_max_s),
            start_timeout_s=self._settings.start_timeout_s,
            stop_timeout_s=self._settings.stop_timeout_s,
        )
        supervised = Supervised(care, lambda: self._on_change(self._replica(order.id)))
        self._kept[order.id] = (order, supervised)
        supervised.begin()

    async def stop(self, replica_id: str) -> None:
        """See Fleet."""
        _, supervised = self._kept[replica_id]
        await supervised.stop()
        del self._kept[replica_id]

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
        return await Process.start(order.argv, order.environ, on_line=on_line)

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
        )


async def _is_healthy(order: ReplicaOrder) -> bool:
    return order.socket.exists() and await status_of(order.socket, order.health_path, HEALTH_TIMEOUT_S) == 200


def _diagnosis(order: ReplicaOrder, supervised: Supervised) -> Diagnosis | None:
    """What its last end means; nothing is wrong with one that is ready or was never started before."""
    if supervised.state in (ReplicaState.READY, ReplicaState.STOPPED) or not supervised.restarts:
        return None
    return order.diagnose(supervised.last_lines, supervised.exit_code)


def _resident_bytes(pid: int | None) -> int | None:
    if pid is None:
        return None
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    except (OSError, ValueError, IndexError):
        return None
    return pages * os.sysconf("SC_PAGE_SIZE")
