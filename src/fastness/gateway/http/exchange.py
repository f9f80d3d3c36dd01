"""One request and its one answer."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from enum import Enum, auto
from typing import TYPE_CHECKING

from fastness.gateway.http.head import RequestHead
from fastness.gateway.http.wire import BODILESS, LARGE_BYTES, LAST_CHUNK, ResponseHeaders, header_block

if TYPE_CHECKING:
    from fastness.gateway.http.connection import Connection

Callback = Callable[[], None]


class _State(Enum):
    ASKED = auto()
    STREAMING = auto()
    ENDED = auto()
    DISCONNECTED = auto()


_ASKED, _STREAMING, _ENDED, _DISCONNECTED = _State


class Exchange:
    """One request, whole, and the one answer it gets. For the event loop's thread only.

    Either `respond` once; or `start`, any number of `send`, and `finish`; or `abort`. Any other order raises
    RuntimeError. Once the client has gone all of them do nothing, so that a relay need not look before each write.
    """

    __slots__ = (
        "_connection",
        "_framed",
        "_on_disconnect",
        "_state",
        "_waiters",
        "body",
        "client",
        "headers",
        "method",
        "on_pause",
        "on_resume",
        "path",
        "query",
        "received_at",
        "request_id",
    )

    method: str
    """As sent, upper case; the handler decides which are allowed."""
    path: str
    """As sent, without the query, not percent-decoded; begins with `/`."""
    query: str
    """What followed the first `?`, or an empty string."""
    headers: Mapping[str, str]
    """Lower-case names, never content-length or transfer-encoding. A header sent more than once is absent (those that
    matter are refused when doubled). Not to be changed: the connection's next exchange may have the same mapping."""
    body: bytes
    client: str
    """The client's IP address, or an empty string."""
    received_at: float
    """`time.monotonic()` (the clock of `loop.time()`) when its first byte came, in seconds. Of a pipelined request:
    when its turn came."""
    request_id: str
    """Already in the `x-request-id` header of whatever is answered."""
    on_pause: Callback | None
    """Called when unsent bytes pass `write_buffer_bytes_max`: pause the engine."""
    on_resume: Callback | None
    """Called when the client has caught up: resume the engine."""

    def __init__(
        self, connection: Connection, head: RequestHead, body: bytes, client: str, received_at: float, request_id: str
    ) -> None:
        self._connection = connection
        self._framed = not head.http10
        self._on_disconnect: Callback | None = None
        self._state = _ASKED
        self._waiters: list[asyncio.Future[None]] | None = None
        self.method = head.method
        self.path = head.path
        self.query = head.query
        self.headers = head.headers
        self.body = body
        self.client = client
        self.received_at = received_at
        self.request_id = request_id
        self.on_pause = None
        self.on_resume = None

    @property
    def on_disconnect(self) -> Callback | None:
        """Called once, at once, when the client goes before the answer is finished; set too late, called soon."""
        return self._on_disconnect

    @on_disconnect.setter
    def on_disconnect(self, callback: Callback | None) -> None:
        if self._state is _DISCONNECTED and callback is not None:
            asyncio.get_running_loop().call_soon(callback)
        elif self._state is not _ENDED:
            self._on_disconnect = callback

    @property
    def started(self) -> bool:
        """Whether the head of an answer was given to the client: from then on there can be no other."""
        return self._state is not _ASKED

    @property
    def disconnected(self) -> bool:
        """Whether the client went before the answer was finished."""
        return self._state is _DISCONNECTED

    @property
    def closed(self) -> bool:
        """Whether nothing more can be sent: finished, aborted or disconnected."""
        return self._state is _ENDED or self._state is _DISCONNECTED

    @property
    def certificate_uris(self) -> tuple[str, ...]:
        """URIs of the client's certificate, which was verified; empty when it showed none."""
        return self._connection.certificate_uris

    @property
    def inside(self) -> bool:
        """Whether it came over our own Unix socket, which nobody but this user can open."""
        return self._connection.inside

    @property
    def writable(self) -> bool:
        """Whether unsent bytes are below `write_buffer_bytes_max`. False asks to wait; it forbids nothing."""
        return not self._connection.paused

    def respond(self, status: int, headers: ResponseHeaders, body: bytes) -> None:
        """Answer whole. The body of an answer to HEAD is measured, not sent."""
        if self._state is not _ASKED:
            self._refuse("respond")
            return
        connection = self._connection
        block = header_block(headers)
        if status in BODILESS:
            if body:
                raise ValueError(f"an answer with status {status} has no body")
            head = connection.response_head(self.request_id, status, block, "")
        else:
            head = connection.response_head(self.request_id, status, block, f"content-length: {len(body)}\r\n")
        if self.method == "HEAD":
            connection.write(head)
        elif len(body) < LARGE_BYTES:
            connection.write(head + body)
        else:
            connection.write_parts(head, body)
        self._end()

    def start(self, status: int, headers: ResponseHeaders) -> None:
        """Begin a streamed answer: chunked, or ended by closing for an HTTP/1.0 client."""
        if self._state is not _ASKED:
            self._refuse("start")
            return
        if status in BODILESS:
            raise ValueError(f"an answer with status {status} has no body to stream")
        framing = "transfer-encoding: chunked\r\n" if self._framed else ""
        self._connection.write(self._connection.response_head(self.request_id, status, header_block(headers), framing))
        self._state = _STREAMING

    def send(self, data: bytes) -> None:
        """Send one piece of a streamed answer, at once; an empty piece is nothing."""
        if self._state is not _STREAMING:
            self._refuse("send")
            return
        if data and self.method != "HEAD":
            if not self._framed:
                self._connection.write(data)
            elif len(data) < LARGE_BYTES:
                self._connection.write(b"%x\r\n%b\r\n" % (len(data), data))
            else:
                self._connection.write_parts(b"%x\r\n" % len(data), data, b"\r\n")

    def finish(self, last: bytes = b"") -> None:
        """End a streamed answer, with an optional last piece."""
        if self._state is not _STREAMING:
            self._refuse("finish")
            return
        self.send(last)
        if self._framed and self.method != "HEAD":
            self._connection.write(LAST_CHUNK)
        self._end()

    def abort(self) -> None:
        """Give up: what was sent still goes out, then the connection closes without the final chunk. Idempotent."""
        if not self.closed:
            self._state = _ENDED
            self._forget()
            self._connection.aborted()

    async def drained(self) -> None:
        """Wait until `writable`, or until nothing more can be sent."""
        while not (self.writable or self.closed):
            waiter = asyncio.get_running_loop().create_future()
            self._waiters = [*(self._waiters or ()), waiter]
            await waiter

    def paused(self) -> None:
        """Told by the connection: too much is unsent."""
        if self.on_pause is not None:
            self.on_pause()

    def resumed(self) -> None:
        """Told by the connection: the client has caught up."""
        self._wake()
        if self.on_resume is not None:
            self.on_resume()

    def left(self) -> None:
        """Told by the connection: the client has gone."""
        if not self.closed:
            self._state = _DISCONNECTED
            callback = self._on_disconnect
            self._forget()
            if callback is not None:
                callback()

    def _end(self) -> None:
        self._state = _ENDED
        self._forget()
        self._connection.answered()

    def _forget(self) -> None:
        self._on_disconnect = self.on_pause = self.on_resume = None  # they close over the request: no cycles left
        if self._waiters is not None:
            self._wake()

    def _wake(self) -> None:
        waiters, self._waiters = self._waiters, None
        for waiter in waiters or ():
            if not waiter.done():
                waiter.set_result(None)

    def _refuse(self, verb: str) -> None:
        if self._state is not _DISCONNECTED:
            raise RuntimeError(f"{verb} does not fit here: this exchange is {self._state.name.lower()}")
