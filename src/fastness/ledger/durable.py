"""Small files beside the logs, durable once they have their name. Core and standard library only."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path


def create_once(path: Path, content: bytes) -> None:
    """Write a file that only this user may read, unless it is there: whoever is first makes it. Raises OSError.

    It is written under another name and linked, so nobody sees half of it.
    """
    beside = path.with_name(f".{path.name}.{os.getpid()}.{os.urandom(4).hex()}")
    try:
        write_new(beside, content)
        with suppress(FileExistsError):
            os.link(beside, path)
    finally:
        beside.unlink(missing_ok=True)
    sync_directory(path.parent)


def write_new(path: Path, content: bytes) -> None:
    """Write a file that only this user may read, its content durable; raises OSError, also when it is there."""
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(fd, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(fd)


def sync_directory(directory: Path) -> None:
    """Make the names in a directory durable; raises OSError."""
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
