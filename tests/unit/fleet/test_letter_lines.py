"""Letters from door to door: newest first, whole, under certified names; a line that is lost is begun anew."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
import uvloop

from door_world import HOST, Hosts, Opened, handshake, opened
from fastness.fleet.door.frames import END, frame
from fastness.fleet.door.head_line import HeadLine
from fastness.fleet.door.letters import ACTIVE_S, LetterLine, LettersHere
from fastness.fleet.door.orders import LETTER_PROTOCOL, HostPlace, letters_name
from fastness.fleet.letter_files import HEAD, HEAD_BY_DOOR, LETTER_BYTES_MAX, LETTERS_IN, LETTERS_OUT, door_way, put
from fastness.main.door import writing

WAY = door_way(HOST)


@pytest.fixture(scope="module")
def hosts(tmp_path_factory: pytest.TempPathFactory) -> Hosts:
    return Hosts(tmp_path_factory.mktemp("hosts"))


class Run:
    """A run directory."""

    def __init__(self, path: Path) -> None:
        self.path = path
        for name in (LETTERS_IN, LETTERS_OUT):
            (path / name).mkdir(parents=True)

    def write(self, name: str, letter: bytes) -> None:
        put(str(self.path / LETTERS_OUT), name, letter)

    def came(self, name: str) -> bytes | None:
        file = self.path / LETTERS_IN / name
        return file.read_bytes() if file.exists() else None


class Two:
    """The head's door and the node's line to it; both look around all the time."""

    def __init__(self, hosts: Hosts, folder: Path) -> None:
        self.hosts, self.now_s = hosts, 0.0
        self.head, self.node, self.told = Run(folder / "head"), Run(folder / "node"), list[str]()
        self.letters = LettersHere(self.head.path, lambda: self.now_s)
        self.line = HeadLine(self.node.path, writing(hosts.node), self.told.append)

    def want(self, door: Opened, carries: bool = True) -> None:
        self.line.want(HostPlace("head", door.place), carries)

    async def until(self, condition: Callable[[], bool]) -> None:
        while not condition():
            self.letters.look()
            self.line.look()
            await asyncio.sleep(0.005)


def run(hosts: Hosts, folder: Path, journey: Callable[[Two], Awaitable[Any]]) -> None:
    async def whole() -> None:
        two = Two(hosts, folder)
        try:
            async with asyncio.timeout(60):
                await journey(two)
        finally:
            await two.line.close()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(whole())


def test_letters_go_there_and_back_and_each_once(hosts: Hosts, tmp_path: Path) -> None:
    async def journey(two: Two) -> None:
        async with opened(hosts.head, take_letters=two.letters.take) as door:
            two.want(door)
            for number in (b"1", b"2"):
                two.node.write(HEAD, b"report " + number * 100_000)
                await two.until(lambda number=number: two.head.came(WAY) == b"report " + number * 100_000)
                two.head.write(WAY, b"word " + number)
                await two.until(lambda number=number: two.node.came(HEAD_BY_DOOR) == b"word " + number)

    run(hosts, tmp_path, journey)


def test_a_line_that_is_open_carries_nothing_until_it_is_told_to(hosts: Hosts, tmp_path: Path) -> None:
    async def journey(two: Two) -> None:
        async with opened(hosts.head, take_letters=two.letters.take) as door:
            two.want(door, carries=False)
            two.node.write(HEAD, b"report")
            two.head.write(WAY, b"word")
            await two.until(lambda: door.door.connections == 1)
            for _ in range(20):
                two.letters.look()
                two.line.look()
                await asyncio.sleep(0.005)
            assert two.head.came(WAY) is None and two.node.came(HEAD_BY_DOOR) is None
            two.want(door)
            await two.until(lambda: two.node.came(HEAD_BY_DOOR) == b"word")
            two.now_s += ACTIVE_S + 1
            two.head.write(WAY, b"another")
            two.letters.look()
            await asyncio.sleep(0.02)
            assert two.node.came(HEAD_BY_DOOR) == b"word", "it wrote nothing lately, so nothing is looked for"

    run(hosts, tmp_path, journey)


def test_a_line_is_begun_anew_and_the_way_is_gone_meanwhile(hosts: Hosts, tmp_path: Path) -> None:
    async def journey(two: Two) -> None:
        async with opened(hosts.head, take_letters=two.letters.take) as door:
            port = door.door.ports[0]
            two.want(door)
            two.node.write(HEAD, b"report")
            await two.until(lambda: two.head.came(WAY) == b"report")
        await two.until(lambda: two.head.came(WAY) is None)
        await two.until(lambda: bool(two.told))
        assert "head at 127.0.0.1" in two.told[0]
        async with opened(hosts.head, take_letters=two.letters.take, port=port):
            await two.until(lambda: two.head.came(WAY) == b"report")

    run(hosts, tmp_path, journey)


def test_the_newest_line_of_a_host_is_the_one(hosts: Hosts, tmp_path: Path) -> None:
    async def journey(two: Two) -> None:
        async with opened(hosts.head, take_letters=two.letters.take) as door:
            two.want(door)
            two.node.write(HEAD, b"by the first")
            await two.until(lambda: two.head.came(WAY) == b"by the first")
            second = HeadLine(two.node.path, writing(hosts.node), two.told.append)
            try:
                second.want(HostPlace("head", door.place), True)
                two.line.want(None, False)
                two.node.write(HEAD, b"by the second")
                await two.until(lambda: second.look() or two.head.came(WAY) == b"by the second")
            finally:
                await second.close()

    run(hosts, tmp_path, journey)


def test_letters_are_for_the_head_and_a_head_is_who_is_certified_as_it(hosts: Hosts, tmp_path: Path) -> None:
    async def journey(two: Two) -> None:
        async with opened(hosts.node) as door:
            two.line.want(HostPlace(HOST, door.place), True)
            await two.until(lambda: bool(door.refused))
            assert "letters are for the head" in door.refused[0][1]
            two.line.want(HostPlace("head", door.place), True)
            await two.until(lambda: any("not valid for" in one for one in two.told))

    run(hosts, tmp_path, journey)


def test_whoever_sends_more_than_a_letter_is_put_out(hosts: Hosts, tmp_path: Path) -> None:
    async def journey(two: Two) -> None:
        async with opened(hosts.head, take_letters=two.letters.take) as door:
            context: ssl.SSLContext = hosts.node.client_context()
            context.set_alpn_protocols([LETTER_PROTOCOL])
            reader, writer = await handshake(door.place, context, letters_name("head"))
            try:
                writer.write((LETTER_BYTES_MAX + 1).to_bytes(4, "big") + bytes(LETTER_BYTES_MAX + 1))
                assert await reader.read(1) == b""
            except ConnectionError:
                pass
            finally:
                writer.transport.abort()
            await two.until(lambda: not door.door.connections)
            assert two.head.came(WAY) is None

    run(hosts, tmp_path, journey)


def test_a_letter_counts_when_its_end_has_come() -> None:
    came = list[bytes]()
    line = LetterLine(came.append, lambda: None)
    whole = frame(b"first") + END + END + frame(b"sec") + frame(b"ond") + END
    for byte in whole[:-1]:
        line.data_received(bytes([byte]))
    assert came == [b"first"]
    line.data_received(whole[-1:])
    assert came == [b"first", b"second"]
