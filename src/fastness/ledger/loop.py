"""The ledger of the data path: the event loop writes a batch to the page cache, and the kernel syncs it meanwhile.

What takes long or goes wrong (a new segment, a repair, a disk that refuses, a disk so busy that writing itself takes
long) is left to the writer thread of `FileLedger`, which does all of it in the same files. At any time either the loop
or that thread works on them, never both.
"""

from __future__ import annotations

import asyncio
import os
from contextlib import suppress
from typing import Final

from fastness.config import LedgerSettings
from fastness.ledger.file import Failed, FileLedger, Waiting
from fastness.ledger.kernel_sync import KernelSync, open_kernel_sync
from fastness.ledger.notary import Notary
from fastness.ledger.segments import Segments, Written

SLOW_WRITE_S: Final = 0.05
"""A write to the page cache that takes longer holds up every stream: then the thread does the writing,"""
THREAD_S: Final = 2.0
"""for so long."""


class LoopLedger(FileLedger):
    """A `CallbackLedger` in a directory, for one event loop. Made by `open`. See the module."""

    def __init__(
        self,
        log: str,
        segments: Segments,
        settings: LedgerSettings,
        notary: Notary | None = None,
        kernel: KernelSync | None = None,
    ) -> None:
        super().__init__(log, segments, settings, notary)
        self._kernel = kernel or open_kernel_sync(segments.descriptor)
        self._watching: asyncio.AbstractEventLoop | None = None
        self._batch: list[Waiting] = []
        self._written: Written | None = None  # of `_batch`, while the kernel syncs it
        self._thread_until = 0.0

    async def close(self) -> None:
        """See FileLedger."""
        kernel, self._kernel = self._kernel, None
        if kernel is not None:
            self._wait(kernel)
            if self._watching is not None and not self._watching.is_closed():
                self._watching.remove_reader(kernel.descriptor)
            kernel.close()
        await super().close()

    def _hand_over(self) -> None:
        kernel, loop = self._kernel, self._loop
        if kernel is None or loop is None or self._closed is not None:
            super()._hand_over()
            return
        if self._written is not None:
            if self._watching is loop:
                return  # its outcome makes the next hand-over
            self._wait(kernel)
        thread_works = self._retrying or self._handed_entries != self._settled_entries
        if thread_works or self._segments.has_upkeep or loop.time() < self._thread_until:
            super()._hand_over()
        elif batch := self._next_batch():
            self._put_entries -= len(batch)
            self._begin(kernel, loop, batch)

    def _begin(self, kernel: KernelSync, loop: asyncio.AbstractEventLoop, batch: list[Waiting]) -> None:
        began = loop.time()
        try:
            written = self._segments.write([drafted for drafted, _ in batch])
            kernel.begin(self._segments.descriptor)
        except OSError as error:
            self._queue.put(Failed(batch, error))  # the thread repairs the file, and tells those who wait
            return
        self._batch, self._written = batch, written
        ended = loop.time()
        if ended - began > SLOW_WRITE_S:
            self._thread_until = ended + THREAD_S
        if self._watching is not loop:
            self._watching = loop
            loop.add_reader(kernel.descriptor, self._look)

    def _look(self) -> None:
        kernel = self._kernel
        if kernel is not None and self._written is not None and (failure := kernel.outcome()) is not None:
            self._end_batch(failure)

    def _wait(self, kernel: KernelSync) -> None:
        if self._written is not None:
            failure = kernel.outcome(wait=True)
            with suppress(BlockingIOError):
                os.eventfd_read(kernel.descriptor)
            self._end_batch(failure or 0)

    def _end_batch(self, failure: int) -> None:
        written, self._written = self._written, None
        batch, self._batch = self._batch, []
        assert written
        first = self._segments.entries
        try:
            if failure:
                raise OSError(failure, os.strerror(failure))  # noqa: TRY301 - as the call of a thread would
            chains = self._segments.confirm(written)
        except OSError as error:
            self._queue.put(Failed(batch, error))  # the thread repairs the file, and tells those who wait
        else:
            self._confirm(batch, first, chains)
