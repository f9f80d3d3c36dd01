"""The processes of a benchmark, each ended by its pid whatever happens, and what they used."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import msgspec

from benchmarks.load import Job, Outcome

ROOT = Path(__file__).resolve().parent.parent
START_TIMEOUT_S = 20.0


def cpu_s(pid: int) -> float:
    """CPU seconds, user and system, of all threads of a process that it had, ended ones included.

    This is the kernel's CPU clock of the process (clock_getcpuclockid(3)): what /proc/PID/stat rounds to 10 ms.
    """
    return time.clock_gettime((~pid << 3) | 2)


def user_and_system_s(pid: int) -> tuple[float, float]:
    """The same from /proc/PID/stat, in two parts, to 10 ms."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    tick = os.sysconf("SC_CLK_TCK")
    return int(fields[11]) / tick, int(fields[12]) / tick


def resident_bytes(pid: int) -> int:
    """Resident memory now."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@contextmanager
def running(
    *argv: str,
    environ: Mapping[str, str] | None = None,
    stdin: bool = False,
    quiet: bool = False,
    grace_s: float = 10.0,
    program: str = sys.executable,
    output: int | IO[bytes] = subprocess.PIPE,
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a module of ours or another program; SIGTERM, and SIGKILL after `grace_s`, when the block ends.

    `output` takes what it prints, and its complaints too if it is a file.
    """
    complaints = None if output == subprocess.PIPE else output
    process = subprocess.Popen(
        [program, *argv],
        stdout=output,
        stdin=subprocess.PIPE if stdin else subprocess.DEVNULL,
        stderr=subprocess.DEVNULL if quiet else complaints,
        cwd=ROOT,
        env=dict(os.environ) | dict(environ or {}),
    )
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(grace_s)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        for pipe in (process.stdin, process.stdout):
            if pipe:
                pipe.close()


@contextmanager
def upstream(socket: Path, interval_ms: float, chunks: int) -> Iterator[Path]:
    """A fake engine that listens."""
    with running("-m", "benchmarks.upstream", str(socket), str(interval_ms), str(chunks)) as process:
        line_of(process)
        yield socket


class Load:
    """A load client that is warm and waits for the word."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process

    def go(self) -> Outcome:
        """Let it measure, and wait for what it saw."""
        _pipe(self._process.stdin).write(b"go\n")
        _pipe(self._process.stdin).flush()
        return msgspec.json.decode(line_of(self._process), type=Outcome)


@contextmanager
def load(job: Job) -> Iterator[Load]:
    """A load client with a job, warm."""
    with running("-m", "benchmarks.load", stdin=True) as process:
        _pipe(process.stdin).write(msgspec.json.encode(job) + b"\n")
        _pipe(process.stdin).flush()
        line_of(process)
        yield Load(process)


def line_of(process: subprocess.Popen[bytes]) -> bytes:
    """Read the next line of a process; raises RuntimeError when it ended instead."""
    line = _pipe(process.stdout).readline()
    if not line:
        raise RuntimeError(f"{process.args!r} ended with {process.wait()} before it said anything")
    return line


def _pipe(pipe: IO[bytes] | None) -> IO[bytes]:
    assert pipe
    return pipe
