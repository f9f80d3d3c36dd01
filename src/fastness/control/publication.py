"""What gateways are told of tenants and keys: access.json, replaced whole."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fastness.store.port import AccessStore
from fastness.store.snapshot_file import write_snapshot


def publish_access(store: AccessStore, path: Path) -> int:
    """Write what `store` holds to `path` and return its version. Blocks; raises OSError and store.port.Unavailable.

    The store is read under a lock that every publisher takes, so of two processes the later one publishes the later
    state: a revoked key cannot come back because a slow process wrote last.
    """
    with _only_publisher(path.with_suffix(".lock")):
        snapshot = store.access()
        write_snapshot(path, snapshot)
    return snapshot.version


@contextmanager
def _only_publisher(path: Path) -> Iterator[None]:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
