"""Connections to engines over their Unix sockets, or the doors of other hosts, kept and reused."""

from __future__ import annotations

import asyncio
import re
from functools import lru_cache, partial
from typing import Final, NamedTuple

from fastness.gateway.http.engine_connection import EngineConnection
from fastness.gateway.http.engine_stream import EngineStream, Sink
from fastness.gateway.http.errors import EngineLost, EngineUnreachable
from fastness.gateway.http.remote import SCHEME, RemoteEngines

STREAM_BYTES_MAX: Final = 268_435_456
"""A streamed answer, unless its caller says otherwise."""
BUSY_WAIT_FIRST_S: Final = 0.001
BUSY_WAIT_MAX_S: Final = 0.032
"""Between two attempts to connect while the engine's backlog is full (llama-server's holds five)."""

_PATH: Final = re.compile(r"/[!-~]*")


class Answer(NamedTuple):
    """A whole answer of an engine."""

    status: int
    body: bytes


class WholeAnswer:
    """One whole answer on its way. Whoever no longer waits for `future` has to `cancel`, which is always safe."""

    __slots__ = ("_body", "_status", "future", "stream")

    def __init__(self, future: asyncio.Future[Answer]) -> None:
        self.future = future
        self.stream: EngineStream | None = None
        self._status = 0
        self._body: bytes | bytearray = b""

    def cancel(self) -> None:
        """Close the connection at once, unless the answer came."""
        stream, self.stream = self.stream, None  # it leads back here: no cycle is left
        if stream is not None:
            stream.cancel()

    def on_head(self, status: int) -> None:
        """See Sink."""
        self._status = status

    def on_data(self, data: bytes) -> None:
        """See Sink."""
        if not self._body:
            self._body = data  # mostly it comes in one piece, and needs no copy
            return
        if isinstance(self._body, bytes):
            self._body = bytearray(self._body)
        self._body += data

    def on_end(self) -> None:
        """See Sink."""
        if not self.future.done():
            self.future.set_result(Answer(self._status, bytes(self._body)))

    def on_error(self, error: EngineLost) -> None:
        """See Sink."""
        if not self.future.done():
            self.future.set_exception(error)


class EngineConnections:
    """Keep-alive connections to engines, pooled by socket path. Made and used on the running event loop.

    `remote` makes those whose "path" is that of an engine on another host, `tls://...`; None: there are none.

    A pooled connection that turns out closed before the first byte of the answer is replaced once by a fresh one.
    After a streamed answer a connection is not used again (llama-server closes it, whatever it announced). Time
    limits other than `connect_timeout_s` are the caller's, through `cancel`. `idle_max` is per socket, and
    `idle_timeout_s` is below the five seconds after which llama-server closes an idle connection itself.
    """

    def __init__(
        self,
        *,
        connect_timeout_s: float = 5.0,
        idle_timeout_s: float = 4.0,
        idle_max: int = 64,
        remote: RemoteEngines | None = None,
    ) -> None:
        self._remote = remote
        self._loop = asyncio.get_running_loop()
        self._connect_timeout_s = connect_timeout_s
        self._idle_timeout_s = idle_timeout_s
        self._idle_max = idle_max
        self._idle: dict[str, list[EngineConnection]] = {}
        self._open: set[EngineConnection] = set()
        self._connecting: dict[asyncio.Task[None], tuple[EngineStream, float]] = {}
        self._sweeper: asyncio.TimerHandle | None = None
        self._down = False
        self._empty = asyncio.Event()

    async def call(self, socket: str, path: str, body: bytes, *, answer_bytes_max: int) -> Answer:
        """POST JSON and wait for the whole answer; raises EngineUnreachable or EngineBroken.

        Cancelling the waiting task closes the connection at once.
        """
        return await _waited(self.ask(socket, path, body, answer_bytes_max=answer_bytes_max))

    async def get(self, socket: str, path: str, *, answer_bytes_max: int) -> Answer:
        """GET, and wait for the whole answer, as `call` does."""
        return await _waited(self._whole(socket, _head_of_get(path), b"", answer_bytes_max))

    def ask(self, socket: str, path: str, body: bytes, *, answer_bytes_max: int) -> WholeAnswer:
        """POST JSON, as `call` does, for whoever waits by itself. What fails, fails in its future."""
        return self._whole(socket, _head(path, body), body, answer_bytes_max)

    def stream(
        self, socket: str, path: str, body: bytes, sink: Sink, *, stream_bytes_max: int = STREAM_BYTES_MAX
    ) -> EngineStream:
        """POST JSON and give the answer to `sink` as it comes. Returns at once; what fails, fails in the sink."""
        return self._begin(EngineStream(socket, _head(path, body), body, sink, stream_bytes_max, reusable=False))

    def send(self, socket: str, head: bytes, body: bytes, sink: Sink, *, stream_bytes_max: int) -> EngineStream:
        """Send a request whose head the caller wrote whole, as `stream` does."""
        return self._begin(EngineStream(socket, head, body, sink, stream_bytes_max, reusable=False))

    def forget(self, socket: str) -> None:
        """Drop idle connections to `socket` (its engine is another one now); calls in progress go on, unpooled after.

        Also to be called for a replica that is gone for good: it frees what is kept for its socket.
        """
        for connection in self._idle.pop(socket, ()):
            connection.drop()
        if self._remote is not None:
            self._remote.forget(socket)

    async def close(self) -> None:
        """Drop idle connections and end calls in progress: their sinks hear EngineBroken or EngineUnreachable."""
        self._down = True
        self._idle.clear()
        if self._sweeper is not None:
            self._sweeper.cancel()
        connecting = dict(self._connecting)
        for task, (call, _) in connecting.items():
            call.fail(EngineUnreachable("this gateway is shutting down"))
            task.cancel()
        await asyncio.gather(*connecting, return_exceptions=True)
        for connection in tuple(self._open):
            connection.lose("this gateway is shutting down")
        if self._open:
            await self._empty.wait()
        if self._remote is not None:
            await self._remote.close()

    # ---- what connections tell us

    def opened(self, connection: EngineConnection) -> None:
        """Count a connection in."""
        self._open.add(connection)
        self._empty.clear()

    def closed(self, connection: EngineConnection) -> None:
        """Count a connection out."""
        self._open.discard(connection)
        if not self._open:
            self._empty.set()
        if connection in connection.idle:
            connection.idle.remove(connection)

    def give_back(self, connection: EngineConnection, socket: str) -> None:
        """Keep a connection for the next call, unless its socket was forgotten meanwhile."""
        if self._idle.get(socket) is not connection.idle or len(connection.idle) >= self._idle_max:
            connection.drop()
            return
        connection.idle_since = self._loop.time()
        connection.idle.append(connection)
        if self._sweeper is None:
            self._sweep_later()

    def connect(self, call: EngineStream) -> None:
        """Make the call on a fresh connection."""
        if self._down:
            self._loop.call_soon(call.fail, EngineUnreachable("this gateway is shutting down"))
            return
        task = self._loop.create_task(self._connect(call))
        self._connecting[task] = (call, self._loop.time() + self._connect_timeout_s)
        task.add_done_callback(self._connecting.pop)
        if self._sweeper is None:
            self._sweep_later()

    # ---- our own steps

    def _whole(self, socket: str, head: bytes, body: bytes, answer_bytes_max: int) -> WholeAnswer:
        whole = WholeAnswer(self._loop.create_future())
        whole.stream = stream = EngineStream(socket, head, body, whole, answer_bytes_max, reusable=True)
        self._begin(stream)
        return whole

    def _begin(self, call: EngineStream) -> EngineStream:
        idle = self._idle.get(call.socket)
        while idle:
            connection = idle.pop()
            if connection.usable:
                call.attach(connection)
                return call
        self.connect(call)
        return call

    async def _connect(self, call: EngineStream) -> None:
        idle = self._idle.setdefault(call.socket, [])
        try:
            connection = await self._open_one(call, idle)
        except (
            asyncio.CancelledError
        ):  # by the sweep: a timeout of its own for each connection would cost as much again
            call.fail(EngineUnreachable(f"the engine accepted no connection within {self._connect_timeout_s:g} s"))
        except OSError as error:
            where = "no engine is reached" if call.socket.startswith(SCHEME) else "no engine listens on its socket"
            call.fail(EngineUnreachable(f"{where}: {error.strerror or error}"))
        else:
            if connection is not None and call.done:
                connection.drop()
            elif connection is not None:
                call.attach(connection)

    async def _open_one(self, call: EngineStream, idle: list[EngineConnection]) -> EngineConnection | None:
        wait_s = BUSY_WAIT_FIRST_S
        make = partial(EngineConnection, self, idle)
        if call.socket.startswith(SCHEME):
            if self._remote is None:
                raise OSError("it is on another host, and this installation belongs to no cluster")
            return await self._remote.open(make, call.socket)
        while not call.done:
            try:
                return (await self._loop.create_unix_connection(make, call.socket))[1]
            except BlockingIOError:
                await asyncio.sleep(wait_s)
                wait_s = min(2 * wait_s, BUSY_WAIT_MAX_S)
        return None

    def _sweep_later(self) -> None:
        interval_s = min(self._idle_timeout_s, self._connect_timeout_s) / 4
        self._sweeper = self._loop.call_later(interval_s, self._sweep)

    def _sweep(self) -> None:
        self._sweeper = None
        now = self._loop.time()
        for task, (_, deadline) in self._connecting.items():
            if now >= deadline:
                task.cancel()
        oldest = now - self._idle_timeout_s
        for idle in self._idle.values():
            for connection in [connection for connection in idle if connection.idle_since <= oldest]:
                idle.remove(connection)
                connection.drop()
        if self._remote is not None:
            self._remote.sweep()
        if self._connecting or any(self._idle.values()) or (self._remote is not None and self._remote.busy):
            self._sweep_later()


async def _waited(whole: WholeAnswer) -> Answer:
    try:
        return await whole.future
    finally:
        whole.cancel()


def _head_of_get(path: str) -> bytes:
    if _PATH.fullmatch(path) is None:
        raise ValueError(f"{path!r} cannot be asked for: it needs a path of visible ASCII, from the first `/`")
    return f"GET {path} HTTP/1.1\r\nhost: control\r\naccept: */*\r\n\r\n".encode("ascii")


def _head(path: str, body: bytes) -> bytes:
    return b"%b%d\r\n\r\n" % (_head_beginning(path), len(body))


@lru_cache(maxsize=64)
def _head_beginning(path: str) -> bytes:
    if _PATH.fullmatch(path) is None:
        raise ValueError(f"{path!r} cannot be asked of an engine: it needs a path of visible ASCII, from the first `/`")
    return (
        f"POST {path} HTTP/1.1\r\nhost: engine\r\ncontent-type: application/json\r\naccept: */*\r\ncontent-length: "
    ).encode("ascii")
