"""Connections for gateways: to the doors that were named, and to no other place."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import uvloop

from fastness.fleet.door import connector as under_test
from fastness.fleet.door.connector import Connector, ConnectorClient


def run(main: Callable[[], Awaitable[Any]]) -> Any:
    async def bounded() -> Any:
        async with asyncio.timeout(20):
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
        connector, client = Connector(tmp_path / "s"), ConnectorClient(tmp_path / "s")
        connector.places = frozenset({place})
        try:
            made = await asyncio.gather(*(client.connect(place) for _ in range(20)))
            for one in made:
                assert await asyncio.get_running_loop().sock_recv(one, 10) == b"hello"
                assert one.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 2_000
                one.close()
            assert (tmp_path / "s").stat().st_mode & 0o777 == 0o600
        finally:
            client.close()
            await connector.close()
            server.close()

    run(main)


@pytest.mark.parametrize("place", ["{place}", "127.0.0.2:1", "localhost:22", "", "x" * 120])
def test_no_other_place_is_connected_to(tmp_path, place):
    async def main():
        server, there = await serving()
        connector, client = Connector(tmp_path / "s"), ConnectorClient(tmp_path / "s")
        try:
            with pytest.raises(OSError, match="not the door of a host"):
                await client.connect(place.format(place=there))
        finally:
            client.close()
            await connector.close()
            server.close()

    run(main)


def test_a_place_where_nobody_is_is_told(tmp_path):
    async def main():
        server, place = await serving()
        server.close()
        connector, client = Connector(tmp_path / "s"), ConnectorClient(tmp_path / "s")
        connector.places = frozenset({place})
        try:
            with pytest.raises(OSError, match="no connection to"):
                await client.connect(place)
        finally:
            client.close()
            await connector.close()

    run(main)


def test_a_gateway_outlives_the_door_of_its_host(tmp_path):
    async def main():
        server, place = await serving()
        client = ConnectorClient(tmp_path / "s")
        with pytest.raises(OSError, match="does not run"):
            await client.connect(place)
        for _ in range(2):
            connector = Connector(tmp_path / "s")
            connector.places = frozenset({place})
            (await client.connect(place)).close()
            await connector.close()
            await asyncio.sleep(0.01)
        client.close()
        server.close()

    run(main)


def test_too_much_at_once_is_refused(tmp_path, monkeypatch):
    async def main():
        monkeypatch.setattr(under_test, "UNDER_WAY_MAX", 0)
        connector, client = Connector(tmp_path / "s"), ConnectorClient(tmp_path / "s")
        try:
            with pytest.raises(OSError, match="are being made already"):
                await client.connect("127.0.0.1:1")
        finally:
            client.close()
            await connector.close()

    run(main)


def test_who_waits_hears_that_the_door_went_away(tmp_path):
    async def main():
        client = ConnectorClient(tmp_path / "s")
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
            listener.bind(str(tmp_path / "s"))
            listener.listen(1)
            waiting = asyncio.ensure_future(client.connect("127.0.0.1:1"))
            await asyncio.sleep(0)
            listener.accept()[0].close()
            with pytest.raises(OSError, match="went away"):
                await waiting
        client.close()

    run(main)
