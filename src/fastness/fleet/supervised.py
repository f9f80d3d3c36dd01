"""Keeps one process up: started, watched until ready, looked after, and started again after a growing wait."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

from fastness.core.replica import ReplicaState
from fastness.fleet.backoff import Backoff
from fastness.fleet.process import Process

READY_PERIOD_S: Final = 0.02
ALIVE_PERIOD_S: Final = 2.0
ALIVE_MISSES_MAX: Final = 5


@dataclass(frozen=True, slots=True)
class Care:
    """How a process is looked after. `is_ready` answers at any time whether it serves; it never raises."""

    start: Callable[[], Awaitable[Process]]
    is_ready: Callable[[], Awaitable[bool]]
    backoff: Backoff
    start_timeout_s: float
    stop_timeout_s: float
    watch: bool = True


class Supervised:
    """One process kept up. `on_change` is called after each change of `state`, from the event loop."""

    def __init__(self, care: Care, on_change: Callable[[], None]) -> None:
        self._care = care
        self._on_change = on_change
        self._stopping = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._process: Process | None = None
        self._now = asyncio.get_running_loop().time
        self.state = ReplicaState.STOPPED
        self.epoch = 0
        self.restarts = 0
        self._since = self._now()
        self.exit_code: int | None = None
        self.last_lines: tuple[str, ...] = ()

    @property
    def pid(self) -> int | None:
        """The process id while there is one."""
        return self._process.pid if self._process else None

    def state_age_s(self) -> float:
        """For how long it has been in its state."""
        return self._now() - self._since

    def begin(self) -> None:
        """Start keeping it up."""
        self._task = asyncio.create_task(self._keep_up())

    async def stop(self) -> None:
        """End it for good; returns when it has ended."""
        self._stopping.set()
        if self._task:
            await self._task

    async def _keep_up(self) -> None:
        failures = 0
        while not self._stopping.is_set():
            self.epoch += 1
            self._set(ReplicaState.STARTING)
            ran_s = await self._once()
            if self._stopping.is_set():
                break
            failures = self._care.backoff.failures_after(failures, ran_s)
            self.restarts += 1
            self._set(ReplicaState.BACKING_OFF)
            await _within(self._stopping.wait(), self._care.backoff.delay_s(failures))
        self._set(ReplicaState.STOPPED)

    async def _once(self) -> float:
        """Run it once; return for how long it was ready, in seconds."""
        try:
            self._process = await self._care.start()
        except OSError as error:
            self.exit_code, self.last_lines = None, (f"cannot be started: {error}",)
            return 0.0
        process, ready_at = self._process, None
        gone = asyncio.create_task(process.wait())
        try:
            if await self._until(gone, self._until_ready()):
                ready_at = self._now()
                self._set(ReplicaState.READY)
                await self._until(gone, self._until_unwell())
        finally:
            self._leave(gone)
            self.exit_code = await process.end(self._care.stop_timeout_s)
            await asyncio.gather(gone, return_exceptions=True)
            self.last_lines = tuple(process.lines)
            self._process = None
        return 0.0 if ready_at is None else self._now() - ready_at

    def _leave(self, gone: asyncio.Task[int]) -> None:
        """Say at once that it serves no more, before waiting for its end."""
        if self.state is ReplicaState.READY:
            self._set(ReplicaState.DRAINING if self._stopping.is_set() else ReplicaState.BACKING_OFF)
        if not gone.done():
            gone.cancel()

    async def _until(self, gone: asyncio.Task[int], wish: Awaitable[bool]) -> bool:
        """Wait for `wish`, for the process to end, or to be told to stop; return what was wished, else False."""
        wished = asyncio.ensure_future(wish)
        stopping = asyncio.create_task(self._stopping.wait())
        await asyncio.wait((wished, gone, stopping), return_when=asyncio.FIRST_COMPLETED)
        result = wished.done() and not gone.done() and not self._stopping.is_set() and wished.result()
        for task in (wished, stopping):
            task.cancel()
        await asyncio.gather(wished, stopping, return_exceptions=True)
        return result

    async def _until_ready(self) -> bool:
        deadline = self._now() + self._care.start_timeout_s
        while self._now() < deadline:
            if await self._care.is_ready():
                return True
            await asyncio.sleep(READY_PERIOD_S)
        return False

    async def _until_unwell(self) -> bool:
        """Return when it has not answered several times in a row: it hangs, and is better started anew."""
        misses = 0
        while misses < ALIVE_MISSES_MAX:
            await asyncio.sleep(ALIVE_PERIOD_S)
            misses = misses + 1 if self._care.watch and not await self._care.is_ready() else 0
        return False

    def _set(self, state: ReplicaState) -> None:
        if state is not self.state:
            self.state, self._since = state, self._now()
            self._on_change()


async def _within(wait: Awaitable[bool], limit_s: float) -> None:
    try:
        async with asyncio.timeout(limit_s):
            await wait
    except TimeoutError:
        pass
