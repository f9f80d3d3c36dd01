"""The listener: accepts connections, sweeps their time limits, drains."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Callable
from pathlib import Path
from ssl import CERT_NONE, SSLContext
from typing import Any, Final

from fastness.config import GatewaySettings
from fastness.core.error import Refusal
from fastness.gateway.http.connection import LINGER_S, Connection
from fastness.gateway.http.exchange import Exchange
from fastness.gateway.http.wire import JSON, ResponseHeads

SWEEP_INTERVAL_S: Final = 0.25
"""Time limits are looked at this often, or four times within the shortest of them: one timer for all connections."""


class HttpServer:
    """An HTTP/1.1 server on the running event loop.

    `handler` is called synchronously, once for each well-formed request that arrived whole; it may answer at once or
    start a task. What is not well-formed never reaches it: the client gets `error_body(refusal, request_id)`, JSON
    bytes, and the connection ends. An exception out of `handler` is answered with `internal_error` and reported to
    the loop's exception handler. `limits` are the gateway's settings; `held_bytes_max` bounds the bytes of requests
    still arriving, of all clients together. `draining` is True once `drain` or `close` was called: a handler may refuse
    new work then.
    """

    def __init__(
        self,
        handler: Callable[[Exchange], None],
        limits: GatewaySettings,
        *,
        new_request_id: Callable[[], str],
        error_body: Callable[[Refusal, str], bytes],
        ssl: SSLContext | None = None,
        held_bytes_max: int = 536_870_912,
    ) -> None:
        self.handler: Final = handler
        self.limits: Final = limits
        self.new_request_id: Final = new_request_id
        self.error_body: Final = error_body
        self.held_bytes_max: Final = held_bytes_max
        self.pipelined_bytes_max: Final = limits.header_bytes_max + limits.body_bytes_max
        self.heads: Final = ResponseHeads()
        self.held_bytes = 0
        self.swept_at = 0.0
        self._ssl = ssl
        self.verifies_clients: Final = ssl is not None and ssl.verify_mode is not CERT_NONE
        self.draining = False
        self._connections: set[Connection] = set()
        self._listeners: list[asyncio.Server] = []
        self._sweeper: asyncio.TimerHandle | None = None
        self._empty: asyncio.Event = asyncio.Event()
        self._sweep_interval_s = min(
            SWEEP_INTERVAL_S,
            min(limits.header_timeout_s, limits.body_timeout_s, limits.idle_timeout_s, limits.write_timeout_s) / 4,
        )

    async def listen(self, host: str, port: int, *, reuse_port: bool = False, backlog: int = 1_024) -> int:
        """Accept connections; returns the port (useful when 0 was asked). Raises OSError."""
        return await self._accept(host=host, port=port, reuse_port=reuse_port or None, backlog=backlog)

    async def listen_on(self, listener: socket.socket, *, backlog: int = 1_024) -> int:
        """Accept connections of an open listening socket, which is closed with the server; returns its port."""
        return await self._accept(sock=listener, backlog=backlog)  # or the loop would cut it to 100

    async def listen_at(self, path: Path) -> None:
        """Accept connections at a Unix socket of ours, without TLS: for who may open the file. Raises OSError."""
        loop = asyncio.get_running_loop()
        listener = _bind(path)
        self._listeners.append(await loop.create_unix_server(lambda: Connection(self, inside=True), sock=listener))

    async def _accept(self, **where: Any) -> int:
        listener = await asyncio.get_running_loop().create_server(
            lambda: Connection(self),
            ssl=self._ssl,
            ssl_handshake_timeout=self.limits.header_timeout_s if self._ssl else None,
            ssl_shutdown_timeout=LINGER_S if self._ssl else None,
            **where,
        )
        self._listeners.append(listener)
        if self._sweeper is None:
            self._sweep()
        return int(listener.sockets[0].getsockname()[1])

    @property
    def connections(self) -> int:
        """Open client connections."""
        return len(self._connections)

    async def drain(self, timeout_s: float) -> int:
        """Stop accepting, close idle connections, let answers finish, then cut the rest; returns how many were cut."""
        self.draining = True
        for listener in self._listeners:
            listener.close()
        for connection in tuple(self._connections):
            connection.drain()
        await self._wait_until_empty(timeout_s)
        unfinished = sum(connection.busy for connection in self._connections)
        for connection in tuple(self._connections):
            connection.cut()
        await self._wait_until_empty(LINGER_S)
        if self._sweeper is not None:
            self._sweeper.cancel()
            self._sweeper = None
        return unfinished

    async def close(self) -> None:
        """Stop at once: every connection is cut."""
        await self.drain(0)

    def admit(self, connection: Connection) -> bool:
        """Count a new connection in, unless there are too many or the server is going down."""
        if self.draining or len(self._connections) >= self.limits.connections_max:
            return False
        self._connections.add(connection)
        self._empty.clear()
        return True

    def discard(self, connection: Connection) -> None:
        """Count a connection out."""
        self._connections.discard(connection)
        if not self._connections:
            self._empty.set()

    def failed(self, exchange: Exchange, error: Exception) -> None:
        """Answer for a handler that raised, and report it."""
        loop = asyncio.get_running_loop()
        loop.call_exception_handler({"message": "the request handler raised", "exception": error})
        if exchange.started:
            exchange.abort()
        else:
            refusal = Refusal("internal_error", "A defect in Fastness; the request id finds it in the logs.")
            exchange.respond(refusal.status, JSON, self.error_body(refusal, exchange.request_id))

    async def _wait_until_empty(self, timeout_s: float) -> None:
        if self._connections:
            try:
                async with asyncio.timeout(timeout_s):
                    await self._empty.wait()
            except TimeoutError:
                pass

    def _sweep(self) -> None:
        self.swept_at = now = time.monotonic()
        self.heads.tick(time.time())
        for connection in tuple(self._connections):
            connection.sweep(now)
        self._sweeper = asyncio.get_running_loop().call_later(self._sweep_interval_s, self._sweep)


def _bind(path: Path) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX)
    try:
        path.unlink(missing_ok=True)
        listener.bind(str(path))
        path.chmod(0o600)
    except OSError:
        listener.close()
        raise
    return listener
