"""What the HTTP parts of the data path cost: `python -m benchmarks.http_parts [--seconds 4]`.

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
from collections.abc import Awaitable, Callable
from itertools import count
from pathlib import Path
from subprocess import PIPE, Popen

import uvloop
from benchmarks.http_peers import CHUNKS, chat_request

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


class Handlers:
    """The request handlers that are compared."""

    def __init__(self, engine: str) -> None:
        self.engines = EngineConnections()
        self.engine = engine
        self.tasks: set[asyncio.Task[None]] = set()

    def echo(self, exchange: Exchange) -> None:
        exchange.respond(200, JSON, exchange.body)

    def whole(self, exchange: Exchange) -> None:
        call = self.engines.stream(self.engine, PATH, exchange.body, WholeRelay(exchange))
        exchange.on_disconnect = call.cancel

    def pooled(self, exchange: Exchange) -> None:
        task = asyncio.get_running_loop().create_task(self._pooled(exchange))
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    async def _pooled(self, exchange: Exchange) -> None:
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


async def measured(seconds: float) -> None:
    with tempfile.TemporaryDirectory() as folder:
        socket = f"{folder}/engine.sock"
        engine = Popen([sys.executable, "-m", "benchmarks.http_peers", "engine", socket], stdout=PIPE)
        assert engine.stdout
        engine.stdout.readline()
        try:
            await _measured(seconds, Handlers(socket))
        finally:
            engine.terminate()
            engine.wait()
            engine.stdout.close()


async def _measured(seconds: float, handlers: Handlers) -> None:
    ids = count()
    limits = GatewaySettings(connections_max=100_000)

    async def serving(handler: Callable[[Exchange], None], use: Callable[[int], Awaitable[None]]) -> None:
        server = HttpServer(
            handler, limits, new_request_id=lambda: f"req_{next(ids):024x}", error_body=lambda *_: b"{}"
        )
        port = await server.listen("127.0.0.1", 0)
        await use(port)
        await server.close()

    def requests(name: str, connections: int, body_bytes: int, headers: str) -> Callable[[int], Awaitable[None]]:
        async def use(port: int) -> None:
            seen, used = await run_client(port, "requests", connections, body_bytes, headers, seconds)
            n = seen["requests"]
            print(f"{name:58} {used / n * 1e3:9.4f} {n / seconds:12.0f}/s  p50 {seen['p50_ms']:.3f} ms")

        return use

    def chunks(name: str, streams: int, interval_ms: float) -> Callable[[int], Awaitable[None]]:
        async def use(port: int) -> None:
            seen, used = await run_client(port, "streams", streams, interval_ms, "few", seconds)
            n = seen["chunks"]
            print(f"{name:58} {used / n * 1e6:9.2f} {n / seconds:12.0f}/s  p50 {seen['p50_ms']:.3f} ms")

        return use

    print(f"{'CPU-ms per request':58} {'CPU-ms':>9}")
    await serving(handlers.echo, requests("echo, 2 KB, 16 connections, 4 headers", 16, 2_048, "few"))
    await serving(handlers.echo, requests("echo, 2 KB, 16 connections, 17 headers (an SDK's)", 16, 2_048, "many"))
    await serving(handlers.pooled, requests("proxied (task, call), 2 KB, 16 connections, 4 headers", 16, 2_048, "few"))
    await serving(
        handlers.pooled, requests("proxied (task, call), 2 KB, 16 connections, 17 headers", 16, 2_048, "many")
    )
    await serving(handlers.pooled, requests("proxied (task, call), 2 KB, 1 connection, 17 headers", 1, 2_048, "many"))
    await serving(handlers.pooled, requests("proxied (task, call), 64 KB, 16 connections", 16, 65_536, "many"))
    await serving(handlers.pooled, requests("proxied (task, call), 400 KB, 4 connections", 4, 409_600, "many"))
    await serving(handlers.whole, requests("proxied (fresh engine connection), 2 KB, 16", 16, 2_048, "many"))
    print(f"\n{f'CPU-ms per 1,000 chunks ({CHUNKS} a stream)':58} {'CPU-ms':>9}")
    await serving(handlers.stream, chunks("relayed bytes, 32 streams, 10 ms apart", 32, 10))
    await serving(handlers.events, chunks("events cut and rewritten, 32 streams, 10 ms apart", 32, 10))
    await serving(handlers.events, chunks("events cut and rewritten, 256 streams, 40 ms apart", 256, 40))
    print()
    await serving(handlers.stream, lambda port: memory(port, 2_000))


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
    print(f"{f'memory per open relayed stream, {streams} open':58} {(rss_bytes() - before) / streams / 1024:9.2f} KiB")
    process.stdin.close()
    await process.wait()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--seconds", type=float, default=4.0)
    chosen = parser.parse_args()
    print(f"request of {len(chat_request(2_048, 'many'))} bytes with an SDK's headers\n")
    gc.freeze()
    uvloop.run(measured(chosen.seconds))
