"""Both sides together, as a gateway uses them: clients, our server, our engine connections, an engine process."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvloop

from fastness.config import GatewaySettings
from fastness.gateway.http import EngineConnections, EngineLost, EngineStream, Exchange, HttpServer, SseSplitter

ENGINE = """
import asyncio, sys

async def serve(reader, writer):
    try:
        while True:
            head = await reader.readuntil(b"\\r\\n\\r\\n")
            size = int(head.lower().split(b"content-length: ")[1].split(b"\\r\\n")[0])
            body = await reader.readexactly(size)
            if body.startswith(b"whole"):
                writer.write(b"HTTP/1.1 200 OK\\r\\ncontent-length: %d\\r\\n\\r\\n%b" % (size, body))
                continue
            events, pause = int(body.split()[1]), float(body.split()[2])
            writer.write(b"HTTP/1.1 200 OK\\r\\ntransfer-encoding: chunked\\r\\n\\r\\n")
            for number in range(events):
                event = b"data: %06d " % number + b"x" * 1000 + b"\\n\\n"
                writer.write(b"%x\\r\\n%b\\r\\n" % (len(event), event))
                await writer.drain()
                print("sent", number, flush=True)
                await asyncio.sleep(pause)
            writer.write(b"0\\r\\n\\r\\n")
            await writer.drain()
            return
    except (ConnectionError, asyncio.IncompleteReadError):
        print("left", flush=True)
    finally:
        writer.close()

async def main():
    server = await asyncio.start_unix_server(serve, sys.argv[1])
    print("ready", flush=True)
    await server.serve_forever()

asyncio.run(main())
"""


class Relay:
    """A stream's sink: each event is taken out and written anew."""

    def __init__(self, exchange: Exchange) -> None:
        self.exchange = exchange
        self.splitter = SseSplitter()

    def on_head(self, status: int) -> None:
        self.exchange.start(status, b"content-type: text/event-stream\r\n")

    def on_data(self, data: bytes) -> None:
        for payload in self.splitter.feed(data):
            self.exchange.send(b"data: %b\n\n" % payload)

    def on_end(self) -> None:
        self.exchange.finish()

    def on_error(self, error: EngineLost) -> None:
        if self.exchange.started:
            self.exchange.send(b"data: error\n\n")
            self.exchange.abort()
        else:
            self.exchange.respond(502, b"", str(error).encode())


class Gateway:
    """A minimal gateway: bodies that begin with `whole` are awaited, others streamed."""

    def __init__(self, engine: str, process: subprocess.Popen[bytes], lines: asyncio.StreamReader) -> None:
        self.engine = engine
        self.process = process
        self.lines = lines
        self.engines = EngineConnections()
        self.calls: list[EngineStream] = []
        self.tasks: set[asyncio.Task[None]] = set()
        self.port = 0

    def __call__(self, exchange: Exchange) -> None:
        if exchange.body.startswith(b"whole"):
            task = asyncio.get_running_loop().create_task(self.whole(exchange))
            self.tasks.add(task)
            task.add_done_callback(self.tasks.discard)
            return
        call = self.engines.stream(self.engine, "/x", exchange.body, Relay(exchange))
        self.calls.append(call)
        exchange.on_disconnect, exchange.on_pause, exchange.on_resume = call.cancel, call.pause, call.resume

    async def whole(self, exchange: Exchange) -> None:
        answer = await self.engines.call(self.engine, "/x", exchange.body, answer_bytes_max=1_000_000)
        exchange.respond(answer.status, b"", answer.body)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def said(self, part: bytes) -> bytes:
        """Wait for a line of the engine."""
        while True:
            line = await self.lines.readline()
            assert line, "the engine ended"
            if line.startswith(part):
                return line


def run(main: Callable[[], Awaitable[None]]) -> None:
    problems: list[dict[str, Any]] = []

    async def bounded() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: problems.append(context))
        async with asyncio.timeout(60):
            await main()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(bounded())
    assert not problems, problems


@asynccontextmanager
async def relaying(folder: Path, *, tls: ssl.SSLContext | None = None, **limits: Any) -> AsyncIterator[Gateway]:
    path = str(folder / "engine.sock")
    script = folder / "engine.py"
    script.write_text(ENGINE)
    process = subprocess.Popen([sys.executable, str(script), path], stdout=subprocess.PIPE)
    lines = asyncio.StreamReader()
    reading, _ = await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(lines), process.stdout
    )
    numbers = count(1)
    gateway = Gateway(path, process, lines)
    server = HttpServer(
        gateway,
        replace(GatewaySettings(), **limits),
        new_request_id=lambda: f"req-{next(numbers)}",
        error_body=lambda refusal, _: refusal.code.encode(),
        ssl=tls,
    )
    try:
        await gateway.said(b"ready")
        gateway.port = await server.listen("127.0.0.1", 0)
        yield gateway
    finally:
        await server.close()
        await gateway.engines.close()
        reading.close()
        process.kill()
        process.wait()


def test_a_real_client_gets_whole_answers_and_streams_on_kept_connections(tmp_path):
    async def main() -> None:
        async with (
            relaying(tmp_path) as gateway,
            httpx.AsyncClient(base_url=f"http://127.0.0.1:{gateway.port}") as client,
        ):
            for number in range(50):
                body = b"whole %d" % number * 1_000
                assert (await client.post("/x", content=body)).content == body
            async with client.stream("POST", "/x", content=b"stream 200 0") as response:
                events = [line[:12] async for line in response.aiter_lines()]
            assert events[::2] == [f"data: {number:06}" for number in range(200)]

            async def chunks() -> AsyncIterator[bytes]:
                for part in [b"whole" * 5_000] * 10:
                    yield part

            assert len((await client.post("/x", content=chunks())).content) == 250_000
            many = await asyncio.gather(*[client.post("/x", content=b"whole%d" % number) for number in range(100)])
            assert {response.status_code for response in many} == {200}

    run(main)


def test_a_client_that_leaves_ends_its_stream_at_the_engine_at_once(tmp_path):
    async def main() -> None:
        async with relaying(tmp_path) as gateway:
            reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
            writer.write(b"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 16\r\n\r\nstream 9999 0.01")
            await reader.readuntil(b"data: 000001")
            writer.close()
            began = time.monotonic()
            await gateway.said(b"left")
            assert time.monotonic() - began < 10, "a stream of 100 s was let run on"
            assert gateway.calls[0].done

    run(main)


def test_a_slow_client_slows_the_engine_and_memory_stays_bounded(tmp_path):
    async def main() -> None:
        async with relaying(tmp_path, write_buffer_bytes_max=65_536) as gateway:
            sock = socket.socket()
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 32_768)
            sock.setblocking(False)
            await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", gateway.port))
            reader, writer = await asyncio.open_connection(sock=sock, limit=16_384)
            writer.write(b"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 14\r\n\r\nstream 20000 0")
            await reader.readuntil(b"data: 000001")
            sent = 0
            try:
                while True:  # until the engine has said nothing for a while
                    async with asyncio.timeout(0.5):
                        sent = int((await gateway.said(b"sent")).split()[1])
            except TimeoutError:
                pass
            assert sent < 19_000, "nothing held the engine back"
            drain = asyncio.create_task(gateway.said(b"sent 19999"))
            seen = b""
            while b"0\r\n\r\n" not in seen[-7:]:
                seen = seen[-7:] + await reader.read(1 << 20)
            await drain
            writer.close()
            await writer.wait_closed()

    run(main)


def test_a_killed_engine_is_an_error_to_each_of_its_streams_and_never_silence(tmp_path):
    async def main() -> None:
        async with (
            relaying(tmp_path) as gateway,
            httpx.AsyncClient(base_url=f"http://127.0.0.1:{gateway.port}") as client,
        ):

            async def one() -> str:
                text = ""
                try:
                    async with client.stream("POST", "/x", content=b"stream 9999 0.01") as response:
                        async for line in response.aiter_lines():
                            text = line or text
                except httpx.RemoteProtocolError:
                    return text
                return "complete"

            streams = [asyncio.create_task(one()) for _ in range(16)]
            await gateway.said(b"sent 20")
            os.kill(gateway.process.pid, signal.SIGKILL)
            assert set(await asyncio.gather(*streams)) == {"data: error"}
            response = await client.post("/x", content=b"stream 1 0")
            assert response.status_code == 502
            assert "no engine listens" in response.text

    run(main)


def test_hundreds_of_slow_attackers_do_not_keep_others_from_being_answered(tmp_path):
    async def main() -> None:
        short = {"header_timeout_s": 1.0, "body_timeout_s": 1.0}
        async with (
            relaying(tmp_path, **short) as gateway,
            httpx.AsyncClient(base_url=f"http://127.0.0.1:{gateway.port}") as client,
        ):
            head = b"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n"
            attackers = [await asyncio.open_connection("127.0.0.1", gateway.port) for _ in range(400)]
            for number, (_, writer) in enumerate(attackers):
                writer.write(head if number % 2 else head + b"\r\n")
            waits = []
            end = time.monotonic() + 0.8
            while time.monotonic() < end:
                for _, writer in attackers[::10]:
                    writer.write(b"x")
                began = time.monotonic()
                assert (await client.post("/x", content=b"whole")).content == b"whole"
                waits.append(time.monotonic() - began)
            assert sorted(waits)[len(waits) // 2] < 0.1
            for reader, writer in attackers:
                assert b" 408 " in (await reader.read())[:20]
                writer.close()

    run(main)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory) -> Path:
    if shutil.which("openssl") is None:
        pytest.skip("no openssl command to make a certificate with")
    folder = tmp_path_factory.mktemp("tls")
    command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=localhost"
    names = ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", folder / "key.pem", "-out", folder / "cert.pem"]
    subprocess.run([*command.split(), *names], check=True, capture_output=True)
    return folder


def test_tls_carries_whole_answers_streams_and_a_leaving_client(tmp_path, certificate):
    async def main() -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate / "cert.pem", certificate / "key.pem")
        trust = ssl.create_default_context(cafile=certificate / "cert.pem")
        async with relaying(tmp_path, tls=context, header_timeout_s=1.0) as gateway:
            async with httpx.AsyncClient(base_url=f"https://127.0.0.1:{gateway.port}", verify=trust) as client:
                for size in (1, 100_000, 1_000_000):
                    body = b"whole" + b"x" * (size - 1)
                    assert (await client.post("/x", content=body[:1_000_000])).content == body[:1_000_000]
                assert len((await client.post("/x", content=b"stream 500 0")).content) == 500 * 1_015
                assert (await client.post("/x", content=b"x" * 9_000_000)).text == "body_too_large"
            reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port, ssl=trust)
            writer.write(b"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 16\r\n\r\nstream 9999 0.01")
            await reader.readuntil(b"data: 000001")
            writer.transport.abort()
            await gateway.said(b"left")
            for plain in (b"GET / HTTP/1.1\r\n\r\n", b"", b"\x16\x03\x01\x00\x05hello"):  # none of these is a handshake
                reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
                writer.write(plain)
                assert b"HTTP" not in await reader.read()
                writer.close()

    run(main)


@pytest.mark.slow
def test_memory_is_flat_over_requests_and_small_for_an_open_stream(tmp_path):
    def resident() -> int:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    async def main() -> None:
        async with relaying(tmp_path) as gateway:

            async def ask(times: int) -> None:
                reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
                for number in range(times):
                    body = b"whole" + b"x" * (number % 3_000)
                    writer.write(b"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))
                    await reader.readuntil(b"\r\n\r\n")
                    await reader.readexactly(len(body))
                writer.close()
                await writer.wait_closed()

            await asyncio.gather(*[ask(300) for _ in range(8)])
            before = resident()
            await asyncio.gather(*[ask(1_500) for _ in range(8)])
            assert resident() - before < 2_000_000
            before = resident()
            streams = []
            for _ in range(400):
                reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
                writer.write(b"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 12\r\n\r\nstream 99 60")
                await reader.readuntil(b"data: 000000")
                streams.append(writer)
            assert (resident() - before) / len(streams) < 40 * 1_024, "the client's half is in this process too"
            for writer in streams:
                writer.close()

    run(main)
