"""A disk that a test tells what to refuse, and a log on it."""

import asyncio
import errno
import os
import threading
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import cast

from fastness.config import LedgerSettings
from fastness.ledger.file import FileLedger
from fastness.ledger.kernel_sync import KernelSync
from fastness.ledger.loop import LoopLedger
from fastness.ledger.notary import Notary, Signing
from fastness.ledger.segments import FileOperations, Segments


class Disk(FileOperations):
    """A disk that can be told to fail, and that counts. A fault is used up by the call it hits."""

    def __init__(self) -> None:
        self.write_faults: deque[int | None] = deque()
        self.sync_faults: deque[bool] = deque()
        self.truncate_faults: deque[bool] = deque()
        self.full = False
        self.syncs = 0
        self.open_gate = threading.Event()
        self.open_gate.set()

    def write(self, fd: int, content: bytes, offset: int) -> int:
        """A fault is how many bytes are still taken before the disk is full; None is a short write without error."""
        if self.full:
            raise OSError(errno.ENOSPC, "No space left on device")
        if self.write_faults:
            taken = self.write_faults.popleft()
            if taken is None:
                return super().write(fd, content[: len(content) // 2 + 1], offset)
            super().write(fd, content[:taken], offset)
            raise OSError(errno.ENOSPC, "No space left on device")
        return super().write(fd, content, offset)

    def sync(self, fd: int) -> None:
        assert self.open_gate.wait(30)
        self.syncs += 1
        if self.sync_faults and self.sync_faults.popleft():
            raise OSError(errno.EIO, "Input/output error")

    def sync_directory(self, fd: int) -> None:
        pass

    def truncate(self, fd: int, size_bytes: int) -> None:
        if self.truncate_faults and self.truncate_faults.popleft():
            raise OSError(errno.EIO, "Input/output error")
        super().truncate(fd, size_bytes)


class DiskSync:
    """What KernelSync does, with the syncs of a disk that a test tells what to refuse."""

    def __init__(self, disk: FileOperations) -> None:
        self.descriptor = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._disk = disk
        self._thread: threading.Thread | None = None
        self._failure = 0

    def begin(self, file: int) -> None:
        assert self._thread is None, "one at a time"
        self._thread = threading.Thread(target=self._sync, args=(file,))
        self._thread.start()

    def outcome(self, *, wait: bool = False) -> int | None:
        if not wait:
            try:
                os.eventfd_read(self.descriptor)
            except BlockingIOError:
                return None
        assert self._thread
        self._thread.join()
        self._thread = None
        return self._failure

    def close(self) -> None:
        os.close(self.descriptor)

    def _sync(self, file: int) -> None:
        try:
            self._disk.sync(file)
            self._failure = 0
        except OSError as error:
            self._failure = error.errno or errno.EIO
        os.eventfd_write(self.descriptor, 1)


def opened(
    directory: Path, files: FileOperations, *, of_loop: bool = False, signing: Signing | None = None, **changed: int
) -> FileLedger:
    bounds = {"batch_entries_max": 1_024, "queue_entries_max": 65_536, "segment_bytes_max": 65_536} | changed

    class OnThisDisk(LoopLedger):
        def __init__(self, log: str, segments: Segments, settings: LedgerSettings, notary: Notary | None) -> None:
            super().__init__(log, segments, settings, notary, cast("KernelSync", DiskSync(files)))

    kind = OnThisDisk if of_loop else FileLedger
    return kind.open(directory, "gateway-0", LedgerSettings(**bounds), lambda: 0, files, signing)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not condition():
            await asyncio.sleep(0.002)
