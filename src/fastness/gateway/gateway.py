"""What the journey's steps share: the rooms below, the watch over running streams, and the slots."""

from __future__ import annotations

import asyncio
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Protocol, TypeVar

from fastness.config import Settings
from fastness.core.error import Refusal
from fastness.core.event import Event
from fastness.core.replica import Replica
from fastness.core.tenant import Principal
from fastness.gateway.http import EngineConnections
from fastness.gateway.meters import Meters
from fastness.gateway.relay import StreamRun
from fastness.gateway.routing import Routing, admit
from fastness.gateway.trip import Trip
from fastness.ledger.port import Ledger, LedgerUnavailable
from fastness.telemetry.log import JsonLog

T = TypeVar("T")


class Authenticator(Protocol):
    """Turns an Authorization header into a principal."""

    def authenticate(self, authorization: str | None, now_s: float) -> Principal:
        """Return who it is; raises Refusal."""
        ...


class Gateway:
    """One gateway process, as the journey sees it. `clock` tells seconds since 1970, `now` the loop's seconds."""

    def __init__(
        self,
        settings: Settings,
        routing: Routing,
        authenticator: Authenticator,
        ledger: Ledger,
        engines: EngineConnections,
        meters: Meters,
        log: JsonLog,
        clock: Callable[[], float],
    ) -> None:
        self.settings = settings
        self.routing = routing
        self.authenticator = authenticator
        self.ledger = ledger
        self.engines = engines
        self.meters = meters
        self.log = log
        self.clock = clock
        self.now = asyncio.get_running_loop().time
        self._runs: set[StreamRun] = set()

    @asynccontextmanager
    async def slot(self, trip: Trip) -> AsyncIterator[Replica]:
        """Hold a slot on the replica that takes this trip; it is freed however the block ends."""
        served = trip.served
        assert served
        began = self.now()
        name = await admit(served, object(), began, self.settings.traffic.queue_timeout_s)
        taken = self.now()
        try:
            replica = served.replicas.get(name)
            if replica is None:
                raise served.not_ready()
            trip.replica = replica
            trip.queue_s = max(trip.queue_s, taken - began)
            yield replica
        finally:
            served.wake(served.queue.release(name, self.now() - taken))

    @contextmanager
    def watched(self, trip: Trip, run: StreamRun) -> Iterator[None]:
        """Watch a stream for progress, and pause the engine while its client is slow."""
        self._runs.add(run)
        trip.runs.append(run)
        if trip.exchange.on_pause is None:
            trip.exchange.on_pause = trip.pause
            trip.exchange.on_resume = trip.resume
        try:
            yield
        finally:
            self._runs.discard(run)

    async def within_answer_time(self, work: Awaitable[T]) -> T:
        """Wait for a whole answer, not longer than an answer may take; raises Refusal."""
        limit_s = self.settings.traffic.answer_timeout_s
        try:
            async with asyncio.timeout(limit_s):
                return await work
        except TimeoutError:
            raise Refusal("engine_timeout", f"The answer took longer than {limit_s:g} s.") from None

    def sweep(self) -> None:
        """End the streams that make no progress; called several times a second."""
        now, traffic = self.now(), self.settings.traffic
        for run in list(self._runs):
            run.check(now, traffic)

    def append(self, event: Event) -> None:
        """Record what needs no waiting for; a ledger that cannot is already refusing answers."""
        try:
            self.ledger.append(event)
        except LedgerUnavailable:
            self.log.record("warning", "ledger.unavailable")
        except ValueError as error:
            self.note_defect(str(event.fields.get("request_id")), error)

    def note_defect(self, request_id: str, error: Exception) -> None:
        """Log where a defect is: its type and place, never its message, which may quote content."""
        frames = traceback.extract_tb(error.__traceback__)[-3:]
        where = " < ".join(f"{frame.name}:{frame.lineno}" for frame in reversed(frames))
        self.log.record("error", "defect", request_id=request_id, reason=type(error).__name__, where=where)
