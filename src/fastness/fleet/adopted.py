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
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import IO, Final

HEADER: Final = struct.Struct("=II")
ANSWER: Final = struct.Struct("=i")
BATCH: Final = 200
"""As the starter reads them: the length and the number of descriptors; a process id; descriptors in one message."""
ANSWER_TIMEOUT_S: Final = 10.0


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
            threading.Thread(target=_reap, args=(self.pid,), daemon=True).start()
        return self._status

    def kill(self) -> None:
        """End it."""
        with suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)


def _reap(group: int) -> None:
    """Wait for what it left in its group: that is our child now, and ends with it, but not in the same moment."""
    with suppress(ChildProcessError):
        while True:
            os.waitpid(-group, 0)


class Starter:
    """The other end of a starter's socket. Its method blocks, for milliseconds."""

    def __init__(self, asked: socket.socket) -> None:
        self._asked = asked
        self._asked.settimeout(ANSWER_TIMEOUT_S)
        self._lock = threading.Lock()

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
        with self._lock:
            self._asked.sendall(HEADER.pack(len(body), len(descriptors)))
            for first in range(0, len(descriptors), BATCH):
                some = array.array("i", descriptors[first : first + BATCH])
                self._asked.sendmsg([b"."], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, some)])
            self._asked.sendall(body)
            try:
                answer = self._asked.recv(ANSWER.size, socket.MSG_WAITALL)
            except TimeoutError:
                self._asked.shutdown(socket.SHUT_RDWR)  # or its late answer would be taken for the next one
                raise
        if len(answer) < ANSWER.size:
            raise OSError("the starter of engines that have processes is gone; start this installation again")
        return int(ANSWER.unpack(answer)[0])
