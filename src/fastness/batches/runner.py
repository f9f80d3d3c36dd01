"""Works batches off: one task for each that has not ended, all of them at one pace."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, Final, Protocol

from fastness.batches import lines
from fastness.batches.asking import failure
from fastness.batches.line_work import LineWork
from fastness.batches.progress import Counted, Event, Progress, State, Turn, Unusable, Validated, apply
from fastness.batches.records import BatchRecord, FileRecord
from fastness.batches.results import Results
from fastness.batches.shelf import Shelf
from fastness.config import BatchSettings
from fastness.core import event as ledger_event
from fastness.core.batch import LineError
from fastness.core.event import EventType, Scalar
from fastness.ledger.port import Ledger, LedgerUnavailable
from fastness.sealed.box import Damaged

TICK_S: Final = 1.0
"""How often it looks for windows and files that are over; batches that are made or end are seen at once."""
AT_ONCE_MAX: Final = 64
AT_ONCE_TENANT_MAX: Final = 4
"""Batches worked on at the same time, of all tenants and of one; the others are validating until their turn comes."""
REST_S: Final = 5.0
"""After a failure of the disk or the ledger, before a batch, or a file that is to go, is taken up again."""
_LEFT: Final = {
    State.COMPLETED: ("result_lost", "The result of this line was written, and then lost from the disk."),
    State.EXPIRED: ("batch_expired", "The batch's completion window was over before this line was answered."),
    State.CANCELLED: ("batch_cancelled", "The batch was cancelled before this line was answered."),
}


class Log(Protocol):
    """Telemetry's `JsonLog`."""

    def record(self, level: str, event: str, **fields: Scalar) -> None:
        """Write one record."""
        ...


class Runner:
    """See the module. `clock` tells seconds since 1970. Everything but disk work happens on one event loop."""

    def __init__(
        self,
        shelf: Shelf,
        settings: BatchSettings,
        line_work: LineWork,
        ledger: Ledger,
        log: Log,
        clock: Callable[[], float],
    ) -> None:
        self._shelf = shelf
        self._settings = settings
        self._line_work = line_work
        self._ledger = ledger
        self._log = log
        self._clock = clock
        self._changing = asyncio.Lock()
        self._stirred = asyncio.Event()
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._resting: dict[str, float] = {}
        self._stops: dict[str, asyncio.Event] = {}

    async def run(self) -> None:
        """Work until cancelled; what is under way then is taken up again by the next start."""
        try:
            while True:
                await self._guarded("tick", self._tick())
                try:
                    async with asyncio.timeout(TICK_S):
                        await self._stirred.wait()
                except TimeoutError:
                    pass
                self._stirred.clear()
        finally:
            for task in self._tasks.values():
                task.cancel()
            await asyncio.gather(*self._tasks.values(), return_exceptions=True)

    def stir(self) -> None:
        """Look again: there is a new batch, or room for one."""
        self._stirred.set()

    async def change(self, batch: str, event: Event) -> BatchRecord:
        """Apply an event to a batch, durably; raises Refusal, KeyError or OSError."""
        async with self._changing:
            before = self._shelf.batches[batch]
            progress = apply(before.progress, event, int(self._clock()))
            if progress == before.progress:
                return before
            after = replace(before, progress=progress)
            self._shelf.show(after)
            await asyncio.to_thread(self._shelf.keep, after)
        if progress.status is not State.IN_PROGRESS and (stop := self._stops.get(batch)):
            stop.set()
        return self._shelf.batches[batch]

    def files_in_use(self) -> dict[str, BatchRecord]:
        """Return which files a batch that has not ended still reads, by id."""
        return {one.input_file: one for one in self._shelf.batches.values() if not one.progress.ended}

    async def _tick(self) -> None:
        now = self._clock()
        for batch in list(self._shelf.batches.values()):
            await self._guarded("time", self._in_time(batch, now))
        await self._sweep_files(now)
        for name in [name for name, task in self._tasks.items() if task.done()]:
            del self._tasks[name]
        self._resting = {name: until for name, until in self._resting.items() if now < until}
        busy = Counter(self._shelf.batches[name].tenant for name in self._tasks)
        for batch in sorted(self._shelf.batches.values(), key=lambda one: one.created_s):
            if batch.progress.ended or batch.id in self._tasks or batch.id in self._resting:
                continue
            if busy.total() < AT_ONCE_MAX and busy[batch.tenant] < AT_ONCE_TENANT_MAX:
                busy[batch.tenant] += 1
                task = asyncio.get_running_loop().create_task(self._work(batch.id))
                task.add_done_callback(lambda _: self.stir())
                self._tasks[batch.id] = task

    async def _in_time(self, batch: BatchRecord, now: float) -> None:
        """Destroy a batch whose time is over, or end its window."""
        ended_s = batch.progress.ended_s
        if ended_s is not None and now >= ended_s + self._settings.file_lifetime_s:
            await asyncio.to_thread(self._shelf.destroy, batch)
        elif not batch.progress.ended and now >= batch.expires_s:
            await self.change(batch.id, Turn.WINDOW_OVER)

    async def _sweep_files(self, now: float) -> None:
        in_use = self.files_in_use()
        kept = in_use.keys() | self._resting.keys()
        for file in [one for one in self._shelf.files.values() if now >= one.expires_s and one.id not in kept]:
            try:
                await self._record(EventType.FILE_DELETED, file=file.id, tenant=file.tenant, reason="expired", by=None)
                await asyncio.to_thread(self._shelf.destroy, file)
            except (OSError, LedgerUnavailable) as error:
                self._log.record("error", "batch.disk", reason=type(error).__name__)
                self._resting[file.id] = now + REST_S

    async def _work(self, name: str) -> None:
        """Take a batch from where it stands to its end. What fails rests, and is taken up again."""
        if not await self._guarded("work", self._advance(name)):
            self._resting[name] = self._clock() + REST_S

    async def _guarded(self, where: str, work: Coroutine[Any, Any, None]) -> bool:
        """Tell whether it went well; what a disk, the ledger or a defect did is logged, without a word of content."""
        try:
            await work
        except (OSError, LedgerUnavailable) as error:
            self._log.record("error", "batch.disk", reason=type(error).__name__)
            return False
        except Exception as error:  # noqa: BLE001 - one batch's defect is not that of the others
            self._log.record("error", "defect", reason=type(error).__name__, where=f"batches.runner.{where}")
            return False
        return True

    async def _advance(self, name: str) -> None:
        try:
            while not (batch := self._shelf.batches[name]).progress.ended:
                if batch.progress.status is State.VALIDATING:
                    await self._validate(batch)
                elif batch.progress.status is State.IN_PROGRESS:
                    await self._answer(batch)
                else:
                    await self._file(batch)
        except (Damaged, KeyError):
            message = "The input file cannot be read: it is damaged, or was removed. Upload it again."
            await self._fail(name, Unusable((LineError("input_unreadable", message),)))

    async def _validate(self, batch: BatchRecord) -> None:
        settings = self._settings

        def check() -> int:
            return lines.check(self._lines(batch), batch.endpoint, settings.line_bytes_max, settings.lines_max)

        try:
            total = await asyncio.to_thread(check)
        except lines.BadInput as bad:
            await self._fail(batch.id, Unusable(bad.errors))
        else:
            await self.change(batch.id, Validated(total))

    async def _answer(self, batch: BatchRecord) -> None:
        stop = self._stops[batch.id] = asyncio.Event()
        try:
            with self._opened(batch, await asyncio.to_thread(Results, self._shelf, batch)) as results:
                batch = await self.change(batch.id, Counted(results.completed, results.failed))
                if batch.progress.status is not State.IN_PROGRESS:
                    return
                pending = (
                    lines.read(number, raw, batch.endpoint, self._settings.line_bytes_max)
                    for number, raw in self._lines(batch)
                    if number not in results.done
                )
                await self._line_work.all(batch, pending, results, stop, self._note)
                await asyncio.to_thread(results.sync)
                await self.change(batch.id, Counted(results.completed, results.failed))
            if not stop.is_set():
                await self.change(batch.id, Turn.WORKED_OFF)
        finally:
            self._stops.pop(batch.id, None)

    async def _file(self, batch: BatchRecord) -> None:
        """Make files of the results. All of it may be done twice, or half and again."""
        with self._opened(batch, await asyncio.to_thread(Results, self._shelf, batch)) as results:
            output, errors = await asyncio.to_thread(self._finish, batch, results)
            counted = Counted(results.completed, results.failed)
        for record in (output, errors):
            if record is not None:
                await asyncio.to_thread(self._shelf.keep, record)
                self._shelf.show(record)
        async with self._changing:
            batch = self._shelf.batches[batch.id]
            filed = replace(
                batch,
                output=replace(batch.output, filed=output is not None),
                errors=replace(batch.errors, filed=errors is not None),
                progress=apply(batch.progress, counted, int(self._clock())),
            )
            self._shelf.show(filed)
        await self._record_end(batch.id, batch.progress.aim)
        await self.change(batch.id, Turn.FILED)

    def _finish(self, batch: BatchRecord, results: Results) -> tuple[FileRecord | None, FileRecord | None]:
        left = _LEFT[batch.progress.aim]
        if batch.progress.total > len(results.done):
            for number, raw in self._lines(batch):
                if number not in results.done:
                    line = lines.read(number, raw, batch.endpoint, self._settings.line_bytes_max)
                    results.put(number, ok=False, line=failure(batch, line, *left))
        return results.finish(int(self._clock()))

    def _note(self, batch: str, event: Event) -> None:
        """Show progress that the results on disk know already."""
        record = self._shelf.batches[batch]
        self._shelf.show(replace(record, progress=apply(record.progress, event, int(self._clock()))))

    def _lines(self, batch: BatchRecord) -> Iterator[tuple[int, bytes]]:
        return lines.split(self._shelf.read(self._shelf.files[batch.input_file]), self._settings.line_bytes_max)

    @contextmanager
    def _opened(self, batch: BatchRecord, results: Results) -> Iterator[Results]:
        if results.cut_bytes:
            self._log.record("warning", "batch.torn", reason=batch.id, count=results.cut_bytes)
        try:
            yield results
        finally:
            results.close()

    async def _fail(self, name: str, event: Unusable) -> None:
        await self._record_end(name, State.FAILED)
        await self.change(name, event)

    async def _record_end(self, name: str, status: State) -> None:
        batch = self._shelf.batches[name]
        progress: Progress = batch.progress
        await self._record(
            EventType.BATCH_ENDED,
            batch=name,
            tenant=batch.tenant,
            status=status.value,
            total=progress.total,
            completed=progress.completed,
            failed=progress.failed,
        )

    async def _record(self, kind: EventType, **fields: Scalar) -> None:
        await self._ledger.commit(ledger_event.Event(kind, int(self._clock() * 1_000), dict(fields)))
