"""A member of a gang on this host: what its interface sends goes to the other members, and what they send comes here.

It lives from when the guard of its family brought the other end of the interface until anything of the gang is missing:
the guard, a connection to another member that was there, or the orders. Then all of it ends here, and so, one after the
other, everywhere: the members that are left hear that their connection to this one ended.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections import defaultdict
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Final

from fastness.core.gang import MTU_BYTES, address_of
from fastness.fleet.door.orders import DoorGang
from fastness.fleet.door.wire import HEADER_BYTES, Wire

PACKETS_AT_ONCE: Final = 64
"""Packets that are taken from an interface before the event loop has something else to do."""
RETRY_FIRST_S: Final = 0.1
RETRY_MAX_S: Final = 2.0
"""Between two tries to reach a member that is not there yet."""
ANSWER_TIMEOUT_S: Final = 5.0
"""Until a door that let us in has said that we are taken."""
JOINED: Final = b"+"
"""What its guard is told when every member is there. See perimeter/gang.py."""

Wires = Callable[[Wire, DoorGang], Awaitable[None]]
"""Makes the connection of a wire to the door of the member of its rank; raises OSError."""
Tell = Callable[[str, str, str], None]
"""Takes an event, the replica that it is about, and why."""


class Member:
    """Takes over the interface's `end` and the `guard`'s connection. `ended` is called once. On one event loop."""

    def __init__(
        self, gang: DoorGang, end: int, guard: socket.socket, wires: Wires, tell: Tell, ended: Callable[[Member], None]
    ) -> None:
        self.gang, self._end, self._guard, self._wires = gang, end, guard, wires
        self._tell, self._ended, self._loop = tell, ended, asyncio.get_running_loop()
        self._there: dict[int, Wire] = {}
        self._own = _address(gang.rank)
        self._joined, self._reads, self._over = False, False, False
        self.dropped = 0
        """Packets that were for nobody of the gang, or from nobody: none is passed on."""
        self._loop.add_reader(guard.fileno(), self._guard_left)
        self._tasks = [self._loop.create_task(self._reach(rank)) for rank in range(gang.rank)]

    def wire_from(self, host: str) -> Wire | None:
        """Return the wire for a host that came; None: it is no member, or not one that comes to us, or it is there."""
        rank = next((rank for rank, one in enumerate(self.gang.members) if one.host == host), -1)
        return Wire(self, rank, takes=True) if rank > self.gang.rank and rank not in self._there else None

    def wires(self) -> tuple[Wire, ...]:
        """Return those that are up."""
        return tuple(self._there.values())

    def end(self, why: str) -> None:
        """End it: the guard hears of it, and ends the family."""
        if self._over:
            return
        self._over = True
        for task in self._tasks:
            task.cancel()
        self._loop.remove_reader(self._guard.fileno())
        self._read(False)
        for wire in self._there.values():
            wire.end()
        self._there.clear()
        self._guard.close()
        os.close(self._end)
        self._tell("gang.ended", self.gang.replica, why)
        self._ended(self)

    # ---- what its wires tell

    def wired(self, wire: Wire) -> None:
        """See WireUser."""
        if self._over or wire.rank in self._there:
            wire.end()
            return
        self._there[wire.rank] = wire
        if len(self._there) == len(self.gang.members) - 1:
            self._join()

    def take(self, rank: int, packet: bytes) -> None:
        """See WireUser: it must be from that member, and for ours."""
        if self._over:
            return
        if packet[12:16] != _address(rank) or packet[16:20] != self._own:
            self.dropped += 1
            return
        try:
            os.write(self._end, packet)
        except BlockingIOError:  # as when a cable is too slow: they send it again
            self.dropped += 1
        except OSError as error:
            self.end(f"its interface takes nothing: {error.strerror}")

    def pace(self) -> None:
        """See WireUser: a gang works in step, so that one that is slow holds up all."""
        self._read(self._joined and not any(one.is_full for one in self._there.values()))

    def cut(self, wire: Wire, why: str) -> None:
        """See WireUser."""
        if self._there.get(wire.rank) is wire:
            self.end(f"{self.gang.members[wire.rank].host} is gone: {why}")

    # ---- what it does by itself

    def _join(self) -> None:
        try:
            self._guard.send(JOINED)
        except OSError:
            self.end("its family is gone")
            return
        self._joined = True
        self._tell("gang.joined", self.gang.replica, "")
        self.pace()

    def _guard_left(self) -> None:
        self.end("its family ended")  # it never says anything: to be readable is to be closed

    def _read(self, on: bool) -> None:
        if on and not self._over:
            self._loop.add_reader(self._end, self._send)
        elif self._reads:
            self._loop.remove_reader(self._end)
        self._reads = on

    def _send(self) -> None:
        packets = defaultdict[int, list[bytes]](list)
        try:
            for _ in range(PACKETS_AT_ONCE):
                packet = os.read(self._end, MTU_BYTES)
                rank = self._meant(packet)
                if rank is None:
                    self.dropped += 1
                else:
                    packets[rank].append(packet)
        except BlockingIOError:
            pass
        except OSError as error:
            self.end(f"its interface gives nothing: {error.strerror}")
            return
        for rank, some in packets.items():
            self._there[rank].send(some)

    def _meant(self, packet: bytes) -> int | None:
        """Return for whom a packet of ours is; None: for nobody, or it says that it is not ours."""
        if len(packet) < HEADER_BYTES or packet[0] >> 4 != 4 or packet[12:16] != self._own:
            return None
        rank = packet[19] - 1
        return rank if rank in self._there and packet[16:20] == _address(rank) else None

    async def _reach(self, rank: int) -> None:
        """Come to a member of a lower rank, again and again until it takes us."""
        wait_s = RETRY_FIRST_S
        while not self._over and rank not in self._there:
            wire = _Trying(self, rank)
            with suppress(OSError):
                await self._wires(wire, self.gang)
                wire.trust()
                async with asyncio.timeout(ANSWER_TIMEOUT_S):
                    await wire.answered.wait()
            if rank not in self._there:
                wire.end()
                await asyncio.sleep(wait_s)
                wait_s = min(2 * wait_s, RETRY_MAX_S)


class _Trying(Wire):
    """A wire that we made, of which it is not known yet whether it is taken."""

    def __init__(self, user: Member, rank: int) -> None:
        super().__init__(user, rank, takes=False)
        self.answered = asyncio.Event()
        self._is_trusted, self._early = False, b""

    def trust(self) -> None:
        """Its certificate counts: hear what it said until now."""
        self._is_trusted = True
        if self._early:
            self.data_received(self._early)

    def data_received(self, data: bytes) -> None:
        """It said something."""
        if not self._is_trusted:
            self._early += data
            return
        super().data_received(data)
        self.answered.set()

    def connection_lost(self, exc: Exception | None) -> None:
        """It was not taken, or it was and is gone."""
        super().connection_lost(exc)
        self.answered.set()


def _address(rank: int) -> bytes:
    return socket.inet_aton(address_of(rank))
