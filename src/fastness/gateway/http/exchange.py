"""One request and its one answer."""

from __future__ import annotations

from collections.abc import Callable

ResponseHeaders = bytes | tuple[tuple[bytes, bytes], ...]
"""Either a prebuilt block (every line ends in CRLF) or pairs. `content-length`, `transfer-encoding`, `connection`,
`date`, `server` and `x-request-id` are written by the server itself."""


class Exchange:
    """One request, whole, and the one answer it gets. Everything here is for the event loop's thread only.

    Either `respond` once, or `start`, any number of `send`, and `finish`; or `abort`. Anything else raises
    RuntimeError. Once the client has gone, all of them do nothing: a relay need not check before each write.
    """

    __slots__ = (
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
    headers: dict[str, str]
    """Lower-case names; a header sent more than once is absent (those that matter are refused when doubled)."""
    body: bytes
    client: str
    """The client's IP address, or an empty string."""
    received_at: float
    """`time.monotonic()` (the clock of `loop.time()`) when the first byte came, in seconds."""
    request_id: str
    """Already in the `x-request-id` header of whatever is answered."""
    on_pause: Callable[[], None] | None
    """Called when unsent bytes pass `write_buffer_bytes_max`: pause the engine."""
    on_resume: Callable[[], None] | None
    """Called when the client has caught up: resume the engine."""

    @property
    def on_disconnect(self) -> Callable[[], None] | None:
        """Called once, at once, when the client goes before the answer is finished; set late, it is called soon."""
        raise NotImplementedError

    @on_disconnect.setter
    def on_disconnect(self, callback: Callable[[], None] | None) -> None:
        raise NotImplementedError

    @property
    def started(self) -> bool:
        """Whether the head of an answer was given to the client: from then on there is no other answer."""
        raise NotImplementedError

    @property
    def disconnected(self) -> bool:
        """Whether the client went before the answer was finished."""
        raise NotImplementedError

    @property
    def closed(self) -> bool:
        """Whether nothing more can be sent: finished, aborted or disconnected."""
        raise NotImplementedError

    @property
    def writable(self) -> bool:
        """Whether unsent bytes are below `write_buffer_bytes_max`; False asks to wait, it does not forbid."""
        raise NotImplementedError

    def respond(self, status: int, headers: ResponseHeaders, body: bytes) -> None:
        """Answer whole. The body of an answer to HEAD is measured, not sent."""
        raise NotImplementedError

    def start(self, status: int, headers: ResponseHeaders) -> None:
        """Begin a streamed answer: chunked, or ended by closing for an HTTP/1.0 client."""
        raise NotImplementedError

    def send(self, data: bytes) -> None:
        """Send one piece of a streamed answer, at once; an empty piece is nothing."""
        raise NotImplementedError

    def finish(self, last: bytes = b"") -> None:
        """End a streamed answer, with an optional last piece in the same write."""
        raise NotImplementedError

    def abort(self) -> None:
        """Give up: what was sent still goes out, then the connection is closed without the final chunk."""
        raise NotImplementedError

    async def drained(self) -> None:
        """Wait until `writable`, or until nothing more can be sent."""
        raise NotImplementedError
