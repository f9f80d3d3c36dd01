"""The starter: starts what needs sockets of a network, for a supervisor that has given up its own.

What a process gives up, all that it starts has given up. So this one is started before, gives up its network in another
way, by moving into an empty one, and starts whatever it is told: nothing of that can be in any other network either.
What it starts is not its child but the supervisor's (who adopts it), which alone watches it and ends it. It keeps
itself up (succession.py); each request comes by a connection of its own, and is over when whoever took it dies.
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
from fastness.perimeter.succession import keep

HEADER = struct.Struct("=II")
"""How long a request is, in bytes, and how many descriptors come with it."""
ANSWER = struct.Struct("=i")
REQUEST_BYTES_MAX = 4 << 20
DESCRIPTORS_MAX = 1_200
STDERR = 2
ADOPTED_WITHIN_S = 5.0
FAILED = 127


def main() -> int:
    """Serve until SIGTERM; argv has the socket, the supervisor, `sealed` or `unsealed`, and a pipe to tell."""
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
    door = socket.socket(fileno=descriptor)

    def work(_: int) -> None:
        while numbers := socket.recv_fds(door, 1, 1)[1]:
            with socket.socket(fileno=numbers[0]) as asked:
                serve(asked, supervisor)

    keep(work, int(sys.argv[4]))
    return 0


def serve(asked: socket.socket, supervisor: int) -> None:
    """Start what one request says, and answer with its process id. What cannot be answered any more is not started."""
    header, _, _, _ = asked.recvmsg(HEADER.size, 0, socket.MSG_WAITALL)
    if len(header) < HEADER.size:
        return
    size, count = HEADER.unpack(header)
    if size > REQUEST_BYTES_MAX or not 1 <= count <= DESCRIPTORS_MAX:
        return
    descriptors, body = _received(asked, size, count)
    if len(body) == size:
        _start(asked, json.loads(body), descriptors, supervisor)
    for one in descriptors:
        os.close(one)


def _start(asked: socket.socket, request: dict[str, object], descriptors: list[int], supervisor: int) -> None:
    between = os.fork()
    if between == 0:
        program = os.fork()  # it executes nothing before the supervisor has adopted it, thus after the answer
        if program == 0:
            _become(request, descriptors, supervisor)
        try:
            asked.sendall(ANSWER.pack(program))
        except OSError:
            os.kill(program, signal.SIGKILL)
            os.waitpid(program, 0)
        os._exit(0)
    os.waitpid(between, 0)


def _received(asked: socket.socket, size: int, count: int) -> tuple[list[int], bytes]:
    """Receive the descriptors, in packets of as many as the kernel takes at once, and then the text."""
    found = array.array("i")
    while len(found) < count:
        part, notes, _, _ = asked.recvmsg(1, socket.CMSG_SPACE(BATCH * found.itemsize))
        if not part:
            return list(found), b""
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
