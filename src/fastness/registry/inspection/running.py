"""A process is run on one request, within bounds on time and output, and watched until it is gone."""

from __future__ import annotations

import os
import selectors
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO, Final

from fastness.registry.inspection.port import InspectionUnavailable
from fastness.registry.inspection.wire import ANSWER_BYTES_MAX

STDERR_BYTES_MAX: Final = 65_536
_ENVIRON: Final = {"LANG": "C.UTF-8"}


@dataclass(frozen=True, slots=True)
class Usage:
    """What an inspection took: wall time, the most memory its process held, and how that ended."""

    elapsed_s: float
    peak_bytes: int
    exit_status: int


@dataclass(frozen=True, slots=True)
class Ended:
    """How the process ended; `stopped` says which bound we ended it for."""

    output: bytes
    errors: bytes
    stopped: str | None
    usage: Usage


def run(argv: tuple[str, ...], request: bytes, timeout_s: float) -> Ended:
    """Run the child on a request, within bounds on time and output; nothing of it is left when this returns."""
    began = time.monotonic()
    with tempfile.TemporaryFile() as asked:
        asked.write(request)
        asked.seek(0)
        with _started(argv, asked) as process:
            assert process.stdout is not None and process.stderr is not None
            output, errors = _Kept(ANSWER_BYTES_MAX), _Kept(STDERR_BYTES_MAX)
            streams = {process.stdout.fileno(): output, process.stderr.fileno(): errors}
            stopped = _collect(process.pid, streams, began + timeout_s)
            if stopped is not None:
                process.kill()
            _, status, usage = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
            took = Usage(time.monotonic() - began, usage.ru_maxrss * 1024, process.returncode)
            return Ended(bytes(output.content), bytes(errors.content), stopped, took)


@contextmanager
def _started(argv: tuple[str, ...], asked: IO[bytes]) -> Iterator[subprocess.Popen[bytes]]:
    try:
        process = subprocess.Popen(
            argv, stdin=asked, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=_ENVIRON, cwd="/", bufsize=0
        )
    except OSError as error:
        raise InspectionUnavailable(f"the inspecting process cannot be started: {error}") from error
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
            process.wait()
        for stream in (process.stdout, process.stderr):
            if stream is not None:
                stream.close()


class _Kept:
    """What came out of one pipe, and how much may."""

    def __init__(self, bytes_max: int) -> None:
        self.content = bytearray()
        self.bytes_max = bytes_max


def _collect(pid: int, streams: dict[int, _Kept], deadline: float) -> str | None:
    """Read until the process is gone and its pipes are empty; return the rule that ended that early, if one did."""
    alive = os.pidfd_open(pid)
    try:
        with selectors.DefaultSelector() as selector:
            for descriptor in (*streams, alive):
                selector.register(descriptor, selectors.EVENT_READ)
            while selector.get_map():
                ready = selector.select(max(0.0, deadline - time.monotonic()))
                if not ready:
                    return "limit.time"
                for key, _ in ready:
                    kept = streams.get(key.fd)
                    chunk = os.read(key.fd, 65_536) if kept is not None else b""
                    if kept is None or not chunk:
                        selector.unregister(key.fd)
                        continue
                    kept.content += chunk
                    if len(kept.content) > kept.bytes_max:
                        return "limit.crash"
    finally:
        os.close(alive)
    return None
