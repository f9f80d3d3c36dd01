"""A snapshot: one value in one JSON file, replaced whole. Control and supervisor write, gateways read and never wait.

Any dataclass of core that msgspec can encode will do. Imports nothing heavy: gateways import this file.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final, Generic, TypeVar

import msgspec

SNAPSHOT_BYTES_MAX: Final = 67_108_864
"""A larger file is not read: nothing that we write comes near it."""

T = TypeVar("T")


class SnapshotFault(StrEnum):
    """Why a snapshot cannot be used now."""

    MISSING = "missing"
    UNREADABLE = "unreadable"
    TOO_LARGE = "too_large"
    INVALID = "invalid"


@dataclass(frozen=True, slots=True)
class SnapshotProblem:
    """A snapshot that cannot be used. Whatever was read before stays in force."""

    fault: SnapshotFault
    path: Path
    detail: str

    def __str__(self) -> str:
        return f"{self.path} is {self.fault}: {self.detail}. The snapshot read before stays in force."


def write_snapshot(path: Path, value: object, *, durable: bool = True) -> None:
    """Replace the file at `path` by `value` as JSON (mode 0600): a reader sees the old one or the new one, whole.

    Durable on return, unless that does not matter. Raises OSError (full, read-only, no such directory), leaving the old
    file as it was.
    """
    draft = path.with_name(f".{path.name}.{os.getpid()}.{os.urandom(4).hex()}")
    try:
        _write_draft(draft, msgspec.json.encode(value), durable)
        draft.replace(path)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise
    if durable:
        _sync_directory(path.parent)


def _write_draft(draft: Path, content: bytes, durable: bool) -> None:
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        # The kernel stamps files by its tick, milliseconds long. Two snapshots within one tick, in an inode that was
        # freed and taken again, would look the same to a reader: so we stamp them ourselves, by the nanosecond.
        now_ns = time.time_ns()
        os.utime(file.fileno(), ns=(now_ns, now_ns))
        if durable:
            os.fsync(file.fileno())


def _sync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class SnapshotReader(Generic[T]):
    """Reads the snapshot at `path` as `kind`, when it has changed.

    `report` is told of each problem once, not on every poll; the same problem is told again only after a good read.
    """

    def __init__(self, path: Path, kind: type[T], report: Callable[[SnapshotProblem], None] | None = None) -> None:
        self._path = path
        self._decoder = msgspec.json.Decoder(kind)
        self._report = report
        self._seen: tuple[int, int, int] | None = None
        self.problem: SnapshotProblem | None = None
        """What is wrong with the file at present; None when the last good read is what the file holds."""

    def poll(self) -> T | None:
        """Return the new value, or None when there is none: unchanged, missing, torn or invalid. Never raises.

        Costs one `stat` when nothing changed.
        """
        try:
            if self._seen is not None and self._seen == _identity(self._path.stat()):
                return None
            with self._path.open("rb") as file:
                found = os.fstat(file.fileno())
                if self._seen == _identity(found):
                    return None
                content = file.read(SNAPSHOT_BYTES_MAX + 1)
        except FileNotFoundError:
            return self._refuse(SnapshotFault.MISSING, "there is no such file")
        except OSError as error:
            return self._refuse(SnapshotFault.UNREADABLE, error.strerror or type(error).__name__)
        self._seen = _identity(found)
        return self._decode(content)

    def _decode(self, content: bytes) -> T | None:
        if len(content) > SNAPSHOT_BYTES_MAX:
            return self._refuse(SnapshotFault.TOO_LARGE, f"it has more than {SNAPSHOT_BYTES_MAX} bytes")
        try:
            value = self._decoder.decode(content)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            return self._refuse(SnapshotFault.INVALID, str(error).partition("\n")[0])
        self.problem = None
        return value

    def _refuse(self, fault: SnapshotFault, detail: str) -> T | None:
        if fault in {SnapshotFault.MISSING, SnapshotFault.UNREADABLE}:
            self._seen = None
        problem = SnapshotProblem(fault, self._path, detail)
        if problem != self.problem:
            self.problem = problem
            if self._report is not None:
                self._report(problem)
        return None


def _identity(found: os.stat_result) -> tuple[int, int, int]:
    return found.st_mtime_ns, found.st_ino, found.st_size
