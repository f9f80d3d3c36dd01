"""The lines of one batch, asked a few at a time: what finds no room waits, what is answered is written."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Final, Protocol

from fastness.batches.asking import MAY_PASS, Reply, failure, result
from fastness.batches.lines import Line
from fastness.batches.pace import Pace
from fastness.batches.progress import Answered, Event
from fastness.batches.records import BatchRecord
from fastness.batches.results import Results
from fastness.batches.turnstile import Turnstile

ATTEMPTS_MAX: Final = 5
"""How often a line is asked whose answer fails for another reason than lack of room."""
RETRY_S: Final = 0.5
"""After the first such failure; doubles with each."""
SYNC_S: Final = 1.0
"""How long a result may be written without being durable; a machine that loses power asks these lines again."""
AWAY: Final = "The gateway broke off before the answer was whole, each time it was asked."

Note = Callable[[str, Event], None]
"""Told of each result that is on disk, with the batch's id."""


class Asks(Protocol):
    """Asks the gateway one line: `asking.GatewayDoor` does."""

    async def ask(self, batch: BatchRecord, line: Line) -> Reply:
        """Return what came; never raises for what goes wrong on the way."""
        ...


class Gate:
    """Lets the lines of one batch go, at its own pace: whoever is over a limit holds nobody else back."""

    def __init__(self, most: int) -> None:
        self._pace = Pace(most)
        self._now = asyncio.get_running_loop().time
        self._turn = asyncio.Lock()
        self._changed = asyncio.Event()

    async def go(self) -> None:
        """Wait until one more may be under way."""
        async with self._turn:
            while (wait_s := self._pace.wait_s(self._now())) != 0:
                self._changed.clear()
                with suppress(TimeoutError):
                    async with asyncio.timeout(wait_s):
                        await self._changed.wait()
            self._pace.go()

    def back(self, reply: Reply | None) -> None:
        """One came back; None: it was given up."""
        self._pace.back()
        if reply is not None and reply.waits:
            self._pace.refused(self._now(), reply.retry_after_s)
        elif reply is not None and reply.status:
            self._pace.answered()
        self._changed.set()


class LineWork:
    """See the module. At most `concurrency` lines are under way, of all batches together."""

    def __init__(self, door: Asks, concurrency: int) -> None:
        self._door = door
        self._turnstile = Turnstile(concurrency)
        self._concurrency = concurrency

    async def all(
        self,
        batch: BatchRecord,
        pending: Iterator[Line],
        results: Results,
        stop: asyncio.Event,
        note: Note,
    ) -> None:
        """Ask every line and write its result, until all are done or `stop` is set; then those under way are given up.

        Raises OSError when a result cannot be written.
        """
        under_way: set[asyncio.Task[None]] = set()
        gate = Gate(self._concurrency)
        stopped = asyncio.create_task(stop.wait())
        syncing = asyncio.create_task(_keep_durable(results))
        try:
            for line in pending:
                under_way.add(asyncio.create_task(self._one(batch, line, results, note, gate)))
                while len(under_way) >= self._concurrency and not stop.is_set():
                    under_way = await _some(under_way, stopped)
                if stop.is_set():
                    return
            while under_way and not stop.is_set():
                under_way = await _some(under_way, stopped)
        finally:
            for task in (*under_way, stopped, syncing):
                task.cancel()
            await asyncio.gather(*under_way, stopped, syncing, return_exceptions=True)

    async def _one(
        self, batch: BatchRecord, line: Line, results: Results, note: Callable[[str, Event], None], gate: Gate
    ) -> None:
        attempts = 0
        while True:
            reply = await self._ask(batch, line, gate)
            if reply.waits:
                continue  # the gate holds it back for as long as the refusal says
            attempts += 1
            if reply.status not in MAY_PASS or attempts >= ATTEMPTS_MAX:
                break
            await asyncio.sleep(RETRY_S * 2 ** (attempts - 1))
        ok = reply.status == 200
        text = result(batch, line, reply) if reply.status else failure(batch, line, "engine_failed", AWAY)
        if results.put(line.number, ok=ok, line=text):
            note(batch.id, Answered(ok))

    async def _ask(self, batch: BatchRecord, line: Line, gate: Gate) -> Reply:
        reply: Reply | None = None
        await gate.go()
        try:
            await self._turnstile.go(batch.tenant)
            try:
                reply = await self._door.ask(batch, line)
            finally:
                self._turnstile.back()
        finally:
            gate.back(reply)
        return reply


async def _some(under_way: set[asyncio.Task[None]], stopped: asyncio.Task[bool]) -> set[asyncio.Task[None]]:
    """Wait until one is done, or all are to stop; return those that are not done. Raises what one of them raised."""
    done, rest = await asyncio.wait({*under_way, stopped}, return_when=asyncio.FIRST_COMPLETED)
    for task in done - {stopped}:
        task.result()
    return {task for task in under_way if task in rest}


async def _keep_durable(results: Results) -> None:
    while True:
        await asyncio.sleep(SYNC_S)
        await asyncio.to_thread(results.sync)
