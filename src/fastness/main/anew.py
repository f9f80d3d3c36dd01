"""Starts a process again whenever it ends: for those that the supervisor cannot start, since they need sockets.

It stands between the supervisor and such a process. It does nothing but wait, so there is little that could end it. If
it is killed itself, what it started ends with it, and only the next start of the supervisor brings that back.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Final

from fastness.main.process import PARENT_VARIABLE, die_with_supervisor, write_no_core

PAUSE_FIRST_S: Final = 0.05
PAUSE_MAX_S: Final = 5.0
WELL_S: Final = 10.0
"""Whoever ran for so long did not fail at its start: the next start does not wait longer than the first."""


def command(program: str) -> tuple[str, ...]:
    """Return the command that keeps a Python program up."""
    return (sys.executable, "-c", "from fastness.main.anew import run; run()", program)


def begin(program: str, home: Path) -> subprocess.Popen[bytes]:
    """Keep a Python program up, for as long as this process runs; SIGTERM ends both. Raises OSError."""
    return subprocess.Popen(
        command(program),
        env=os.environ | {"FASTNESS_HOME": str(home), PARENT_VARIABLE: str(os.getpid())},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


def run() -> None:
    """Keep a program up until SIGTERM, or until the supervisor is gone."""
    write_no_core()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    die_with_supervisor()
    os.environ[PARENT_VARIABLE] = str(os.getpid())
    pause_s = PAUSE_FIRST_S
    while True:
        began_s = time.monotonic()
        _once(sys.argv[1])
        pause_s = PAUSE_FIRST_S if time.monotonic() - began_s > WELL_S else min(2 * pause_s, PAUSE_MAX_S)
        time.sleep(pause_s)


def _once(program: str) -> None:
    process = subprocess.Popen((sys.executable, "-c", program), stdin=subprocess.DEVNULL)
    try:
        process.wait()
    finally:
        process.terminate()  # nothing, if it ended by itself
        process.wait()
