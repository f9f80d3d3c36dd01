"""One client connection: bytes in, exchanges out, answers in order, and its time limits."""

from __future__ import annotations

import asyncio
from math import inf
from time import monotonic
from typing import TYPE_CHECKING, Final, cast

from fastness.core.error import Refusal
from fastness.gateway.http.certificate import uris_of
from fastness.gateway.http.exchange import Exchange
from fastness.gateway.http.reading import RequestReader
from fastness.gateway.http.wire import CONTINUE, JSON

if TYPE_CHECKING:
    from fastness.gateway.http.server import HttpServer

LINGER_S: Final = 2.0
"""How long a refused client may go on sending before it is cut: closing at once would reset the connection, and the
client could lose the refusal."""
BURST: Final = 16
"""Pipelined requests taken from one connection before the others get their turn."""


class Connection(asyncio.Protocol):
    """The server's side of one TCP or TLS connection.

    Requests are taken strictly one after the other: while one is being answered, bytes of the next wait in the
    reader. Times are of `time.monotonic()`, in seconds; the server's sweep looks at `deadline`.
    """

    __slots__ = (
        *("_body_since", "_client", "_closing", "_exchange", "_held_bytes", "_keep_alive", "_pumping", "_reader"),
        *("_reading_paused", "_received_at", "_server", "_taken_at", "_taken_bytes", "_transport", "_written_bytes"),
        *("certificate_uris", "deadline", "inside", "paused"),
    )

    def __init__(self, server: HttpServer, *, inside: bool = False) -> None:
        self._server = server
        self.inside: Final = inside
        self._reader = RequestReader(server.limits)
        self._transport: asyncio.Transport
        self._exchange: Exchange | None = None
        self._client = ""
        self._closing = False
        self._keep_alive = True
        self._pumping = False
        self._reading_paused = False
        self._received_at = 0.0
        self._body_since = 0.0
        self._held_bytes = 0
        self._written_bytes = 0
        self._taken_bytes = -1
        self._taken_at = 0.0
        self.deadline = inf
        self.paused = False
        self.certificate_uris: tuple[str, ...] = ()

    # ---- what the event loop tells us

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the connection, or drop it when there are too many."""
        self._transport = cast("asyncio.Transport", transport)
        limits = self._server.limits
        if not self._server.admit(self):
            self._closing = True
            self._transport.abort()
            return
        peer = transport.get_extra_info("peername")
        self._client = str(peer[0]) if isinstance(peer, tuple) else ""
        if self._server.verifies_clients:
            self.certificate_uris = uris_of(transport.get_extra_info("peercert"))
        self._transport.set_write_buffer_limits(high=limits.write_buffer_bytes_max)
        self.deadline = monotonic() + min(limits.header_timeout_s, limits.idle_timeout_s)

    def data_received(self, data: bytes) -> None:
        """Take bytes of a request, or keep them until their turn comes."""
        if self._closing:
            return
        if self._exchange is None and not self.paused:
            self._pump(data)
        else:
            self._reader.hold(data)
            self._account()

    def eof_received(self) -> None:
        """The client said goodbye: whatever it asked for is not wanted any more."""
        self._leave()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - the event loop's signature
        """The connection is gone."""
        self._server.discard(self)
        self._reader.clear()
        self._account()
        self._leave()

    def pause_writing(self) -> None:
        """Too much is unsent: the exchange should pause its source."""
        self.paused = True
        if self._exchange is not None:
            self._exchange.paused()

    def resume_writing(self) -> None:
        """The client has caught up."""
        self.paused = False
        if self._exchange is not None:
            self._exchange.resumed()
        else:
            self._pump_on()

    # ---- what the exchange tells us

    def write(self, data: bytes) -> None:
        """Send bytes."""
        self._written_bytes += len(data)
        self._transport.write(data)

    def write_parts(self, *parts: bytes) -> None:
        """Send several pieces without copying them into one."""
        self._written_bytes += sum(map(len, parts))
        self._transport.writelines(parts)

    def response_head(self, request_id: str, status: int, headers: bytes, framing: str) -> bytes:
        """Make the head of the one answer; it says `connection: close` when this is the last."""
        server = self._server
        beginning = server.heads.beginning(status)
        if server.draining:
            self._keep_alive = False
        close = "" if self._keep_alive else "connection: close\r\n"
        ours = f"x-request-id: {request_id}\r\n{framing}{close}\r\n".encode("ascii")
        return b"".join((beginning, headers, ours))

    def answered(self) -> None:
        """The answer is complete: on to the next request, or goodbye."""
        self._exchange = None
        if self._keep_alive and not self._server.draining:
            self.deadline = self._server.swept_at + self._server.limits.idle_timeout_s
            if not self._pumping:
                self._pump_on()
        elif self._reader.waiting:
            self._linger()
        else:
            self._close()

    def aborted(self) -> None:
        """The answer will not become complete: what was written goes out, then the connection closes."""
        self._exchange = None
        self._close()

    # ---- what the server tells us

    @property
    def busy(self) -> bool:
        """Whether a request is arriving or being answered."""
        return self._exchange is not None or self._received_at > 0.0

    def sweep(self, now: float) -> None:
        """Look at the time limits."""
        unsent = self._transport.get_write_buffer_size()
        if unsent:
            taken = self._written_bytes - unsent
            if taken != self._taken_bytes:
                self._taken_bytes, self._taken_at = taken, now
            elif now - self._taken_at >= self._server.limits.write_timeout_s:
                self.cut()
        else:
            self._taken_bytes = -1
            if now >= self.deadline:
                self._expire()

    def drain(self) -> None:
        """Close now if idle; otherwise the answer under way will be the last."""
        if not self.busy and not self._closing:
            self._close()

    def cut(self) -> None:
        """Close at once; what is unsent is lost."""
        self._transport.abort()
        self._leave()

    # ---- our own steps

    def _pump(self, data: bytes) -> None:
        self._pumping = True
        try:
            for _ in range(BURST):
                if not self._advance(data) or self._exchange is not None or self.paused or not self._reader.waiting:
                    break
                data = b""
            else:
                asyncio.get_running_loop().call_soon(self._pump_on)
        finally:
            self._pumping = False
        if self._held_bytes or self._reader.head is not None or self._reader.waiting:
            self._account()

    def _pump_on(self) -> None:
        if self._reader.waiting and self._exchange is None and not self.paused and not self._closing:
            self._pump(b"")

    def _advance(self, data: bytes) -> bool:
        if not self._received_at:
            self._received_at = monotonic()
        try:
            whole = self._reader.feed(data)
        except Refusal as refusal:
            self._refuse(refusal)
            return False
        if whole:
            self._dispatch()
            return not self._closing
        head = self._reader.head
        if head is None:
            self.deadline = self._received_at + self._server.limits.header_timeout_s
        elif not self._body_since:
            self._body_since = monotonic()
            self.deadline = self._body_since + self._server.limits.body_timeout_s
            if head.expects_continue:
                self.write(CONTINUE)
        return False

    def _dispatch(self) -> None:
        server, reader = self._server, self._reader
        head = reader.head
        assert head is not None
        self._keep_alive = head.keep_alive
        exchange = Exchange(self, head, reader.body, self._client, self._received_at, server.new_request_id())
        reader.next()
        self._exchange = exchange
        self._received_at = self._body_since = 0.0
        self.deadline = inf
        try:
            server.handler(exchange)
        except Exception as error:  # noqa: BLE001 - the handler is a stranger here; the client must get its answer
            server.failed(exchange, error)

    def _refuse(self, refusal: Refusal) -> None:
        request_id = self._server.new_request_id()
        body = self._server.error_body(refusal, request_id)
        self._keep_alive = False
        framing = f"content-length: {len(body)}\r\n"
        if refusal.retry_after_s is not None:
            framing += f"retry-after: {refusal.retry_after_s}\r\n"
        self.write(self.response_head(request_id, refusal.status, JSON, framing) + body)
        self._linger()

    def _expire(self) -> None:
        limits = self._server.limits
        if self._closing:
            self.cut()
        elif not self._received_at:
            self._close()
        else:
            head = self._reader.head is None
            what, most = ("headers", limits.header_timeout_s) if head else ("body", limits.body_timeout_s)
            self._refuse(Refusal("request_timeout", f"The {what} did not arrive within {most:g} s."))

    def _account(self) -> None:
        server, held = self._server, self._reader.held_bytes
        server.held_bytes += held - self._held_bytes
        self._held_bytes = held
        if self._closing:
            return
        if self._exchange is None and not self.paused:
            if server.held_bytes > server.held_bytes_max and held:
                message = "Too many requests are arriving at once; try again in a moment."
                self._refuse(Refusal("overloaded", message, retry_after_s=1))
            elif self._reading_paused:
                self._reading_paused = False
                self._transport.resume_reading()
        elif held > server.pipelined_bytes_max or server.held_bytes > server.held_bytes_max:
            self._reading_paused = True
            self._transport.pause_reading()

    def _linger(self) -> None:
        self._closing = True
        self._received_at = 0.0
        self._reader.clear()
        self._account()
        self.deadline = monotonic() + LINGER_S
        if self._transport.can_write_eof():
            self._transport.write_eof()
            if self._reading_paused:
                self._reading_paused = False
                self._transport.resume_reading()
        else:
            self._transport.close()

    def _close(self) -> None:
        self._closing = True
        self._transport.close()

    def _leave(self) -> None:
        self._closing = True
        exchange, self._exchange = self._exchange, None
        if exchange is not None:
            self._transport.abort()
            exchange.left()
