"""A process that the supervisor cannot start a second time is started again by whoever it started for that."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from fastness.main.anew import begin, command
from fastness.main.process import PARENT_VARIABLE

PROGRAM = """
import os, pathlib, time
from fastness.main.process import die_with_supervisor
die_with_supervisor()
file = pathlib.Path(os.environ["FASTNESS_HOME"], "pid")
file.with_name("draft").write_text(str(os.getpid()))
file.with_name("draft").replace(file)
time.sleep(600)
"""


class Kept:
    def __init__(self, home: Path) -> None:
        self.home, self.process = home, begin(PROGRAM, home)

    def pid(self) -> int:
        file = self.home / "pid"
        return int(file.read_text()) if file.exists() else 0


@contextmanager
def kept(home: Path) -> Iterator[Kept]:
    one = Kept(home)
    try:
        yield one
    finally:
        one.process.terminate()
        one.process.wait()
        with suppress(ProcessLookupError):
            os.kill(one.pid(), signal.SIGKILL)


def soon(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def is_gone(pid: int) -> bool:
    with suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    return True


def test_it_is_started_again_when_it_is_killed_and_ends_when_it_is_told_to(tmp_path: Path) -> None:
    with kept(tmp_path) as one:
        soon(one.pid)
        for _ in range(2):
            killed = one.pid()
            os.kill(killed, signal.SIGKILL)
            soon(lambda killed=killed: one.pid() != killed)
        one.process.terminate()
        assert one.process.wait(60) == 0
        assert is_gone(one.pid())


def test_it_ends_with_whoever_keeps_it_however_that_ends(tmp_path: Path) -> None:
    with kept(tmp_path) as one:
        soon(one.pid)
        one.process.kill()
        one.process.wait()
        soon(lambda: is_gone(one.pid()))


def test_nothing_is_begun_for_a_supervisor_that_is_gone(tmp_path: Path) -> None:
    program = f"import pathlib; pathlib.Path({str(tmp_path / 'begun')!r}).touch()"
    late = subprocess.run(command(program), env=os.environ | {PARENT_VARIABLE: "1"}, capture_output=True, text=True)
    assert late.returncode == 1 and "is gone" in late.stderr
    assert not (tmp_path / "begun").exists()
