"""What the HTTP tests share: a loop that tolerates no unhandled exception, a server, raw sockets, a strict reader."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, replace
from itertools import count
from typing import Any

import uvloop

from fastness.config import GatewaySettings
from fastness.core.error import Refusal
from fastness.gateway.http import Exchange, HttpServer

PATIENCE_S = 60.0


def run(main: Callable[[], Awaitable[Any]], *, stock_loop: bool = False) -> Any:
    """Run a test's coroutine; whatever reaches the loop's exception handler fails the test."""
    problems: list[dict[str, Any]] = []

    async def bounded() -> Any:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: problems.append(context))
        async with asyncio.timeout(PATIENCE_S):
            return await main()

    with asyncio.Runner(loop_factory=None if stock_loop else uvloop.new_event_loop) as runner:
        result = runner.run(bounded())
    assert not problems, problems
    return result


async def until(true: Callable[[], bool]) -> None:
    """Wait until something is true; the test's own deadline is the limit."""
    while not true():
        await asyncio.sleep(0.001)


def error_body(refusal: Refusal, request_id: str) -> bytes:
    return json.dumps({"error": {"code": refusal.code, "message": refusal.message, "id": request_id}}).encode()


@asynccontextmanager
async def serving(
    handler: Callable[[Exchange], None], *, ssl: Any = None, held_bytes_max: int = 1 << 29, **limits: Any
) -> AsyncIterator[tuple[HttpServer, int]]:
    numbers = count(1)
    server = HttpServer(
        handler,
        replace(GatewaySettings(), **limits),
        new_request_id=lambda: f"req-{next(numbers)}",
        error_body=error_body,
        ssl=ssl,
        held_bytes_max=held_bytes_max,
    )
    port = await server.listen("127.0.0.1", 0)
    try:
        yield server, port
    finally:
        await server.close()
        assert server.connections == 0
        assert server.held_bytes == 0


class Talk:
    """A raw connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self.seen = b""

    @classmethod
    async def to(cls, port: int, **kwargs: Any) -> Talk:
        return cls(*await asyncio.open_connection("127.0.0.1", port, **kwargs))

    def send(self, data: bytes) -> None:
        self.writer.write(data)

    async def until(self, part: bytes) -> bytes:
        """Read until `part` was seen."""
        while part not in self.seen:
            data = await self.reader.read(65_536)
            assert data, f"closed before {part!r}; got {self.seen!r}"
            self.seen += data
        return self.seen

    async def answer(self) -> Response:
        """Read one whole response."""
        while True:
            response, rest = read_response(self.seen)
            if response is not None:
                self.seen = rest
                return response
            data = await self.reader.read(65_536)
            assert data, f"closed before a whole response; got {self.seen!r}"
            self.seen += data

    async def to_end(self) -> bytes:
        """Read until the server closes."""
        with suppress(ConnectionResetError):
            while data := await self.reader.read(65_536):
                self.seen += data
        return self.seen

    async def close(self) -> None:
        self.writer.close()
        with suppress(OSError):
            await self.writer.wait_closed()


@asynccontextmanager
async def talking(port: int, **kwargs: Any) -> AsyncIterator[Talk]:
    talk = await Talk.to(port, **kwargs)
    try:
        yield talk
    finally:
        await talk.close()


@dataclass(frozen=True)
class Response:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def code(self) -> str:
        return str(json.loads(self.body)["error"]["code"])


def read_response(data: bytes) -> tuple[Response | None, bytes]:
    """Read one self-delimiting response strictly; anything odd is an assertion error."""
    end = data.find(b"\r\n\r\n")
    if end < 0:
        return None, data
    first, *lines = data[:end].decode("ascii").split("\r\n")
    version, status, _ = first.split(" ", 2)
    assert version == "HTTP/1.1"
    pairs = [line.split(": ", 1) for line in lines]
    headers = {name.lower(): value for name, value in pairs}
    assert len(headers) == len(pairs), f"a header came twice: {pairs}"
    rest = data[end + 4 :]
    if status == "100":
        return read_response(rest)
    assert headers["server"] == "fastness"
    assert headers["x-request-id"]
    assert headers["date"].endswith("GMT")
    if headers.get("transfer-encoding") == "chunked":
        body, after = read_chunks(rest)
        return (None, data) if body is None else (Response(int(status), headers, body), after)
    size = int(headers.get("content-length", "0"))
    if len(rest) < size:
        return None, data
    return Response(int(status), headers, rest[:size]), rest[size:]


def read_chunks(data: bytes) -> tuple[bytes | None, bytes]:
    body = b""
    while True:
        line, found, data = data.partition(b"\r\n")
        if not found:
            return None, b""
        size = int(line, 16)
        if len(data) < size + 2:
            return None, b""
        assert data[size : size + 2] == b"\r\n"
        if size == 0:
            return body, data[2:]
        body += data[:size]
        data = data[size + 2 :]


def read_responses(data: bytes) -> list[Response]:
    """Read everything a connection sent; there must be nothing but whole responses."""
    found = []
    while data:
        response, data = read_response(data)
        assert response is not None, f"an incomplete response: {data!r}"
        found.append(response)
    return found


def post(body: bytes, path: str = "/echo", extra: bytes = b"") -> bytes:
    return b"POST %b HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n%b\r\n%b" % (path.encode(), len(body), extra, body)


def get(path: str = "/", extra: bytes = b"") -> bytes:
    return b"GET %b HTTP/1.1\r\nHost: a\r\n%b\r\n" % (path.encode(), extra)


def echo(exchange: Exchange) -> None:
    exchange.respond(200, b"content-type: application/octet-stream\r\n", exchange.body)
