"""The listener: accepts connections, sweeps their time limits, drains."""

from __future__ import annotations

from collections.abc import Callable
from ssl import SSLContext

from fastness.config import GatewaySettings
from fastness.core.error import Refusal
from fastness.gateway.http.exchange import Exchange


class HttpServer:
    """An HTTP/1.1 server on the running event loop.

    `handler` is called synchronously, once for each well-formed request that arrived whole; it may answer at once or
    start a task. What is not well-formed never reaches it: the client gets `error_body(refusal, request_id)`, JSON
    bytes, and the connection ends. An exception out of `handler` is answered with `internal_error` and reported to
    the loop's exception handler. `limits` are the gateway's settings; `held_bytes_max` bounds the request bytes held
    for all clients together.
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
        raise NotImplementedError

    async def listen(self, host: str, port: int, *, reuse_port: bool = False, backlog: int = 1_024) -> int:
        """Accept connections; returns the port (useful when 0 was asked). Raises OSError."""
        raise NotImplementedError

    @property
    def connections(self) -> int:
        """Open client connections."""
        raise NotImplementedError

    @property
    def draining(self) -> bool:
        """Whether `drain` or `close` was called; a handler may refuse new work then."""
        raise NotImplementedError

    async def drain(self, timeout_s: float) -> int:
        """Stop accepting, close idle connections, let answers finish, then cut the rest; returns how many were cut."""
        raise NotImplementedError

    async def close(self) -> None:
        """Stop at once: every connection is cut."""
        raise NotImplementedError
