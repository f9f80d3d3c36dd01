"""Gangs behind doors: packets go between members, and nowhere else; when one is gone, all are."""

from __future__ import annotations

import asyncio
import os
import socket
import struct
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest

from cluster_world import World
from door_world import handshake, judging
from fastness.core.gang import address_of
from fastness.fleet.door.gangs import Gangs, wires_by
from fastness.fleet.door.guests import Guest, Refused
from fastness.fleet.door.orders import GANG_PROTOCOL, DoorGang, DoorOrders, HostDoor, server_name
from fastness.fleet.door.server import Door
from fastness.fleet.door.wire import Wire
from fastness.identity.cluster.membership import Membership
from fastness.main.door import wiring

NAMES = ("leeds", "bristol", "york")
WAIT_S = 60.0


class Host:
    """A host with a door, and the guard of a family with its interface: one end of a pair of sockets."""

    def __init__(self, own: Membership, name: str, path: Path) -> None:
        self.name, self.path, self.own = name, path, own
        self.told: list[tuple[str, str]] = []
        self.gangs = Gangs(path, wires_by(wiring(own)), lambda event, _, why: self.told.append((event, why)))
        self.door = Door(own.server_context(), judging(own), lambda _who, why: self.told.append(("refused", why)),
                         gangs=self.gangs)  # fmt: skip
        self.door.listen(["127.0.0.1"], 0)
        self.version = 0
        self.sockets: list[socket.socket] = []
        self.is_open = True

    @property
    def at(self) -> HostDoor:
        return HostDoor(self.name, self.name, f"127.0.0.1:{self.door.ports[0]}")

    def obey(self, *gangs: DoorGang) -> None:
        self.version += 1
        self.door.obey(DoorOrders(self.version, None, gangs=gangs))

    def bring(self) -> None:
        """Do what the launcher does."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.guard = socket.socket(socket.AF_UNIX)
        self.guard.connect(str(self.path))
        socket.send_fds(self.guard, [b"chat-1\n"], [theirs.fileno()])
        theirs.close()
        self.interface = ours
        for one in (self.guard, ours):
            one.setblocking(False)
        self.sockets += [self.guard, ours]

    async def heard(self) -> bytes:
        """What the guard is told: `+` or, when it is let go, nothing."""
        async with asyncio.timeout(WAIT_S):
            with suppress(ConnectionResetError):
                return await asyncio.get_running_loop().sock_recv(self.guard, 1)
        return b""

    async def packet(self) -> bytes:
        async with asyncio.timeout(WAIT_S):
            return await asyncio.get_running_loop().sock_recv(self.interface, 70_000)

    async def close(self) -> None:
        for one in self.sockets:
            one.close()
        await self.close_door()

    async def close_door(self) -> None:
        if self.is_open:
            self.is_open = False
            await self.door.close()


def packet(source: int, target: int, content: bytes = b"hello") -> bytes:
    size = 20 + len(content)
    ends = socket.inet_aton(address_of(source)) + socket.inet_aton(address_of(target))
    return struct.pack("!BBHHHBBH", 0x45, 0, size, 0, 0, 64, 6, 0) + ends + content


def gang(rank: int, hosts: list[Host], term: int = 1) -> DoorGang:
    return DoorGang("chat-1", term, rank, tuple(one.at for one in hosts))


@asynccontextmanager
async def hosts(path: Path, count: int = 2) -> AsyncIterator[list[Host]]:
    world = World(path, time.time())
    with tempfile.TemporaryDirectory(prefix="fsg-") as short:
        found = [Host(world.host(name), name, Path(short) / f"{name}.sock") for name in NAMES[:count]]
        try:
            yield found
        finally:
            for one in found:
                await one.close()


async def joined(found: list[Host]) -> None:
    for rank, one in enumerate(found):
        one.obey(gang(rank, found))
        one.bring()
    assert [await one.heard() for one in found] == [b"+"] * len(found)


def test_nobody_begins_before_all_are_there_and_then_packets_go_both_ways(tmp_path: Path) -> None:
    async def story() -> None:
        async with hosts(tmp_path, 3) as found:
            for rank, one in enumerate(found[:2]):
                one.obey(gang(rank, found))
                one.bring()
            await asyncio.sleep(0.3)
            with pytest.raises(BlockingIOError):
                found[0].guard.recv(1)
            found[2].obey(gang(2, found))
            found[2].bring()
            assert [await one.heard() for one in found] == [b"+"] * 3
            large = os.urandom(64_000)
            for source in range(3):
                for target in range(3):
                    if source != target:
                        found[source].interface.send(packet(source, target, large))
                        assert await found[target].packet() == packet(source, target, large)

    asyncio.run(story())


def test_packets_for_others_from_others_or_of_another_kind_are_dropped(tmp_path: Path) -> None:
    async def story() -> None:
        async with hosts(tmp_path) as found:
            await joined(found)
            one, other = found
            everywhere = packet(0, 1)[:16] + socket.inet_aton("10.0.0.7") + b"stray"
            others = (packet(1, 0), packet(0, 0), packet(0, 5), packet(5, 1))
            for stray in (*others, everywhere, b"\x60" + bytes(60), b"x"):
                one.interface.send(stray)
            one.interface.send(packet(0, 1, b"meant"))
            assert (await other.packet())[20:] == b"meant"
            (member,) = one.gangs._members.values()
            assert member.dropped == 7

    asyncio.run(story())


def test_when_a_family_ends_all_others_are_let_go_and_they_may_come_again(tmp_path: Path) -> None:
    async def story() -> None:
        async with hosts(tmp_path, 3) as found:
            await joined(found)
            found[1].guard.close()
            assert [await one.heard() for one in (found[0], found[2])] == [b"", b""]
            for one in found:
                one.bring()
            assert [await one.heard() for one in found] == [b"+"] * 3

    asyncio.run(story())


@pytest.mark.parametrize("change", ["withdrawn", "lapsed", "another term", "the door closes"])
def test_orders_end_a_gang_everywhere(tmp_path: Path, change: str) -> None:
    async def story() -> None:
        async with hosts(tmp_path) as found:
            await joined(found)
            one, other = found
            if change == "withdrawn":
                one.obey()
            elif change == "lapsed":
                one.door.obey(DoorOrders(9, 0.0, gangs=(gang(0, found),)))
            elif change == "another term":
                one.obey(gang(0, found, term=2))
            else:
                await one.close_door()
            assert [await one.heard(), await other.heard()] == [b"", b""]

    asyncio.run(story())


def test_a_host_that_is_no_member_is_not_taken_whatever_it_asks_for(tmp_path: Path) -> None:
    async def story() -> None:
        async with hosts(tmp_path, 3) as found:
            one, other, stranger = found
            await joined([one, other])
            context = stranger.own.client_context()
            context.set_alpn_protocols([GANG_PROTOCOL])
            reader, writer = await handshake(one.at.place, context, server_name("chat-1", one.name))
            writer.write(packet(1, 0, b"forged"))
            with suppress(ConnectionError):
                assert await asyncio.wait_for(reader.read(1), WAIT_S) == b""
            writer.close()
            other.interface.send(packet(1, 0, b"true"))
            assert (await one.packet())[20:] == b"true"

    asyncio.run(story())


def test_a_member_that_sends_in_the_name_of_another_is_not_heard(tmp_path: Path) -> None:
    async def story() -> None:
        async with hosts(tmp_path, 3) as found:
            await joined(found)
            (member,) = found[2].gangs._members.values()
            member.wires()[0].send([packet(1, 0, b"forged"), packet(2, 1, b"for another"), packet(2, 0, b"own")])
            assert (await found[0].packet())[20:] == b"own"

    asyncio.run(story())


def test_what_is_no_packet_ends_the_gang(tmp_path: Path) -> None:
    async def story() -> None:
        async with hosts(tmp_path) as found:
            await joined(found)
            (member,) = found[1].gangs._members.values()
            member.wires()[0].send([b"\x60" + bytes(40)])
            assert [await one.heard() for one in found] == [b"", b""]
            assert ("gang.ended", "bristol is gone: what it sent is no packet") in found[0].told

    asyncio.run(story())


def test_a_member_whose_certificate_counts_no_more_ends_the_gang(tmp_path: Path) -> None:
    def judge(der: bytes) -> Guest:
        assert der
        raise Refused("it was revoked")

    async def story() -> None:
        async with hosts(tmp_path) as found:
            await joined(found)
            found[1].gangs.judge_again(judge)
            assert [await one.heard() for one in found] == [b"", b""]
            assert found[1].told[-1] == ("gang.ended", "it was revoked")

    asyncio.run(story())


def test_packets_are_whole_however_they_come() -> None:
    class User:
        def __init__(self) -> None:
            self.came: list[bytes] = []
            self.up = 0

        def wired(self, _wire: Wire) -> None:
            self.up += 1

        def take(self, rank: int, packet: bytes) -> None:
            assert rank == 1
            self.came.append(packet)

        def pace(self) -> None:
            raise AssertionError

        def cut(self, _wire: Wire, why: str) -> None:
            raise AssertionError(why)

    sent = [packet(1, 0, bytes([number]) * number * 97) for number in range(1, 12)]
    stream = b"+" + b"".join(sent)
    for step in (1, 7, 19, 20, 21, 1_000, len(stream)):
        user = User()
        wire = Wire(user, 1, takes=False)
        for at in range(0, len(stream), step):
            wire.data_received(stream[at : at + step])
        assert (user.came, user.up) == (sent, 1)
