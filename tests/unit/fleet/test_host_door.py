"""Who comes in by a door: certified hosts in their role, to what they may reach, for as long as the lease holds."""

from __future__ import annotations

import asyncio
import socket
import ssl
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import uvloop

from cluster_world import World
from door_world import HOST, Hosts, handshake, judging, opened, remote_engines, route
from fastness.fleet.door.frames import frame
from fastness.fleet.door.orders import ENGINE_PROTOCOL, MODEL_PROTOCOL, DoorOrders, models_name, server_name
from fastness.fleet.door.server import Door
from fastness.gateway.http import EngineConnections, EngineLost, EngineUnreachable
from fastness.identity.cluster import folder as files
from fastness.identity.cluster.claims import HostRole

NAME = server_name("chat-1", HOST)


@pytest.fixture(scope="module")
def hosts(tmp_path_factory: pytest.TempPathFactory) -> Hosts:
    return Hosts(tmp_path_factory.mktemp("hosts"))


def run(main: Callable[[], Awaitable[Any]]) -> Any:
    async def bounded() -> Any:
        async with asyncio.timeout(60):
            return await main()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(bounded())


class EchoEngine:
    """Says back what it hears, in capitals; counts who came."""

    def __init__(self, path: Path) -> None:
        self.path, self.came = path, 0
        self.writers: list[asyncio.StreamWriter] = []

    async def __aenter__(self) -> EchoEngine:
        self._server = await asyncio.start_unix_server(self._serve, self.path)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for writer in self.writers:
            writer.transport.abort()
        await asyncio.sleep(0.01)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.came += 1
        self.writers.append(writer)
        while said := await reader.read(1_000):
            writer.write(said.upper())
        writer.close()


def context_of(own: Any, protocol: str = ENGINE_PROTOCOL) -> ssl.SSLContext:
    context: ssl.SSLContext = own.client_context()
    context.set_alpn_protocols([protocol])
    return context


async def answered(place: str, context: ssl.SSLContext, name: str = NAME, said: bytes = frame(b"hello")) -> bytes:
    """What a door answers to a stranger: nothing, when it closes at once."""
    try:
        reader, writer = await handshake(place, context, name)
        try:
            writer.write(said)
            return await asyncio.wait_for(reader.read(100), 60)
        finally:
            writer.transport.abort()
    except (ssl.SSLError, ConnectionError):
        return b""


async def after(door: Any, count: int = 0) -> None:
    while door.connections > count:
        await asyncio.sleep(0.005)


def test_the_head_reaches_the_engine_that_it_names(hosts, tmp_path):
    async def main():
        async with EchoEngine(tmp_path / "s") as engine, opened(hosts.node, route(engine.path)) as found:
            assert await answered(found.place, context_of(hosts.head)) == frame(b"HELLO")
            await after(found.door)
            assert found.refused == []

    run(main)


@pytest.mark.parametrize(
    ("who", "name", "protocol", "why"),
    [
        ("node", NAME, ENGINE_PROTOCOL, "engines are for the head"),
        ("head", server_name("other", HOST), ENGINE_PROTOCOL, "no engine here"),
        ("head", models_name(HOST), ENGINE_PROTOCOL, "no engine here"),
        ("head", NAME, "http/1.1", "no protocol of ours"),
        ("head", NAME, MODEL_PROTOCOL, "no protocol of ours"),
    ],
)
def test_whoever_may_not_gets_nothing_and_it_is_told(hosts, tmp_path, who, name, protocol, why):
    async def main():
        async with EchoEngine(tmp_path / "s") as engine, opened(hosts.node, route(engine.path)) as found:
            own = hosts.head if who == "head" else hosts.node
            assert await answered(found.place, context_of(own, protocol), name) == b""
            await after(found.door)
            assert engine.came == 0
            ((told, reason),) = found.refused
            assert told == own.claims.name and why in reason

    run(main)


def plain_context() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def older_context(hosts: Hosts) -> ssl.SSLContext:
    context = context_of(hosts.head)
    context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_2
    return context


def foreign_context(tmp_path: Path) -> ssl.SSLContext:
    context = context_of(World(tmp_path / "foreign", time.time()).host("head", HostRole.HEAD))
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


@pytest.mark.parametrize("who", ["without a certificate", "of another authority", "over TLS 1.2", "no TLS at all"])
def test_strangers_end_in_the_handshake(hosts, tmp_path, who):
    async def main():
        async with EchoEngine(tmp_path / "s") as engine, opened(hosts.node, route(engine.path)) as found:
            if who == "no TLS at all":
                reader, writer = await asyncio.open_connection("127.0.0.1", found.door.ports[0])
                writer.write(b"GET / HTTP/1.1\r\n\r\n")
                assert not (await asyncio.wait_for(reader.read(1_000), 60)).startswith(b"HTTP")
                writer.close()
            else:
                context = {
                    "without a certificate": plain_context,
                    "of another authority": lambda: foreign_context(tmp_path),
                    "over TLS 1.2": lambda: older_context(hosts),
                }[who]()
                assert await answered(found.place, context) == b""
            await after(found.door)
            assert engine.came == 0

    run(main)


def test_a_revoked_head_is_put_out_and_not_let_in_again(tmp_path):
    async def main():
        hosts = Hosts(tmp_path)
        async with EchoEngine(tmp_path / "s") as engine, opened(hosts.node, route(engine.path)) as found:
            reader, writer = await handshake(found.place, context_of(hosts.head), NAME)
            writer.write(frame(b"hello"))
            assert await reader.readexactly(9) == frame(b"HELLO")
            hosts.node.take_revoked(hosts.world.revoke(hosts.head.certificate.serial))
            found.door.judge_again()
            assert await reader.read(10) == b""
            writer.transport.abort()
            assert "It was inside" in found.refused[-1][1]
            assert await answered(found.place, context_of(hosts.head)) == b""
            assert "revoked" in found.refused[-1][1]

    run(main)


def test_an_engine_that_is_gone_is_led_to_no_more(hosts, tmp_path):
    async def main():
        async with EchoEngine(tmp_path / "s") as engine, opened(hosts.node, route(engine.path)) as found:
            reader, writer = await handshake(found.place, context_of(hosts.head), NAME)
            writer.write(frame(b"hello"))
            assert await reader.readexactly(9) == frame(b"HELLO")
            found.door.obey(DoorOrders(2, None, (route(engine.path), route(engine.path, "other"))))
            writer.write(frame(b"again"))
            assert await reader.readexactly(9) == frame(b"AGAIN")
            found.door.obey(DoorOrders(3, None, (route(tmp_path / "new"),)))
            assert await reader.read(10) == b""
            writer.transport.abort()

    run(main)


def test_when_the_lease_lapses_everybody_is_put_out(hosts, tmp_path):
    async def main():
        now = [100.0]
        async with EchoEngine(tmp_path / "s") as engine:
            door = Door(hosts.node.server_context(), judging(hosts.node), lambda *_: None, clock=lambda: now[0])
            door.listen(["127.0.0.1"], 0)
            place = f"127.0.0.1:{door.ports[0]}"
            try:
                assert await answered(place, context_of(hosts.head)) == b"", "before any orders"
                orders = DoorOrders(1, 110.0, (route(engine.path),))
                door.obey(orders)
                reader, writer = await handshake(place, context_of(hosts.head), NAME)
                writer.write(frame(b"hello"))
                assert await reader.readexactly(9) == frame(b"HELLO")
                now[0] = 111.0
                door.look()
                assert await reader.read(10) == b""
                writer.transport.abort()
                assert await answered(place, context_of(hosts.head)) == b""
                door.obey(replace(orders, version=2, until_s=120.0))
                assert await answered(place, context_of(hosts.head)) == frame(b"HELLO")
            finally:
                await door.close()

    run(main)


def test_a_door_that_is_full_takes_nobody_more(hosts, tmp_path, monkeypatch):
    async def main():
        monkeypatch.setattr("fastness.fleet.door.server.CONNECTIONS_MAX", 2)
        async with EchoEngine(tmp_path / "s") as engine, opened(hosts.node, route(engine.path)) as found:
            inside = [await handshake(found.place, context_of(hosts.head), NAME) for _ in range(2)]
            while found.door.connections < 2:
                await asyncio.sleep(0.005)
            assert await answered(found.place, context_of(hosts.head)) == b""
            inside[0][1].transport.abort()
            await after(found.door, 1)
            assert await answered(found.place, context_of(hosts.head)) == frame(b"HELLO")
            inside[1][1].transport.abort()

    run(main)


def test_who_says_nothing_keeps_nobody_out(hosts, tmp_path, monkeypatch):
    async def main():
        monkeypatch.setattr("fastness.fleet.door.entrance.HANDSHAKES_MAX", 8)
        async with EchoEngine(tmp_path / "s") as engine, opened(hosts.node, route(engine.path)) as found:
            port = found.door.ports[0]
            silent = [await asyncio.open_connection("127.0.0.1", port) for _ in range(30)]
            for _ in range(3):
                assert await answered(found.place, context_of(hosts.head)) == frame(b"HELLO")
            gone = await asyncio.wait_for(silent[0][0].read(10), 60)
            assert gone == b"" and len(found.door._entrance._handshakes) <= 8
            for _, writer in silent:
                writer.transport.abort()
            await after(found.door)

    run(main)


def test_who_is_silent_is_put_out_after_a_while(hosts, monkeypatch):
    async def main():
        monkeypatch.setattr("fastness.fleet.door.entrance.HANDSHAKE_TIMEOUT_S", 0.1)
        async with opened(hosts.node) as found:
            reader, writer = await asyncio.open_connection("127.0.0.1", found.door.ports[0])
            assert await asyncio.wait_for(reader.read(10), 60) == b""
            writer.transport.abort()
            while found.door._entrance._handshakes:
                await asyncio.sleep(0.005)

    run(main)


def asked(remote: Any, where: str) -> Awaitable[Any]:
    async def main() -> None:
        connections = EngineConnections(remote=remote)
        try:
            await connections.call(where, "/v1/x", b"{}", answer_bytes_max=10)
        finally:
            await connections.close()

    return main()


def test_the_head_believes_no_door_but_that_of_the_host_it_means(tmp_path):
    async def main():
        hosts = Hosts(tmp_path / "ours")
        other, foreign = hosts.world.host("leeds-01"), Hosts(tmp_path / "foreign")
        for own, word in ((other, "is not that of"), (foreign.node, "is not that of")):
            async with opened(own, route(tmp_path / "s")) as found:
                with pytest.raises(EngineUnreachable, match=word):
                    await asked(remote_engines(hosts.head), found.socket())
        files.replace_file(hosts.head.folder, files.REVOKED, hosts.world.revoke(hosts.node.certificate.serial))
        hosts.head.refresh()
        async with opened(hosts.node, route(tmp_path / "s")) as found:
            with pytest.raises(EngineUnreachable, match="revoked"):
                await asked(remote_engines(hosts.head), found.socket())

    run(main)


def test_a_host_that_does_not_answer_is_given_up_soon(hosts, tmp_path, monkeypatch):
    async def main():
        monkeypatch.setattr("fastness.gateway.http.remote.CONNECT_TIMEOUT_S", 0.1)
        with socket.create_server(("127.0.0.1", 0)) as silent:
            where = f"tls://127.0.0.1:{silent.getsockname()[1]}/{NAME}"
            with pytest.raises(EngineLost, match=r"within 0\.1 s"):
                await asked(remote_engines(hosts.head), where)

    run(main)


def test_a_door_that_was_away_is_reached_again(hosts, tmp_path):
    async def main():
        connections = EngineConnections(remote=remote_engines(hosts.head))

        async def ask(where: str) -> bytes:
            return (await connections.call(where, "/v1/x", b"{}", answer_bytes_max=10)).body

        async def whole(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            with suppress(asyncio.IncompleteReadError):
                while await reader.readuntil(b"{}"):
                    writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nwhole")
            writer.close()

        server = await asyncio.start_unix_server(whole, tmp_path / "s")
        try:
            async with opened(hosts.node, route(tmp_path / "s")) as found:
                where, port = found.socket(), found.door.ports[0]
                assert await ask(where) == b"whole"
            with pytest.raises(EngineUnreachable):
                await ask(where)
            async with opened(hosts.node, route(tmp_path / "s"), port=port):
                assert await ask(where) == b"whole"
                await connections.close()
        finally:
            server.close()

    run(main)


@pytest.mark.parametrize("replica", ["chat-1", "models", "Chat_1", "a" * 64])
def test_every_replica_has_a_server_name_of_its_host(hosts, replica):
    name = server_name(replica, HOST)
    assert name != models_name(HOST)
    label, _, rest = name.partition(".")
    assert 0 < len(label) <= 63 and rest == f"{HOST}.fastness.internal"
