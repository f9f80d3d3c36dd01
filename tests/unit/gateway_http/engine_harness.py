"""Engines of a few lines: what they say is what a test tells them to say."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from fastness.gateway.http import EngineConnections, EngineLost
from http_harness import run, until

Script = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
WHOLE = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 5\r\n\r\nwhole"
STREAM_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
STREAM = STREAM_HEAD + b"5\r\nfirst\r\n6\r\nsecond\r\n0\r\n\r\n"


class Taken:
    """A sink that remembers; the first broken rule of the order of calls is an assertion error."""

    def __init__(self) -> None:
        self.status = 0
        self.body = b""
        self.ended = False
        self.error: EngineLost | None = None

    @property
    def over(self) -> bool:
        return self.ended or self.error is not None

    def on_head(self, status: int) -> None:
        assert not self.status
        assert not self.over
        self.status = status

    def on_data(self, data: bytes) -> None:
        assert self.status
        assert data
        assert not self.over
        self.body += data

    def on_end(self) -> None:
        assert self.status
        assert not self.over
        self.ended = True

    def on_error(self, error: EngineLost) -> None:
        assert not self.over
        self.error = error


async def read_request(reader: asyncio.StreamReader) -> bytes:
    head = await reader.readuntil(b"\r\n\r\n")
    assert head.startswith(b"POST /v1/x HTTP/1.1\r\nhost: engine\r\ncontent-type: application/json\r\n")
    size = int(head.split(b"content-length: ")[1].split(b"\r\n")[0])
    return head + await reader.readexactly(size)


@asynccontextmanager
async def engine(path: Path, script: Script, **kwargs: Any) -> AsyncIterator[tuple[EngineConnections, list[int]]]:
    """Serve `script` for each connection; yields our connections, and a list that grows with each one accepted."""
    accepted: list[int] = []
    writers: list[asyncio.StreamWriter] = []
    serving: list[asyncio.Task[None] | None] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        accepted.append(1)
        writers.append(writer)
        serving.append(asyncio.current_task())
        try:
            await script(reader, writer)
        except (asyncio.IncompleteReadError, ConnectionError, RuntimeError):  # uvloop raises the last for a closed one
            pass
        finally:
            writer.close()

    server = await asyncio.start_unix_server(serve, path)
    connections = EngineConnections(**kwargs)
    try:
        yield connections, accepted
    finally:
        await connections.close()
        server.close()
        for writer in writers:
            writer.transport.abort()
        await asyncio.gather(*filter(None, serving))
        assert not connections._open


def saying(*parts: bytes, kept: bool = True) -> Script:
    """An engine that answers each request with these bytes, one write each."""

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            await read_request(reader)
            for part in parts:
                writer.write(part)
                await writer.drain()
                await asyncio.sleep(0)
            if not kept:
                return

    return script


def called(tmp_path: Path, script: Script, answer_bytes_max: int = 1_000) -> Any:
    async def main() -> Any:
        async with engine(tmp_path / "s", script) as (connections, _):
            return await connections.call(str(tmp_path / "s"), "/v1/x", b"{}", answer_bytes_max=answer_bytes_max)

    return run(main)


def streamed(tmp_path: Path, script: Script, **kwargs: Any) -> Taken:
    async def main() -> Taken:
        async with engine(tmp_path / "s", script) as (connections, _):
            taken = Taken()
            connections.stream(str(tmp_path / "s"), "/v1/x", b"{}", taken, **kwargs)
            assert not taken.over
            await until(lambda: taken.over)
            await asyncio.sleep(0.005)
            return taken

    return run(main)


BROKEN = {
    "closed without a word": b"",
    "closed in the head": b"HTTP/1.1 200 OK\r\nContent-",
    "closed in the body": WHOLE[:-1],
    "closed in a chunk": STREAM[:-14],
    "closed before the last chunk": STREAM[:-5],
    "closed in the trailers": STREAM[:-2],
    "no length": b"HTTP/1.1 200 OK\r\n\r\nwhole",
    "HTTP/1.0 without length": b"HTTP/1.0 200 OK\r\n\r\nwhole",
    "garbage": b"\x00\x01\x02\x03",
    "another protocol": b"220 smtp ready\r\n",
    "a request": b"GET / HTTP/1.1\r\n\r\n",
    "status out of range": WHOLE.replace(b"200", b"999"),
    "status in words": WHOLE.replace(b"200", b"abc"),
    "informational": b"HTTP/1.1 100 Continue\r\n\r\n" + WHOLE,
    "switching protocols": b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
    "two lengths": WHOLE.replace(b"Content-Length: 5", b"Content-Length: 5\r\nContent-Length: 6"),
    "length and chunks": STREAM.replace(b"Transfer", b"Content-Length: 5\r\nTransfer"),
    "length not a number": WHOLE.replace(b"Length: 5", b"Length: x"),
    "chunk not a number": STREAM.replace(b"5\r\nfirst", b"x\r\nfirst"),
    "chunk overflow": STREAM.replace(b"5\r\nfirst", b"fffffffffffffffff\r\nfirst"),
    "chunk longer than said": STREAM.replace(b"5\r\nfirst", b"4\r\nfirst"),
    "bare LF": WHOLE.replace(b"\r\n", b"\n"),
    "NUL in a header": WHOLE.replace(b"application", b"\x00"),
    "endless head": b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 50_000,
    "endless header": b"HTTP/1.1 200 OK\r\nX: " + b"y" * 300_000,
    "endless extension": STREAM_HEAD + b"5;" + b"x" * 300_000,
    "endless trailers": STREAM[:-2] + b"X: y\r\n" * 50_000,
}
