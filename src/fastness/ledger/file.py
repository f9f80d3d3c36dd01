"""The ledger on disk: one writer thread, and one fsync for all entries that arrived during the last one.

The writer is woken once a batch, not once an entry: what a turn of the event loop records is gathered and handed over
together, and while a batch is being written the next one gathers. Thread switches are what a small write costs most.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Final, NamedTuple, TypeVar

from fastness.config import LedgerSettings
from fastness.core.event import Event
from fastness.ledger.entry import Draft, draft
from fastness.ledger.events import check_fields
from fastness.ledger.notary import Notary, Signing
from fastness.ledger.note import Note
from fastness.ledger.port import LedgerUnavailable, Position
from fastness.ledger.segments import FileOperations, Segments

RETRY_S: Final = 1.0
"""How long appended entries that the disk refused wait, if no other entry comes, before they are tried again."""

T = TypeVar("T")
Done = Callable[[Position | LedgerUnavailable], None]
Waiting = tuple[Draft, Done | None]
"""An entry without its link, and who waits for it."""


class Failed(NamedTuple):
    """A batch that somebody else could not write."""

    batch: list[Waiting]
    error: Exception


class FileLedger:
    """A `CallbackLedger` in a directory. Made by `open`; used from one event loop at a time, asyncio's or uvloop's."""

    def __init__(self, log: str, segments: Segments, settings: LedgerSettings, notary: Notary | None = None) -> None:
        self._log, self._segments, self._settings, self._notary = log, segments, settings, notary
        self._queue: SimpleQueue[list[Waiting] | Failed | None] = SimpleQueue()
        self._gathered: list[Waiting] = []
        self._busy = False  # whether a hand-over is coming, or a report from the writer that makes the next one
        self._put_entries = 0  # counted by who puts, and
        self._taken_entries = 0  # by the writer: each number has one thread that changes it
        self._handed_entries = 0  # to the writer, counted by who hands over, and
        self._settled_entries = 0  # by the writer, once it is done with them
        self._kept: list[Waiting] = []
        self._retrying = False  # whether the writer holds some back, to try them again by itself
        self._ending = False
        self._closed: asyncio.Future[int] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread = threading.Thread(target=self._write_batches, name=f"ledger-{log}", daemon=True)
        self._thread.start()

    @classmethod
    def open(
        cls,
        directory: Path,
        log: str,
        settings: LedgerSettings,
        clock: Callable[[], int],
        files: FileOperations | None = None,
        signing: Signing | None = None,
    ) -> FileLedger:
        """Open the log in `directory`, or begin one, and repair what a crash left. Blocks for some milliseconds.

        `clock` returns milliseconds since 1970. Without `signing`, no checkpoints are made. Raises LedgerInUse,
        LedgerCorrupt, LedgerUnavailable when the disk refuses, and ValueError for a name that is not lower-case
        letters, digits and hyphens.
        """
        files = files or FileOperations()
        try:
            segments = Segments(directory, log, settings.segment_bytes_max, clock, files)
            try:
                notary = Notary(directory, log, segments.entries, signing, files) if signing else None
            except BaseException:
                segments.close()
                raise
        except OSError as error:
            raise LedgerUnavailable(_refused(directory, error)) from error
        return cls(log, segments, settings, notary)

    async def commit(self, event: Event) -> Position:
        """Append and wait until it is durable; raises LedgerUnavailable, ValueError for what cannot be an entry.

        Cancelling the wait does not take the entry back.
        """
        waiter: asyncio.Future[Position] = self._running_loop().create_future()
        self.commit_then(event, partial(_resolve, waiter))
        return await waiter

    def commit_then(self, event: Event, done: Done) -> None:
        """Append, and call `done` once on the event loop, never before this returns, with the outcome.

        What `done` raises goes to the loop's exception handler. Raises ValueError, and does not call `done`, for an
        event that cannot be an entry.
        """
        check_fields(event)
        drafted = draft(event.type._value_, event.time_ms, event.fields)
        loop = self._running_loop()
        try:
            self._put(drafted, done, loop)
        except LedgerUnavailable as refusal:
            loop.call_soon(done, refusal)

    def append(self, event: Event) -> None:
        """Append without waiting; raises LedgerUnavailable, ValueError for what cannot be an entry.

        An entry that the disk refuses is kept and tried again.
        """
        check_fields(event)
        self._put(draft(event.type._value_, event.time_ms, event.fields), None, _running_loop())

    async def checkpoint(self) -> Note:
        """See SignedLedger."""
        if self._notary is None:
            raise LedgerUnavailable(f"The log {self._log} is not signed: it was opened without a key.")
        loop = asyncio.get_running_loop()
        waiter: asyncio.Future[Note] = loop.create_future()

        def told(outcome: Note | LedgerUnavailable) -> None:
            with suppress(RuntimeError):  # the loop is closed, and who waited is gone with it
                loop.call_soon_threadsafe(_resolve, waiter, outcome)

        self._notary.ask(told)
        return await waiter

    async def close(self) -> None:
        """Make durable what waits, and stop; raises LedgerUnavailable when appended entries could not be recorded.

        A second call waits for the first.
        """
        if self._closed is None:
            self._loop = asyncio.get_running_loop()
            self._closed = self._loop.create_future()
            self._queue.put(self._gathered)
            self._gathered = []
            self._queue.put(None)
        lost = await asyncio.shield(self._closed)
        self._thread.join()
        if lost:
            raise LedgerUnavailable(
                f"{lost} appended entries of the log {self._log} could not be recorded before the end"
            )

    def _running_loop(self) -> asyncio.AbstractEventLoop:
        loop = self._loop  # asking asyncio costs a system call
        return loop if loop is not None and loop.is_running() else asyncio.get_running_loop()

    def _put(self, drafted: Draft, done: Done | None, loop: asyncio.AbstractEventLoop | None) -> None:
        if self._closed is not None:
            raise LedgerUnavailable(f"The log {self._log} is closed.")
        if self._notary is not None and self._notary.fault is not None:
            raise LedgerUnavailable(str(self._notary.fault))
        if self._put_entries - self._taken_entries + len(self._kept) >= self._settings.queue_entries_max:
            raise LedgerUnavailable(
                f"{self._settings.queue_entries_max} entries of the log {self._log} wait for the disk already "
                "(ledger.queue_entries_max). Try again; if it stays so, the disk is too slow or refuses."
            )
        self._put_entries += 1
        self._gathered.append((drafted, done))
        if loop is None:
            self._hand_over()
        elif not self._busy or loop is not self._loop:
            self._loop = loop
            self._hand_over_soon()

    def _hand_over_soon(self) -> None:
        assert self._loop
        self._busy = True
        self._loop.call_soon(self._hand_over)

    def _hand_over(self) -> None:
        if (batch := self._next_batch()) and self._closed is None:
            self._handed_entries += len(batch)
            self._queue.put(batch)

    def _next_batch(self) -> list[Waiting]:
        most = self._settings.batch_entries_max
        batch, self._gathered = self._gathered[:most], self._gathered[most:]
        return batch

    # From here on: the writer thread.

    def _write_batches(self) -> None:
        while not self._ending:
            if batch := self._gather():
                self._write(batch)
        entries = self._segments.entries
        self._segments.close()
        if self._notary is not None:
            self._notary.close(entries)
        self._deliver(self._end, len(self._kept))

    def _gather(self) -> list[Waiting]:
        """Wait for a batch, and take all that are there with what is kept from before."""
        batch, self._kept = self._kept, []
        try:
            waiting = self._queue.get(timeout=RETRY_S if batch else None)
            while waiting is not None:
                if isinstance(waiting, Failed):
                    self._segments.repair()
                    self._undo(*waiting)
                    return batch
                batch += waiting
                self._taken_entries += len(waiting)
                if len(batch) >= self._settings.batch_entries_max:
                    return batch
                waiting = self._queue.get_nowait()
            self._ending = True
        except Empty:
            pass
        return batch

    def _write(self, batch: list[Waiting]) -> None:
        first = self._segments.entries
        try:
            chains = self._segments.append([drafted for drafted, _ in batch])
        except Exception as error:  # noqa: BLE001 - whatever it was, those who wait must hear of it
            self._undo(batch, error)
            self._settled_entries = self._taken_entries  # after it is known whether any are kept
        else:
            self._segments.mark_head()
            self._retrying = False
            self._settled_entries = self._taken_entries
            self._deliver(self._confirm, batch, first, chains)

    def _undo(self, batch: list[Waiting], error: Exception) -> None:
        self._kept = [waiting for waiting in batch if waiting[1] is None]
        self._retrying = bool(self._kept)
        waiters = [done for _, done in batch if done]
        self._deliver(self._refuse, waiters, _refused(self._log, error))

    def _deliver(self, report: Callable[..., None], *outcome: object) -> None:
        if self._loop is None:
            return  # nobody has waited yet
        with suppress(RuntimeError):  # the loop is closed, and who waited is gone with it
            self._loop.call_soon_threadsafe(report, *outcome)

    # From here on: the event loop again.

    def _confirm(self, batch: Sequence[Waiting], first: int, chains: Sequence[bytes]) -> None:
        if self._notary is not None:
            self._notary.reach(first + len(batch))
        for index, ((_, done), chain) in enumerate(zip(batch, chains, strict=True), first):
            if done:
                self._tell(done, Position(self._log, index, chain.hex()))
        self._go_on()

    def _refuse(self, waiters: Sequence[Done], reason: str) -> None:
        for done in waiters:
            self._tell(done, LedgerUnavailable(reason))
        self._go_on()

    def _go_on(self) -> None:
        self._busy = False
        if self._gathered:
            self._hand_over_soon()

    def _tell(self, done: Done, outcome: Position | LedgerUnavailable) -> None:
        try:
            done(outcome)
        except Exception as error:  # noqa: BLE001 - the others of the batch must still hear
            asyncio.get_running_loop().call_exception_handler(
                {"message": "a ledger callback failed", "exception": error}
            )

    def _end(self, lost: int) -> None:
        if self._closed is not None and not self._closed.done():
            self._closed.set_result(lost)


def _running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


def _resolve(waiter: asyncio.Future[T], outcome: T | LedgerUnavailable) -> None:
    if waiter.done():
        return
    if isinstance(outcome, LedgerUnavailable):
        waiter.set_exception(outcome)
    else:
        waiter.set_result(outcome)


def _refused(what: object, error: Exception) -> str:
    if isinstance(error, LedgerUnavailable):
        return str(error)
    reason = getattr(error, "strerror", None) or error  # without the path, which is no business of a caller
    return (
        f"The log {what} cannot record: {reason}. Nothing can be answered until it can. "
        "Check the free space and the health of the disk under FASTNESS_HOME; it recovers by itself."
    )
