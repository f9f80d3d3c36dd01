"""Keeps one process up: started, watched until ready, looked after, and started again after a growing wait."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from fastness.core.replica import ReplicaState
from fastness.fleet.backoff import Backoff
from fastness.fleet.process import Process

READY_PERIOD_S: Final = 0.02


class Ending(StrEnum):
    """How the last run ended."""

    NOT_STARTED = "not_started"
    EXITED = "exited"
    LATE = "late"
    HUNG = "hung"


@dataclass(frozen=True, slots=True)
class Care:
    """How a process is looked after. `is_ready` answers at any time whether it serves; it never raises.

    A ready process is asked every `watch_period_s`; after `misses_max` misses in a row, and no sooner than `silent_s`
    after it was last well, it hangs and is started anew. One that hangs has `hung_timeout_s` to end by itself; None:
    as long as any other, `stop_timeout_s`.
    """

    start: Callable[[], Awaitable[Process]]
    is_ready: Callable[[], Awaitable[bool]]
    backoff: Backoff
    start_timeout_s: float
    stop_timeout_s: float
    watch_period_s: float = 2.0
    misses_max: int = 5
    silent_s: float = 0.0
    hung_timeout_s: float | None = None


class Supervised:
    """One process kept up, for as long as it takes: it is never given up, only waited for longer.

    `on_change` is called after each change of `state`, from the event loop. `ending`, `exit_code` and `last_lines`
    tell of the last run that ended; `exit_code` is None when it was ended by us. `epoch` counts the starts.
    """

    def __init__(self, care: Care, on_change: Callable[[], None], epoch: int = 0) -> None:
        """`epoch` is how often it was started before."""
        self._care = care
        self._on_change = on_change
        self._stopping = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._process: Process | None = None
        self._stop_timeout_s = care.stop_timeout_s
        self._now = asyncio.get_running_loop().time
        self._since = self._now()
        self.state = ReplicaState.STOPPED
        self.epoch = epoch
        self.ending: Ending | None = None
        self.exit_code: int | None = None
        self.last_lines: tuple[str, ...] = ()

    @property
    def pid(self) -> int | None:
        """The process id while there is one."""
        return self._process.pid if self._process else None

    @property
    def restarts(self) -> int:
        """How often it has been started again."""
        return max(0, self.epoch - 1)

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

    def kill(self) -> None:
        """End it for good at once, without asking it first; `stop` waits until it has ended."""
        self._stopping.set()
        self._stop_timeout_s = 0.0
        if self._process is not None:
            self._process.kill()

    async def _keep_up(self) -> None:
        failures = 0
        try:
            while not self._stopping.is_set():
                self.epoch += 1
                self._set(ReplicaState.STARTING)
                ready_s = await self._once()
                if self._stopping.is_set():
                    break
                failures = self._care.backoff.failures_after(failures, ready_s)
                self._set(ReplicaState.BACKING_OFF)
                await _within(self._stopping.wait(), self._care.backoff.delay_s(failures))
        finally:
            self._set(ReplicaState.STOPPED)

    async def _once(self) -> float:
        """Run it once; return for how long it was ready, in seconds."""
        try:
            process = await self._care.start()
        except OSError as error:
            self.ending, self.exit_code = Ending.NOT_STARTED, None
            self.last_lines = (f"cannot be started: {error}",)
            return 0.0
        self._process, ready_at = process, None
        gone = asyncio.create_task(process.wait())
        try:
            if await self._until(gone, self._until_ready()):
                ready_at = self._now()
                self._set(ReplicaState.READY)
                await self._until(gone, self._until_unwell())
        finally:
            ready_s = 0.0 if ready_at is None else self._now() - ready_at
            by_itself = gone.done()
            if not by_itself:
                self._give_up(process)
            exit_code = await process.end(self._end_timeout_s())
            await gone
            self._process = None
            if by_itself:
                self._remember(Ending.EXITED, process, exit_code)
        return ready_s

    def _end_timeout_s(self) -> float:
        """How long it may take to end: one that hangs hears nobody, and others may wait for what it holds."""
        hangs = self.ending is Ending.HUNG and not self._stopping.is_set() and self._care.hung_timeout_s is not None
        return self._care.hung_timeout_s or 0.0 if hangs else self._stop_timeout_s

    def _give_up(self, process: Process) -> None:
        """Say at once that it serves no more, before the wait for its end."""
        was_ready = self.state is ReplicaState.READY
        if not self._stopping.is_set():
            self._remember(Ending.HUNG if was_ready else Ending.LATE, process, None)
        if was_ready:
            self._set(ReplicaState.DRAINING if self._stopping.is_set() else ReplicaState.BACKING_OFF)

    def _remember(self, ending: Ending, process: Process, exit_code: int | None) -> None:
        self.ending, self.exit_code, self.last_lines = ending, exit_code, tuple(process.lines)

    async def _until(self, gone: asyncio.Task[int], wish: Awaitable[bool]) -> bool:
        """Wait for `wish`, for the process to end, or to be told to stop; return what was wished, else False."""
        wished = asyncio.ensure_future(wish)
        stopping = asyncio.create_task(self._stopping.wait())
        try:
            await asyncio.wait((wished, gone, stopping), return_when=asyncio.FIRST_COMPLETED)
        finally:
            done = wished.done()
            for task in (wished, stopping):
                task.cancel()
            await asyncio.gather(wished, stopping, return_exceptions=True)
        return done and not gone.done() and not self._stopping.is_set() and wished.result()

    async def _until_ready(self) -> bool:
        deadline = self._now() + self._care.start_timeout_s
        while self._now() < deadline:
            if await self._care.is_ready():
                return True
            await asyncio.sleep(READY_PERIOD_S)
        return False

    async def _until_unwell(self) -> bool:
        """Return when it has not answered several times in a row: it hangs, and is better started anew."""
        care, misses, well_s = self._care, 0, self._now()
        while misses < care.misses_max or self._now() - well_s < care.silent_s:
            await asyncio.sleep(care.watch_period_s)
            if await care.is_ready():
                misses, well_s = 0, self._now()
            else:
                misses += 1
        return False

    def _set(self, state: ReplicaState) -> None:
        if state is not self.state:
            self.state, self._since = state, self._now()
            self._on_change()


async def _within(wait: Awaitable[bool], limit_s: float) -> None:
    with suppress(TimeoutError):
        async with asyncio.timeout(limit_s):
            await wait
