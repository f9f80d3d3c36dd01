"""Two hosts as network namespaces with a cable between them, which is cut in the middle of a stream; run by a test.

Prints how many chunks came before, and how long it took after the cut until the stream, and a new one, had failed.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from pathlib import Path

TESTS = Path(__file__).parents[1]
sys.path[:0] = [str(TESTS), str(TESTS / "unit/gateway_http")]

from door_world import HOST, Opened, remote_engines, route  # noqa: E402
from fastness.fleet.door.orders import DoorOrders, remote_socket  # noqa: E402
from fastness.gateway.http import EngineConnections, EngineLost  # noqa: E402
from fastness.identity.cluster.membership import Membership  # noqa: E402
from fastness.perimeter.kernel import Kernel  # noqa: E402
from fastness.perimeter.namespaces import CLONE_NEWNET  # noqa: E402

PORT = 7443


def ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True)


class Sink:
    def __init__(self) -> None:
        self.chunks = 0
        self.error: EngineLost | None = None

    def on_head(self, status: int) -> None:
        assert status == 200

    def on_data(self, data: bytes) -> None:
        self.chunks += 1

    def on_end(self) -> None:
        raise AssertionError("the stream never ends")

    def on_error(self, error: EngineLost) -> None:
        self.error = error


async def node(own: Membership, path: Path, ready: int) -> None:
    async def stream(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
        while True:
            writer.write(b"5\r\nfirst\r\n")
            await asyncio.sleep(0.05)

    server = await asyncio.start_unix_server(stream, path)
    found = Opened(own)
    found.door.listen(["10.99.0.2"], PORT)
    found.door.obey(DoorOrders(1, None, (route(path),)))
    os.write(ready, b"r")
    async with server:
        await asyncio.sleep(60)


async def head(own: Membership, child: int) -> None:
    connections, sink = EngineConnections(remote=remote_engines(own)), Sink()
    where = remote_socket(f"10.99.0.2:{PORT}", "chat-1", HOST)
    connections.stream(where, "/v1/x", b"{}", sink)
    while sink.chunks < 10:
        assert sink.error is None, sink.error
        await asyncio.sleep(0.01)
    subprocess.run(["nsenter", f"--net=/proc/{child}/ns/net", "ip", "link", "set", "cable-b", "down"], check=True)
    cut_s, chunks = time.monotonic(), sink.chunks
    while sink.error is None:
        await asyncio.sleep(0.01)
    print("chunks", chunks)
    print("lost_s", round(time.monotonic() - cut_s, 2))
    began_s, again = time.monotonic(), Sink()
    connections.stream(where, "/v1/x", b"{}", again)
    while again.error is None:
        await asyncio.sleep(0.01)
    print("connect_s", round(time.monotonic() - began_s, 2))
    await connections.close()


def main() -> None:
    of_head, of_node, path = (Path(one) for one in sys.argv[1:])
    apart, tell_apart = os.pipe()
    wired, tell_wired = os.pipe()
    ready, tell_ready = os.pipe()
    child = os.fork()
    if child == 0:
        Kernel().unshare(CLONE_NEWNET)
        os.write(tell_apart, b"a")
        os.read(wired, 1)
        ip("addr", "add", "10.99.0.2/24", "dev", "cable-b")
        ip("link", "set", "cable-b", "up")
        asyncio.run(node(Membership(of_node), path, tell_ready))
        os._exit(0)
    try:
        os.read(apart, 1)
        ip("link", "add", "dev", "cable-a", "type", "veth", "peer", "name", "cable-b", "netns", str(child))
        ip("addr", "add", "10.99.0.1/24", "dev", "cable-a")
        ip("link", "set", "cable-a", "up")
        os.write(tell_wired, b"w")
        os.read(ready, 1)
        asyncio.run(head(Membership(of_head), child))
    finally:
        os.kill(child, 9)
        os.waitpid(child, 0)


if __name__ == "__main__":
    main()
