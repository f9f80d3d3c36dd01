"""The starter: starts what needs sockets of a network, for a supervisor that has given up its own.

What a process gives up, all that it starts has given up. So this one is started before, gives up its network in another
way, by moving into an empty one, and starts whatever it is told: nothing of that can be in any other network either.
What it starts is not its child but the supervisor's (who adopts it), which alone watches it and ends it.
Standard library only.
"""

from __future__ import annotations

import array
import json
import os
import signal
import socket
import struct
import sys
import time

from fastness.perimeter import kernel as k
from fastness.perimeter.kernel import Kernel
from fastness.perimeter.namespaces import enter_empty_network
from fastness.perimeter.reach import watched_filter

HEADER = struct.Struct("=II")
"""How long a request is, in bytes, and how many descriptors come with it."""
ANSWER = struct.Struct("=i")
REQUEST_BYTES_MAX = 4 << 20
DESCRIPTORS_MAX = 1_200
STDERR = 2
ADOPTED_WITHIN_S = 5.0
FAILED = 127


def main() -> int:
    """Serve the socket and the supervisor that argv names, until either is gone; third comes `sealed` or `unsealed`."""
    descriptor, supervisor, must = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3] == "sealed"
    kernel = Kernel()
    kernel.prctl(k.PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != supervisor:
        return FAILED
    try:
        enter_empty_network(kernel)
        kernel.prctl(k.PR_SET_NO_NEW_PRIVS, 1)
        kernel.prctl(k.PR_SET_PDEATHSIG, signal.SIGKILL)  # forgotten where credentials changed
        kernel.install_filter(watched_filter(os.uname().machine))
    except OSError as error:
        if must:
            os.write(STDERR, f"fastness: the starter cannot give up its network: {error}\n".encode())
            return FAILED
    with socket.socket(fileno=descriptor) as asked:
        while serve(asked, supervisor):
            pass
    return 0


def serve(asked: socket.socket, supervisor: int) -> bool:
    """Start what one request says, and answer with its process id; False when there will be no more requests."""
    header, _, _, _ = asked.recvmsg(HEADER.size, 0, socket.MSG_WAITALL)
    if len(header) < HEADER.size:
        return False
    size, count = HEADER.unpack(header)
    if size > REQUEST_BYTES_MAX or not 1 <= count <= DESCRIPTORS_MAX:
        return False
    descriptors, body = _received(asked, size, count)
    request = json.loads(body)
    between = os.fork()
    if between == 0:
        program = os.fork()
        if program == 0:
            _become(request, descriptors, supervisor)
        asked.sendall(ANSWER.pack(program))
        os._exit(0)
    os.waitpid(between, 0)
    for one in descriptors:
        os.close(one)
    return True


def _received(asked: socket.socket, size: int, count: int) -> tuple[list[int], bytes]:
    """Receive the descriptors, in packets of as many as the kernel takes at once, and then the text."""
    found = array.array("i")
    while len(found) < count:
        _, notes, _, _ = asked.recvmsg(1, socket.CMSG_SPACE(BATCH * found.itemsize))
        for level, kind, content in notes:
            if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
                found.frombytes(content[: len(content) - len(content) % found.itemsize])
    body = b""
    while len(body) < size and (part := asked.recv(size - len(body))):
        body += part
    return list(found), body


BATCH = 200
"""Descriptors that go in one message."""


def _become(request: dict[str, object], descriptors: list[int], supervisor: int) -> None:
    """Become the program: its standard error is the first descriptor, the others have the numbers that it was told."""
    try:
        os.setsid()
        wanted = [STDERR, *map(int, request["descriptors"])]  # type: ignore[call-overload]
        _renumber(descriptors, wanted)
        for number, flags in ((0, os.O_RDONLY), (1, os.O_WRONLY)):
            null = os.open(os.devnull, flags)
            os.dup2(null, number)
            os.close(null)
        deadline = time.monotonic() + ADOPTED_WITHIN_S
        while os.getppid() != supervisor and time.monotonic() < deadline:
            time.sleep(0.001)
        argv = [str(word) for word in request["argv"]]  # type: ignore[attr-defined]
        os.execve(argv[0], argv, request["environ"])  # type: ignore[arg-type]  # noqa: S606 - it is there for that
    except BaseException as error:  # noqa: BLE001 - this half must never go on as the starter
        os.write(STDERR, f"fastness: not started: {error}\n".encode())
    finally:
        os._exit(FAILED)


def _renumber(descriptors: list[int], wanted: list[int]) -> None:
    """Give each descriptor its number, none of which is overwritten before it was moved."""
    above = max(*wanted, *descriptors) + 1
    import fcntl

    moved = [fcntl.fcntl(one, fcntl.F_DUPFD_CLOEXEC, above) for one in descriptors]
    for one in descriptors:
        os.close(one)
    for one, number in zip(moved, wanted, strict=True):
        os.dup2(one, number, inheritable=True)
        os.close(one)
