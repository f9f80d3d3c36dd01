"""The files of one log, held by one writer: opened, repaired, appended to durably, rotated. Every call blocks.

Why fdatasync is enough: it makes durable the data and whatever metadata is needed to read the data back, which
includes the file's length; it leaves out times. A new file's name lives in the directory, which is fsynced by itself.
"""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from typing import Final, NamedTuple

from fastness.core.event import EventType, Scalar
from fastness.core.ids import is_name
from fastness.ledger.entry import HEAD_NAME, Draft, Head, draft, seal, segment_path, write_head
from fastness.ledger.port import LedgerCorrupt, LedgerInUse
from fastness.ledger.tail import Tail, find_tail, read_head

HEAD_ENTRIES: Final = 4_096
"""head.json is written anew after this many entries, and when the log is opened and closed."""
_LOST: Final = "The disk lost acknowledged entries, and nothing can be recorded. Keep the directory and check the disk."


class FileOperations:
    """The calls that change files and make them durable; each raises OSError. Tests put failing disks here."""

    def write(self, fd: int, content: bytes, offset: int) -> int:
        """Write at `offset`; returns how many bytes were taken, perhaps fewer than given."""
        return os.pwrite(fd, content, offset)

    def truncate(self, fd: int, size_bytes: int) -> None:
        """Cut the file to `size_bytes`."""
        os.ftruncate(fd, size_bytes)

    def sync(self, fd: int) -> None:
        """Make the content and the length of a file durable."""
        os.fdatasync(fd)

    def sync_directory(self, fd: int) -> None:
        """Make the names in a directory durable."""
        os.fsync(fd)


class Written(NamedTuple):
    """A batch in the file that is not durable yet: the size of the file with it, and the chain after each entry."""

    size_bytes: int
    chains: list[bytes]


class Segments:
    """The open log. Not thread-safe: one thread at a time.

    Raises, when opened, LedgerInUse, LedgerCorrupt, ValueError for a log's name, and OSError.
    """

    _segment: int  # the one that is written, _size_bytes of it being durable
    _size_bytes: int
    _path: Path
    _entries: int  # how many are durable, with _chain after the last
    _chain: bytes
    _marked: int  # how many entries head.json tells of

    def __init__(
        self, directory: Path, log: str, segment_bytes_max: int, clock: Callable[[], int], files: FileOperations
    ) -> None:
        if not is_name(log):
            raise ValueError(f"{log!r} cannot be the name of a log; it needs lower-case letters, digits and hyphens")
        self._directory, self._log, self._segment_bytes_max, self._files = directory, log, segment_bytes_max, files
        self._fd = -1
        self._suspect = False  # whether the end of the segment may hold bytes that do not count
        _make_directory(directory)
        self._directory_fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
        try:
            _lock(self._directory_fd, directory)
            self._recover(clock)
        except BaseException:
            self._release()
            raise

    @property
    def entries(self) -> int:
        """How many entries are durable; also the index of the next one."""
        return self._entries

    @property
    def descriptor(self) -> int:
        """The open file of the segment that is written."""
        return self._fd

    @property
    def has_upkeep(self) -> bool:
        """Whether the next append has more to do than to write and to sync: what may take long."""
        return (
            self._suspect or self._size_bytes >= self._segment_bytes_max or self._entries - self._marked >= HEAD_ENTRIES
        )

    def append(self, drafts: Sequence[Draft]) -> list[bytes]:
        """Make a batch durable and return the chain after each entry.

        Raises OSError or LedgerCorrupt: then no entry of the batch is in the log, and the next call tries afresh.
        """
        if self._suspect:
            self._restore()
        if self._size_bytes >= self._segment_bytes_max:
            self._rotate()
        try:
            written = self.write(drafts)
            self._files.sync(self._fd)
            return self.confirm(written)
        except OSError:
            self.repair()
            raise

    def repair(self) -> None:
        """Cut what was written in vain; if this fails too, the next append begins with it. Raises nothing."""
        if self._suspect:
            with suppress(OSError, LedgerCorrupt):
                self._restore()

    def write(self, drafts: Sequence[Draft]) -> Written:
        """Write a batch, which is nothing before it was synced and `confirm`ed; raises OSError.

        Only where there is no upkeep. Whatever fails from here on, the next append repairs first.
        """
        lines, chains, chain = [], [], self._chain
        for index, drafted in enumerate(drafts, self._entries):
            line, chain = seal(drafted, index, chain)
            lines.append(line)
            chains.append(chain)
        self._suspect = True
        return Written(self._write(self._fd, b"".join(lines), self._size_bytes), chains)

    def confirm(self, written: Written) -> list[bytes]:
        """Take a batch as durable that was synced, and return its chains; raises OSError when its file has gone."""
        if not os.fstat(self._fd).st_nlink:
            raise FileNotFoundError(errno.ENOENT, "the segment was removed while it was written", str(self._path))
        self._suspect = False
        self._size_bytes, self._entries = written.size_bytes, self._entries + len(written.chains)
        self._chain = written.chains[-1]
        return written.chains

    def mark_head(self, every: int = HEAD_ENTRIES) -> None:
        """Write head.json when `every` entries or more came since it was written. A failure is left for the next time.

        The log does not need it: it only lets a later reader notice that the end was cut.
        """
        if self._entries - self._marked < every:
            return
        new = self._directory / f"{HEAD_NAME}.new"
        with suppress(OSError):
            fd = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
            try:
                self._write(fd, write_head(Head(self._log, self._entries, self._chain.hex())), 0)
                self._files.sync(fd)
            finally:
                os.close(fd)
            new.replace(self._directory / HEAD_NAME)
            self._files.sync_directory(self._directory_fd)
            self._marked = self._entries

    def close(self) -> None:
        """Write the head and let go of the log. Raises nothing."""
        self.repair()
        self.mark_head(every=1)
        self._release()

    def _recover(self, clock: Callable[[], int]) -> None:
        head = read_head(self._directory)
        tail = find_tail(self._directory, self._log, head)
        self._segment, self._size_bytes = tail.segment, tail.whole_bytes
        self._entries, self._chain = tail.entries, tail.chain
        self._marked = head.entries if head else -1
        self._open_segment(tail.segment)
        self._files.sync(self._fd)  # what a killed writer wrote may so far be in the page cache only
        if tail.torn_bytes:
            self._repair(tail, clock())
        self.mark_head(every=1)

    def _repair(self, tail: Tail, time_ms: int) -> None:
        """Put a record in the place of the torn bytes.

        What is left of them is cut after it is written: a crash in between leaves a torn tail again, and never a
        repair without its record.
        """
        digest, offset = sha256(), tail.whole_bytes
        while block := os.pread(self._fd, 65_536, offset):
            digest.update(block)
            offset += len(block)
        fields: dict[str, Scalar] = {
            "segment": tail.segment,
            "cut_bytes": tail.torn_bytes,
            "cut_sha256": digest.hexdigest(),
        }
        line, self._chain = seal(draft(EventType.LOG_REPAIRED, time_ms, fields), self._entries, self._chain)
        self._size_bytes = self._write(self._fd, line, tail.whole_bytes)
        self._entries += 1
        self._files.truncate(self._fd, self._size_bytes)
        self._files.sync(self._fd)

    def _write(self, fd: int, content: bytes, offset: int) -> int:
        while content:
            written = self._files.write(fd, content, offset)
            if written <= 0:
                raise OSError(errno.EIO, "the disk takes no more bytes", str(self._directory))
            content, offset = content[written:], offset + written
        return offset

    def _restore(self) -> None:
        """After a failed write: cut back to what is durable, and read its end from the disk itself.

        A failed fsync leaves pages marked clean that never reached the disk, so the page cache is not asked.
        """
        self._open_segment(self._segment, create=False)
        if os.fstat(self._fd).st_size < self._size_bytes:
            raise LedgerCorrupt(f"{self._path} is shorter than the {self._size_bytes} bytes that were durable. {_LOST}")
        self._files.truncate(self._fd, self._size_bytes)
        self._files.sync(self._fd)
        os.posix_fadvise(self._fd, 0, 0, os.POSIX_FADV_DONTNEED)
        tail = find_tail(self._directory, self._log)
        if (tail.entries, tail.chain, tail.torn_bytes) != (self._entries, self._chain, 0):
            raise LedgerCorrupt(
                f"{self._path} no longer ends with entry {self._entries - 1}, which was durable. {_LOST}"
            )
        self._suspect = False

    def _rotate(self) -> None:
        self._open_segment(self._segment + 1)
        self._segment, self._size_bytes = self._segment + 1, 0

    def _open_segment(self, number: int, *, create: bool = True) -> None:
        path = segment_path(self._directory, number)
        fd = os.open(path, os.O_RDWR | os.O_NOFOLLOW | (os.O_CREAT if create else 0), 0o600)
        try:
            if create:
                self._files.sync_directory(self._directory_fd)
        except BaseException:
            os.close(fd)
            raise
        if self._fd >= 0:
            os.close(self._fd)
        self._fd, self._path = fd, path

    def _release(self) -> None:
        for fd in (self._fd, self._directory_fd):  # closing the directory gives up the lock
            if fd >= 0:
                os.close(fd)
        self._fd = self._directory_fd = -1


def _make_directory(directory: Path) -> None:
    for path in reversed([directory, *directory.parents]):
        if not path.exists():
            path.mkdir(mode=0o700, exist_ok=True)
            fd = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
            try:
                os.fsync(fd)
            finally:
                os.close(fd)


def _lock(directory_fd: int, directory: Path) -> None:
    try:
        fcntl.flock(directory_fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise LedgerInUse(
            f"The log in {directory} is being written by another process, and a log has one writer. "
            "Stop the other (`fastness ps` shows what runs), or give this one a log of its own."
        ) from None
