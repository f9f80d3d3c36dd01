"""`python -m benchmarks.doors`: what a door costs, beside the engine's own socket, in CPU time of gateway and door.

An engine of a few lines, a door and our connections, each a process; whole answers, streams, and new connections.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import socket
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import uvloop

from fastness.fleet.door.connector import connect
from fastness.fleet.door.orders import ENGINE_PROTOCOL, DoorOrders, DoorRoute, remote_socket, server_name
from fastness.fleet.door.server import Door
from fastness.gateway.http import EngineConnections, RemoteEngines
from fastness.identity.cluster import folder as files
from fastness.identity.cluster.authority import Authority
from fastness.identity.cluster.claims import HostClaims, HostRole
from fastness.identity.cluster.membership import Membership
from fastness.identity.cluster.revocation import Revoked
from fastness.main.trust import checking, judging

HOST, REPLICA, CHUNKS = "bristol-07", "chat-1", 1_000
CALLS, STREAMS, FRESH = 2_000, 20, 300
WHOLE = b"HTTP/1.1 200 OK\r\ncontent-length: 200\r\n\r\n" + b"x" * 200
CHUNK = b"bc\r\ndata: " + b"x" * 180 + b"\n\n\r\n"


class Engine(asyncio.Protocol):
    """Answers whatever is asked of `/stream` by a stream, and closes; anything else by a whole answer."""

    def connection_made(self, transport: Any) -> None:
        self._transport, self._asked = transport, b""

    def data_received(self, data: bytes) -> None:
        self._asked += data
        if b"\r\n\r\n" in self._asked:
            asked, self._asked = self._asked, b""
            if asked.startswith(b"POST /stream"):
                self._task = asyncio.ensure_future(self._stream())
            else:
                self._transport.write(WHOLE)

    async def _stream(self) -> None:
        self._transport.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
        for _ in range(CHUNKS):
            self._transport.write(CHUNK)
            await asyncio.sleep(0)
        self._transport.write(b"0\r\n\r\n")
        self._transport.close()


class Sink:
    """Takes a stream; `over` is its end."""

    def __init__(self) -> None:
        self.over: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def on_head(self, status: int) -> None:
        assert status == 200

    def on_data(self, data: bytes) -> None:
        assert data

    def on_end(self) -> None:
        self.over.set_result(None)

    def on_error(self, error: Exception) -> None:
        self.over.set_exception(error)


def certify(folder: Path) -> None:
    """Make a head and a node of one cluster, below `folder`."""
    now_s = time.time()
    authority = Authority.create(now_s, 86_400)
    for name, role in (("head", HostRole.HEAD), (HOST, HostRole.NODE)):
        issued = authority.issue(HostClaims(name, role, ("127.0.0.1",), "GB", "OFFICIAL"), now_s, 86_400)
        contents = {
            files.AUTHORITY: authority.certificate_pem,
            files.CERTIFICATE: issued.certificate_pem,
            files.KEY: issued.key_pem,
            files.REVOKED: authority.sign_revoked(Revoked(1), now_s),
        }
        files.make_folder(folder / name / files.FOLDER, contents)


def be_engine(path: Path) -> None:
    """Be the engine."""

    async def main() -> None:
        server = await asyncio.get_running_loop().create_unix_server(Engine, path)
        await server.serve_forever()

    uvloop.run(main())


def be_door(folder: Path, port: int, path: Path, cpu: Any) -> None:
    """Be the door; `cpu` has its CPU time in seconds."""
    own = Membership(folder / HOST / files.FOLDER)

    async def main() -> None:
        door = Door(own.server_context(), judging(own), print)
        door.listen(["127.0.0.1"], port)
        door.obey(DoorOrders(1, None, (DoorRoute(server_name(REPLICA, HOST), str(path)),)))
        while True:
            cpu.value = time.process_time()
            await asyncio.sleep(0.05)

    uvloop.run(main())


async def measure(folder: Path, port: int, path: Path, cpu: Any) -> None:
    """Ask over both ways, and print what it cost."""
    head = Membership(folder / "head" / files.FOLDER)
    remote = RemoteEngines(head.client_context(), ENGINE_PROTOCOL, lambda place: connect(place, 2.0), checking(head))
    connections = EngineConnections(remote=remote)
    print(f"{'way':<6} {'what':<26} {'gateway, CPU-ms':>16} {'door, CPU-ms':>13}")
    for way, where in (("unix", str(path)), ("door", remote_socket(f"127.0.0.1:{port}", REPLICA, HOST))):
        for what, times, ask in (
            ("request", CALLS, _call),
            ("1,000 chunks of a stream", STREAMS, _stream),
            ("request, new connection", FRESH, _fresh),
        ):
            await ask(connections, where)
            await asyncio.sleep(0.2)
            begun_s, door_s = time.process_time(), cpu.value
            for _ in range(times):
                await ask(connections, where)
            spent_s = time.process_time() - begun_s
            await asyncio.sleep(0.2)
            of_door = 1_000 * (cpu.value - door_s) / times
            print(f"{way:<6} {what:<26} {1_000 * spent_s / times:>16.3f} {of_door if way == 'door' else 0:>13.3f}")
    await connections.close()


async def _call(connections: EngineConnections, where: str) -> None:
    await connections.call(where, "/whole", b"{}", answer_bytes_max=1_000)


async def _stream(connections: EngineConnections, where: str) -> None:
    sink = Sink()
    connections.stream(where, "/stream", b"{}", sink)
    await sink.over


async def _fresh(connections: EngineConnections, where: str) -> None:
    connections.forget(where)
    await _call(connections, where)


def main() -> None:
    """Start the processes, measure, end them."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with tempfile.TemporaryDirectory() as name:
        folder, path = Path(name), Path(name) / "engine.sock"
        certify(folder)
        cpu = multiprocessing.Value("d", 0.0)
        starts: list[tuple[Callable[..., None], tuple[Any, ...]]] = [
            (be_engine, (path,)),
            (be_door, (folder, port, path, cpu)),
        ]
        processes = [multiprocessing.Process(target=act, args=args, daemon=True) for act, args in starts]
        for process in processes:
            process.start()
        try:
            while not (path.exists() and cpu.value):
                time.sleep(0.01)
            time.sleep(0.3)
            uvloop.run(measure(folder, port, path, cpu))
        finally:
            for process in processes:
                process.kill()
                process.join()


if __name__ == "__main__":
    main()
