"""Processes that another starts for us, and which become our children: see perimeter/starter.py.

For what needs sockets of a network: no child of ours could make any.
"""

from __future__ import annotations

import array
import json
import os
import signal
import socket
import struct
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import IO, Final

HEADER: Final = struct.Struct("=II")
ANSWER: Final = struct.Struct("=i")
BATCH: Final = 200
"""As the starter reads them: the length and the number of descriptors; a process id; descriptors in one message."""
ANSWER_TIMEOUT_S: Final = 10.0
GONE: Final = "nobody is left who may start engines that have processes: fastness stop, and start this host again"


class Adopted:
    """A child that we did not start: as much of a subprocess.Popen as its watcher needs."""

    def __init__(self, pid: int, stderr: IO[bytes]) -> None:
        self.pid = pid
        self.stderr: IO[bytes] | None = stderr
        self._status: int | None = None

    def wait(self) -> int:
        """Wait for its end, and return its exit status, negative for a signal."""
        if self._status is None:
            _, status = os.waitpid(self.pid, 0)
            self._status = os.waitstatus_to_exitcode(status)
        return self._status

    def kill(self) -> None:
        """End it."""
        with suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)


class Starter:
    """The other end of a starter's door. Its method blocks, for milliseconds."""

    def __init__(self, door: socket.socket) -> None:
        self._door = door
        self._door.settimeout(ANSWER_TIMEOUT_S)

    def start(self, argv: Sequence[str], environ: Mapping[str, str], descriptors: Sequence[int]) -> Adopted:
        """Start a program with exactly `environ`, in a session of its own; raises OSError."""
        reading, writing = os.pipe()
        try:
            told = {"argv": list(argv), "environ": dict(environ), "descriptors": list(descriptors)}
            pid = self._request(json.dumps(told).encode(), [writing, *descriptors])
        except OSError:
            os.close(reading)
            raise
        finally:
            os.close(writing)
        return Adopted(pid, os.fdopen(reading, "rb"))

    def _request(self, body: bytes, descriptors: list[int]) -> int:
        """Ask by a connection of its own, which may wait for a starter that is just being brought back."""
        asked, theirs = socket.socketpair()
        with asked:
            with theirs:
                try:
                    socket.send_fds(self._door, [b"."], [theirs.fileno()])
                except (BrokenPipeError, ConnectionError):
                    raise OSError(GONE) from None
            asked.settimeout(ANSWER_TIMEOUT_S)
            try:
                asked.sendall(HEADER.pack(len(body), len(descriptors)))
                for first in range(0, len(descriptors), BATCH):
                    some = array.array("i", descriptors[first : first + BATCH])
                    asked.sendmsg([b"."], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, some)])
                asked.sendall(body)
                answer = _received(asked)
            except ConnectionError:
                answer = b""
        if len(answer) < ANSWER.size:
            raise OSError("the starter of engines that have processes ended before it answered; it is brought back")
        return int(ANSWER.unpack(answer)[0])


def _received(asked: socket.socket) -> bytes:
    """Receive the answer; raises TimeoutError when there is none, and then there never will be."""
    try:
        return asked.recv(ANSWER.size, socket.MSG_WAITALL)
    except TimeoutError:
        asked.shutdown(socket.SHUT_RDWR)  # who answers now learns that nobody hears it, and starts nothing
        if answer := asked.recv(ANSWER.size):
            return answer
        raise
