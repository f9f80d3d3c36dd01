"""Connections for gateways: to the doors that were named, and to no other place."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import uvloop

from fastness.fleet.door import connector as under_test
from fastness.fleet.door.connector import Connector, ask_for


def run(main: Callable[[], Awaitable[Any]]) -> Any:
    async def bounded() -> Any:
        async with asyncio.timeout(60):
            return await main()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(bounded())


async def serving() -> tuple[asyncio.Server, str]:
    async def greet(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"hello")
        writer.close()

    server = await asyncio.start_server(greet, "127.0.0.1", 0)
    return server, f"127.0.0.1:{server.sockets[0].getsockname()[1]}"


def test_a_gateway_is_connected_to_a_place_that_was_named(tmp_path):
    async def main():
        server, place = await serving()
        connector = Connector(tmp_path / "s")
        connector.places = frozenset({place})
        try:
            made = await asyncio.gather(*(ask_for(tmp_path / "s", place) for _ in range(20)))
            for one in made:
                assert await asyncio.get_running_loop().sock_recv(one, 10) == b"hello"
                assert one.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 2_000
                one.close()
            assert (tmp_path / "s").stat().st_mode & 0o777 == 0o600
        finally:
            await connector.close()
            server.close()

    run(main)


@pytest.mark.parametrize("place", ["{place}", "127.0.0.2:1", "localhost:22", "", "x" * 120])
def test_no_other_place_is_connected_to(tmp_path, place):
    async def main():
        server, there = await serving()
        connector = Connector(tmp_path / "s")
        try:
            with pytest.raises(OSError, match="not the door of a host"):
                await ask_for(tmp_path / "s", place.format(place=there))
        finally:
            await connector.close()
            server.close()

    run(main)


def test_a_place_where_nobody_is_is_told(tmp_path):
    async def main():
        server, place = await serving()
        server.close()
        connector = Connector(tmp_path / "s")
        connector.places = frozenset({place})
        try:
            with pytest.raises(OSError, match="no connection to"):
                await ask_for(tmp_path / "s", place)
        finally:
            await connector.close()

    run(main)


def test_a_gateway_outlives_the_door_of_its_host(tmp_path):
    async def main():
        server, place = await serving()
        with pytest.raises(OSError, match="does not run"):
            await ask_for(tmp_path / "s", place)
        for _ in range(2):
            connector = Connector(tmp_path / "s")
            connector.places = frozenset({place})
            (await ask_for(tmp_path / "s", place)).close()
            await connector.close()
        server.close()

    run(main)


def test_too_much_at_once_is_refused(tmp_path, monkeypatch):
    async def main():
        monkeypatch.setattr(under_test, "UNDER_WAY_MAX", 0)
        connector = Connector(tmp_path / "s")
        try:
            with pytest.raises(OSError, match="being made already"):
                await ask_for(tmp_path / "s", "127.0.0.1:1")
        finally:
            await connector.close()

    run(main)


def test_who_waits_hears_that_the_door_went_away(tmp_path):
    async def main():
        connector = Connector(tmp_path / "s")
        with socket.create_server(("127.0.0.1", 0), backlog=0) as full:
            place = f"127.0.0.1:{full.getsockname()[1]}"
            connector.places = frozenset({place})
            first = [await ask_for(tmp_path / "s", place)]
            waiting = [asyncio.ensure_future(ask_for(tmp_path / "s", place)) for _ in range(8)]
            await asyncio.sleep(0.05)
            await connector.close()
            for one in await asyncio.gather(*waiting, return_exceptions=True):
                if isinstance(one, socket.socket):
                    first.append(one)
                else:
                    assert "went away" in str(one)
            assert len(first) < 9
            for one in first:
                one.close()

    run(main)
