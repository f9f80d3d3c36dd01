"""One call to an engine, and who takes its answer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from fastness.gateway.http.errors import EngineLost

if TYPE_CHECKING:
    from fastness.gateway.http.engine_connection import EngineConnection


class Sink(Protocol):
    """Who takes a streamed answer. Called from the event loop: `on_head`, then `on_data`s, then one of the two ends.

    `on_error` may come at any point instead, and is then the last call. Nothing is called after `cancel`, and nothing
    from inside `stream` itself. An exception out of one of these ends the call: it is reported to the loop's
    exception handler and, before the end, comes back as `on_error(EngineBroken)`.
    """

    def on_head(self, status: int) -> None:
        """The head of the answer came; `status` is the HTTP status."""

    def on_data(self, data: bytes) -> None:
        """Some bytes of the body, chunk framing removed, never empty."""

    def on_end(self) -> None:
        """The answer is whole."""

    def on_error(self, error: EngineLost) -> None:
        """The answer will not become whole."""


class EngineStream:
    """One call in progress."""

    __slots__ = ("_connection", "body", "bytes_max", "done", "head", "paused", "reusable", "sink", "socket")

    def __init__(self, socket: str, head: bytes, body: bytes, sink: Sink, bytes_max: int, reusable: bool) -> None:
        self.socket = socket
        self.head = head
        self.body = body
        self.sink = sink
        self.bytes_max = bytes_max
        self.reusable = reusable
        self.done = False
        self._connection: EngineConnection | None = None
        self.paused = False

    def cancel(self) -> None:
        """Close the connection at once, which stops the engine's work; the sink hears nothing more. Idempotent."""
        if not self.done:
            self.done = True
            if self._connection is not None:
                self._connection.drop()
            self.detach()

    def pause(self) -> None:
        """Stop reading from the engine; a read that is under way may still arrive."""
        self.paused = True
        if self._connection is not None:
            self._connection.pause(True)

    def resume(self) -> None:
        """Read on."""
        self.paused = False
        if self._connection is not None:
            self._connection.pause(False)

    def attach(self, connection: EngineConnection) -> None:
        """Told by the pool: this connection carries the call."""
        self._connection = connection
        connection.begin(self)
        if self.paused:
            connection.pause(True)

    def detach(self) -> None:
        """Told by the connection: the call is over, or has to be made again."""
        self._connection = None

    def end(self) -> None:
        """Told by the connection: the answer is whole."""
        if not self.done:
            self.done = True
            self.sink.on_end()

    def fail(self, error: EngineLost) -> None:
        """Told by the connection or the pool: the answer will not become whole."""
        if not self.done:
            self.done = True
            self.sink.on_error(error)
