"""What the HTTP parts of the data path cost: `python -m benchmarks.http_parts`.

This process is the one measured: its own server, or its own server and engine connections relaying as a gateway would.
The clients and the engine are processes of their own, raw protocols that do as little as possible. CPU is user and
system time of this process alone. On a shared machine trust ratios and repeat.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import os
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from itertools import count
from pathlib import Path
from subprocess import PIPE, Popen

import uvloop

from benchmarks.http_peers import CHUNKS
from fastness.config import GatewaySettings
from fastness.gateway.http import EngineConnections, EngineLost, Exchange, HttpServer, SseSplitter

JSON = b"content-type: application/json\r\n"
EVENTS = b"content-type: text/event-stream\r\ncache-control: no-cache\r\n"
PATH = "/v1/chat/completions"


class WholeRelay:
    """Relays a whole answer without a task."""

    __slots__ = ("body", "exchange", "status")

    def __init__(self, exchange: Exchange) -> None:
        self.exchange = exchange
        self.body = b""

    def on_head(self, status: int) -> None:
        self.status = status

    def on_data(self, data: bytes) -> None:
        self.body += data

    def on_end(self) -> None:
        self.exchange.respond(self.status, JSON, self.body)

    def on_error(self, _: EngineLost) -> None:
        self.exchange.abort()


class StreamRelay:
    """Relays the bytes of a stream as they come."""

    __slots__ = ("exchange",)

    def __init__(self, exchange: Exchange) -> None:
        self.exchange = exchange

    def on_head(self, status: int) -> None:
        self.exchange.start(status, EVENTS)

    def on_data(self, data: bytes) -> None:
        self.exchange.send(data)

    def on_end(self) -> None:
        self.exchange.finish()

    def on_error(self, _: EngineLost) -> None:
        self.exchange.abort()


class EventRelay(StreamRelay):
    """Takes the events apart and writes each anew, as the gateway has to."""

    __slots__ = ("splitter",)

    def __init__(self, exchange: Exchange) -> None:
        super().__init__(exchange)
        self.splitter = SseSplitter()

    def on_data(self, data: bytes) -> None:
        for payload in self.splitter.feed(data):
            self.exchange.send(b"data: " + payload + b"\n\n")


class Front(asyncio.Protocol):
    """The floor, client side: no HTTP at all, one engine connection for each client connection."""

    def __init__(self, engine: str) -> None:
        self.engine = engine
        self.back: asyncio.Transport | None = None
        self.early: list[bytes] = []

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self.transport = transport
        loop = asyncio.get_running_loop()
        self.task = loop.create_task(loop.create_unix_connection(lambda: Back(self), self.engine))  # type: ignore[arg-type]

    def data_received(self, data: bytes) -> None:
        if self.back is None:
            self.early.append(data)
        elif not self.back.is_closing():
            self.back.write(data)

    def connection_lost(self, _: Exception | None) -> None:
        if self.back is not None:
            self.back.abort()


class Back(asyncio.Protocol):
    """The floor, engine side."""

    def __init__(self, front: Front) -> None:
        self.front = front

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self.front.back = transport
        transport.writelines(self.front.early)

    def data_received(self, data: bytes) -> None:
        if not self.front.transport.is_closing():
            self.front.transport.write(data)


class Handlers:
    """The request handlers that are compared."""

    def __init__(self, engine: str) -> None:
        self.engines = EngineConnections()
        self.engine = engine
        self.tasks: set[asyncio.Task[None]] = set()

    def echo(self, exchange: Exchange) -> None:
        exchange.respond(200, JSON, exchange.body)

    def sink(self, exchange: Exchange) -> None:
        call = self.engines.stream(self.engine, PATH, exchange.body, WholeRelay(exchange))
        exchange.on_disconnect = call.cancel

    def call(self, exchange: Exchange) -> None:
        task = asyncio.get_running_loop().create_task(self._call(exchange))
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    async def _call(self, exchange: Exchange) -> None:
        answer = await self.engines.call(self.engine, PATH, exchange.body, answer_bytes_max=1_000_000)
        exchange.respond(answer.status, JSON, answer.body)

    def stream(self, exchange: Exchange) -> None:
        self._stream(exchange, StreamRelay(exchange))

    def events(self, exchange: Exchange) -> None:
        self._stream(exchange, EventRelay(exchange))

    def _stream(self, exchange: Exchange, relay: StreamRelay) -> None:
        call = self.engines.stream(self.engine, PATH, exchange.body, relay)
        exchange.on_disconnect = call.cancel
        exchange.on_pause = call.pause
        exchange.on_resume = call.resume


def rss_bytes() -> int:
    """Resident memory now."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


async def run_client(port: int, *arguments: object) -> tuple[dict[str, float], float]:
    """Run a load client; return what it saw and the CPU seconds of this process meanwhile."""
    argv = [sys.executable, "-m", "benchmarks.http_peers", "client", str(port), *map(str, arguments)]
    process = await asyncio.create_subprocess_exec(*argv, stdout=PIPE, stdin=PIPE)
    assert process.stdout
    await process.stdout.readline()  # it is warm and waits
    before = time.process_time()
    assert process.stdin
    process.stdin.write(b"go\n")
    line = await process.stdout.readline()
    used = time.process_time() - before
    process.stdin.close()
    await process.wait()
    return json.loads(line), used


async def measured(seconds: float, rounds: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        socket = f"{folder}/engine.sock"
        engine = Popen([sys.executable, "-m", "benchmarks.http_peers", "engine", socket], stdout=PIPE)
        assert engine.stdout
        engine.stdout.readline()
        try:
            await _measured(seconds, rounds, Handlers(socket))
        finally:
            engine.terminate()
            engine.wait()
            engine.stdout.close()


async def _measured(seconds: float, rounds: int, handlers: Handlers) -> None:
    ids = count()
    limits = GatewaySettings(connections_max=100_000)
    servers: list[HttpServer] = []

    async def serve(handler: Callable[[Exchange], None]) -> int:
        server = HttpServer(
            handler, limits, new_request_id=lambda: f"req_{next(ids):024x}", error_body=lambda *_: b"{}"
        )
        servers.append(server)
        return await server.listen("127.0.0.1", 0)

    floor = await asyncio.get_running_loop().create_server(lambda: Front(handlers.engine), "127.0.0.1", 0)
    bare = floor.sockets[0].getsockname()[1]
    echo, call, sink = await serve(handlers.echo), await serve(handlers.call), await serve(handlers.sink)
    stream, events = await serve(handlers.stream), await serve(handlers.events)
    scenarios: list[tuple[str, int, tuple[object, ...]]] = [
        ("floor: the same bytes through two bare protocols", bare, ("requests", 16, 2_048, "many")),
        ("echo, 4 headers", echo, ("requests", 16, 2_048, "few")),
        ("echo, an SDK's 17 headers", echo, ("requests", 16, 2_048, "many")),
        ("proxied: a task awaits the whole answer", call, ("requests", 16, 2_048, "many")),
        ("  the same, 1 client connection", call, ("requests", 1, 2_048, "many")),
        ("  the same, 64 KB", call, ("requests", 16, 65_536, "many")),
        ("  the same, 400 KB, 4 client connections", call, ("requests", 4, 409_600, "many")),
        ("proxied: a sink, a fresh engine connection", sink, ("requests", 16, 2_048, "many")),
        ("floor: the same bytes through two bare protocols", bare, ("streams", 32, 10, "many")),
        ("relayed as bytes, 32 streams, 10 ms apart", stream, ("streams", 32, 10, "many")),
        ("events cut and written anew, 32 streams, 10 ms apart", events, ("streams", 32, 10, "many")),
        ("  the same, 256 streams, 40 ms apart", events, ("streams", 256, 40, "many")),
    ]
    results: list[list[tuple[float, float]]] = [[] for _ in scenarios]
    for _ in range(rounds):
        for (_, port, arguments), result in zip(scenarios, results, strict=True):
            seen, used_s = await run_client(port, *arguments, seconds)
            result.append((used_s / seen["count"] * 1e3, seen["p50_ms"]))
    mode = ""
    for (name, _, arguments), result in zip(scenarios, results, strict=True):
        if arguments[0] != mode:
            mode = str(arguments[0])
            unit = "request (2 KB, 16 connections)" if mode == "requests" else f"1,000 chunks ({CHUNKS} a stream)"
            print(f"\n{'CPU-ms per ' + unit:54} {'least':>9} {'median':>9} {'p50 ms':>9}")
        factor = 1 if mode == "requests" else 1_000
        costs = sorted(cost * factor for cost, _ in result)
        waits = sorted(wait for _, wait in result)
        print(f"{name:54} {costs[0]:9.4f} {costs[len(costs) // 2]:9.4f} {waits[len(waits) // 2]:9.3f}")
    await memory(stream, 2_000)
    for server in servers:
        await server.close()
    floor.close()


async def memory(port: int, streams: int) -> None:
    """Open many relayed streams that stay open; print what each holds in this process."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, max(soft, 4 * streams)), hard))
    gc.collect()
    before = rss_bytes()
    argv = [sys.executable, "-m", "benchmarks.http_peers", "client", str(port), "hold", str(streams)]
    process = await asyncio.create_subprocess_exec(*argv, stdout=PIPE, stdin=PIPE)
    assert process.stdout
    assert process.stdin
    await process.stdout.readline()
    gc.collect()
    print(
        f"\n{f'memory per open relayed stream, {streams} open':54} {(rss_bytes() - before) / streams / 1024:9.2f} KiB"
    )
    process.stdin.close()
    await process.wait()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--seconds", type=float, default=1.0, help="length of one measurement")
    parser.add_argument("--rounds", type=int, default=5, help="every scenario is measured this often, in turns")
    chosen = parser.parse_args()
    gc.freeze()
    uvloop.run(measured(chosen.seconds, chosen.rounds))
