"""What this gateway tells the control plane: a report, replaced whole about twice a second, and at once for a drain.

A replica that drains may be stopped once every gateway says that it knows so and has nothing there any more: hence the
hurry. Nothing here is on the way of a request; what a report is made of is counted there anyway.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final

from fastness.core.observation import DeploymentLoad, GatewayReport
from fastness.gateway.routing import Routing
from fastness.gateway.served import Served
from fastness.store.snapshot_file import write_snapshot
from fastness.telemetry.log import JsonLog

PERIOD_S: Final = 0.5
TOGETHER_S: Final = 0.02
"""What happens within this time of a drain's news is told with it."""


def report_of(gateway: str, routing: Routing, at_ms: int, now_s: float) -> GatewayReport:
    """Return what there is to tell now. `now_s` is of the clock that the queues were told."""
    return GatewayReport(
        gateway,
        at_ms,
        routing.version,
        routing.draining,
        tuple(sorted(routing.in_flight().items())),
        tuple(_load(one, now_s) for one in routing.models()),
    )


def _load(served: Served, now_s: float) -> DeploymentLoad:
    line = served.queue.line()
    oldest_wait_s = 0.0 if line.since_s is None else max(0.0, now_s - line.since_s)
    return DeploymentLoad(
        served.name,
        line.waiting,
        line.batches,
        round(oldest_wait_s, 3),
        sum(lane.in_flight for lane in served.queue.lanes.values()),
        served.asked,
        max((round(served.choosing.used_part(one), 4) for one in served.replicas.values()), default=0.0),
        revisions=served.tallies.loads(),
        batch_running=served.queue.batch_running,
    )


class Reporter:
    """Writes the report of one gateway to `path`. `clock` tells seconds since 1970."""

    def __init__(self, path: Path, gateway: str, routing: Routing, clock: Callable[[], float], log: JsonLog) -> None:
        self._path, self._gateway, self._routing, self._clock, self._log = path, gateway, routing, clock, log
        self._loop = asyncio.get_running_loop()
        self._due = asyncio.Event()
        self._failed = False

    async def keep(self) -> None:
        """Report until cancelled, and leave no report behind."""
        self._routing.hurry = self._due.set
        try:
            await self._report()
        finally:
            self._routing.hurry = lambda: None
            self._path.unlink(missing_ok=True)

    async def _report(self) -> None:
        while True:
            report = report_of(self._gateway, self._routing, round(self._clock() * 1_000), self._loop.time())
            writing = self._loop.run_in_executor(None, self._write, report)
            try:
                await asyncio.shield(writing)
            except asyncio.CancelledError:
                await writing  # else it might come back after it was removed
                raise
            with suppress(TimeoutError):
                async with asyncio.timeout(PERIOD_S):
                    await self._due.wait()
                await asyncio.sleep(TOGETHER_S)
            self._due.clear()

    def _write(self, report: GatewayReport) -> None:
        """Write it, in a thread: a disk may keep one waiting."""
        try:
            write_snapshot(self._path, report, durable=False)
        except OSError as error:
            if not self._failed:
                reason = error.strerror or type(error).__name__
                self._log.record("warning", "snapshot.problem", reason=reason, where=self._path.name)
            self._failed = True
        else:
            self._failed = False
