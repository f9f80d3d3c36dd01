"""Ray on this host, as one process that can be ended: whatever it has started ends with it."""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import stat
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

from fastness.main.process import die_with_supervisor, write_no_core

GRACE_S = 2.0
"""How long Ray may take to end by itself."""


def run() -> None:
    """Be Ray until SIGTERM, or until it ends. Arguments: ports it is kept to, its directory, its command line."""
    from fastness.perimeter.reach import keep_to
    from fastness.perimeter.seal import NotSealed

    ports, scratch, *command = sys.argv[1:]
    write_no_core()
    signal.signal(signal.SIGTERM, _end)
    die_with_supervisor(signal.SIGTERM)
    try:
        keep_to(tuple(map(int, ports.split(","))))
    except NotSealed as error:
        sys.exit(f"fastness: {error}")
    alone = _make_private(Path(scratch))
    code = subprocess.Popen(command, stdin=subprocess.DEVNULL).wait()
    _end_session()
    shutil.rmtree(scratch, ignore_errors=True)
    os.close(alone)
    sys.exit(code)


def lock_of(scratch: Path) -> Path:
    """Return the file that the Ray of a directory has locked; it has the process id of who did last."""
    return scratch.with_suffix(".lock")


def _make_private(scratch: Path) -> int:
    """Begin with an empty directory below one that nobody else may enter. Sessions of before nobody reads.

    Waits until a Ray of before is gone, which may be ending still; returns the lock that the next one waits for.
    """
    scratch.parent.mkdir(mode=0o700, exist_ok=True)
    found = scratch.parent.lstat()
    if found.st_uid != os.getuid() or found.st_mode & 0o077 or not stat.S_ISDIR(found.st_mode):
        sys.exit(f"fastness: {scratch.parent} is not a directory of this user alone: remove it")
    alone = os.open(lock_of(scratch), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    fcntl.flock(alone, fcntl.LOCK_EX)
    os.pwrite(alone, b"%10d" % os.getpid(), 0)
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir(mode=0o700)
    return alone


def _end(_number: int, _frame: object) -> NoReturn:
    _end_session()
    shutil.rmtree(sys.argv[2], ignore_errors=True)
    os._exit(0)


def _end_session() -> None:
    """Ask, then insist: Ray's processes are in groups of their own, but in our session."""
    _send(signal.SIGTERM)
    deadline_s = time.monotonic() + GRACE_S
    while _others() and time.monotonic() < deadline_s:
        time.sleep(0.05)
    while _others():
        _send(signal.SIGKILL)
        time.sleep(0.05)


def _send(number: int) -> None:
    for pid in _others():
        with suppress(ProcessLookupError):
            os.kill(pid, number)


def _others() -> list[int]:
    """The processes of our session but this one, without those that have ended already."""
    found, ours = [], os.getsid(0)
    for name in os.listdir("/proc"):  # noqa: PTH208 - names are all that is needed
        if name.isdigit() and int(name) != os.getpid():
            with suppress(OSError, IndexError):
                state, session = _stat(int(name))
                if session == ours and state != "Z":
                    found.append(int(name))
    return found


def _stat(pid: int) -> tuple[str, int]:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return fields[0], int(fields[3])
