"""The gangs of this host: where guards of families bring the ends of their interfaces, and whom these may speak to.

A guard connects to a Unix socket, and sends a line with the id of its replica and the interface's other end beside it.
It is kept until the orders have a gang of that name; see member.py for what follows.
"""

from __future__ import annotations

import asyncio
import os
import socket
import struct
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Final

from fastness.fleet.door.guests import Judge, Refused
from fastness.fleet.door.listening import listening_here
from fastness.fleet.door.member import Member, Tell, Wires
from fastness.fleet.door.orders import DoorGang, server_name
from fastness.fleet.door.wire import Wire

MEMBERS_MAX: Final = 64
"""Members on this host, those that wait for orders included; a further one is let go at once."""
NAME_BYTES_MAX: Final = 256
BACKLOG: Final = 64


class Gangs:
    """Listens at `path`. `wires` connects to the doors of others. Used on one event loop."""

    def __init__(self, path: Path, wires: Wires, tell: Tell) -> None:
        self._path, self._wires, self._tell = path, wires, tell
        self._loop = asyncio.get_running_loop()
        self._ordered: dict[str, DoorGang] = {}
        self._waiting: dict[str, tuple[int, socket.socket]] = {}
        self._members: dict[str, Member] = {}
        self._listener = listening_here(path, BACKLOG)
        self._loop.add_reader(self._listener.fileno(), self._accept)

    def obey(self, gangs: tuple[DoorGang, ...]) -> None:
        """Take the gangs of new orders: members of others end, and those that wait for these begin."""
        self._ordered = {one.replica: one for one in gangs}
        for name, member in tuple(self._members.items()):
            if self._ordered.get(name) != member.gang:
                member.end("it is not ordered any more, or with others")
        self._begin()

    def judge_again(self, judge: Judge) -> None:
        """End those with a member whose certificate counts no more."""
        for member in tuple(self._members.values()):
            for wire in member.wires():
                try:
                    judge(wire.certificate)
                except Refused as error:
                    member.end(str(error))

    def wire_for(self, server: str, host: str) -> Wire | None:
        """Return the wire for `host`, which came for `server`; None: no member that is here waits for it."""
        for member in self._members.values():
            if server_name(member.gang.replica, member.gang.members[member.gang.rank].host) == server:
                return member.wire_from(host)
        return None

    def close(self) -> None:
        """Take no more, and end all."""
        self._loop.remove_reader(self._listener.fileno())
        self._listener.close()
        self._path.unlink(missing_ok=True)
        for member in tuple(self._members.values()):
            member.end("the door closes")
        for name in tuple(self._waiting):
            self._let_go(name)

    def _accept(self) -> None:
        with suppress(BlockingIOError, ConnectionError):
            guard, _ = self._listener.accept()
            guard.setblocking(False)
            _, uid, _ = struct.unpack("3i", guard.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
            if uid != os.getuid() or len(self._members) + len(self._waiting) >= MEMBERS_MAX:
                guard.close()
                return
            self._loop.add_reader(guard.fileno(), self._receive, guard)

    def _receive(self, guard: socket.socket) -> None:
        """Take what a guard brings: one message, whole."""
        self._loop.remove_reader(guard.fileno())
        try:
            line, ends, _, _ = socket.recv_fds(guard, NAME_BYTES_MAX, 1, socket.MSG_CMSG_CLOEXEC)
        except OSError:
            line, ends = b"", []
        name = line.decode("utf-8", "replace")
        if not ends or not name.endswith("\n"):
            for end in ends:
                os.close(end)
            guard.close()
            return
        name = name.removesuffix("\n")
        self._let_go(name)
        if name in self._members:  # of an engine whose end was not seen yet
            self._members[name].end("another one came in its place")
        os.set_blocking(ends[0], False)  # whoever made it
        self._waiting[name] = (ends[0], guard)
        self._loop.add_reader(guard.fileno(), self._let_go, name)
        self._begin()

    def _let_go(self, name: str) -> None:
        """Forget one that waits: its guard left, or is told to."""
        found = self._waiting.pop(name, None)
        if found is not None:
            end, guard = found
            self._loop.remove_reader(guard.fileno())
            guard.close()
            os.close(end)

    def _begin(self) -> None:
        for name in self._waiting.keys() & self._ordered.keys():
            end, guard = self._waiting.pop(name)
            self._loop.remove_reader(guard.fileno())
            self._members[name] = Member(self._ordered[name], end, guard, self._wires, self._tell, self._forget)

    def _forget(self, member: Member) -> None:
        if self._members.get(member.gang.replica) is member:
            del self._members[member.gang.replica]


Connect = Callable[[Wire, str, str], Awaitable[None]]
"""Makes a wire's connection to a door at `address:port`, which must prove that it is the server named."""


def wires_by(connect: Connect) -> Wires:
    """Return what makes wires: to the door of a member's host, for its replica there."""

    async def wires(wire: Wire, gang: DoorGang) -> None:
        member = gang.members[wire.rank]
        await connect(wire, member.place, server_name(gang.replica, member.host))

    return wires
