"""What gateways are told: snapshots in the run directory, each replaced whole."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from fastness.control.problem import Problem
from fastness.store.snapshot_file import write_snapshot

T = TypeVar("T")


def publish(path: Path, read: Callable[[], T]) -> T:
    """Write what `read` finds in the store to `path`, and return it. Blocks.

    The store is read under a lock that every publisher takes, so of two processes the later one publishes the later
    state: a revoked key cannot come back because a slow process wrote last. Raises Problem when the file cannot be
    replaced, and whatever `read` raises: then nothing is written, and what is there stays in force.
    """
    try:
        with _only_publisher(path.with_suffix(".lock")):
            snapshot = read()
            write_snapshot(path, snapshot)
    except OSError as error:
        raise Problem(
            "store_unavailable",
            f"The store is up to date, but {path} cannot be replaced: {error.strerror}. "
            "Gateways go on with what they know; it is tried again every second.",
            f"Look at the free space and the rights of {path.parent}.",
        ) from error
    return snapshot


@contextmanager
def _only_publisher(path: Path) -> Iterator[None]:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
