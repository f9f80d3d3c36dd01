"""Which of several control processes leads: the one that holds the lock of a file. The others wait, and do nothing.

The kernel takes the lock from its holder in the moment in which that ends, however it ended, and no sooner. So there is
never a second one that leads, and never one that led before and does not know that it is over.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final, TypeVar

from fastness.ledger.port import LedgerInUse

LOCK: Final = "control.lock"
"""The file, in the home; it has the process id of who led last."""
PATIENCE_S: Final = 5.0
"""How long whoever leads now waits for what its predecessor, or a verb, has open still."""
PERIOD_S: Final = 0.01

T = TypeVar("T")


def lead(home: Path, wait: Callable[[int | None], None]) -> int:
    """Wait until this process leads, as long as that takes; return the open lock, to be kept until the process ends.

    `wait` is called before, if another one leads, with its process id as far as that is known.
    """
    descriptor = os.open(home / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            wait(leader(home))
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        os.pwrite(descriptor, b"%10d\n" % os.getpid(), 0)  # of one width: it is never seen half written
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def leader(home: Path) -> int | None:
    """Return the process id of who leads, or led last; None: nobody ever did."""
    try:
        return int((home / LOCK).read_bytes())
    except (OSError, ValueError):
        return None


def patiently(make: Callable[[], T], patience_s: float = PATIENCE_S) -> T:
    """Make what opens the ledger of the one that led before: it may be a moment until all it had is closed.

    Raises LedgerInUse when it does not come free, and what `make` raises.
    """
    deadline_s = time.monotonic() + patience_s
    while True:
        try:
            return make()
        except LedgerInUse:
            if time.monotonic() > deadline_s:
                raise
            time.sleep(PERIOD_S)
