"""Connections to engines over their Unix sockets."""

from __future__ import annotations

from typing import NamedTuple, Protocol

from fastness.gateway.http.errors import EngineLost


class Answer(NamedTuple):
    """A whole answer of an engine."""

    status: int
    body: bytes


class Sink(Protocol):
    """Who takes a streamed answer. Called from the event loop: `on_head`, then `on_data`s, then one of the two ends.

    `on_error` may come at any point instead, and is then the last call. Nothing is called after `cancel`, and nothing
    from inside `stream` itself. An exception out of any of these cancels the call, is reported to the loop's
    exception handler, and comes back as `on_error(EngineBroken)`.
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
    """One streamed call in progress."""

    __slots__ = ()

    def cancel(self) -> None:
        """Close the connection at once, which stops the engine's work; the sink hears nothing more. Idempotent."""
        raise NotImplementedError

    def pause(self) -> None:
        """Stop reading from the engine (at most one read that is under way still arrives)."""
        raise NotImplementedError

    def resume(self) -> None:
        """Read on."""
        raise NotImplementedError


class EngineConnections:
    """Keep-alive connections to engines, pooled by socket path, on the running event loop.

    A pooled connection that turns out closed before the first byte of the answer is replaced once by a fresh one.
    After a streamed answer a connection is not used again. Time limits other than `connect_timeout_s` are the
    caller's, through `cancel`.
    """

    def __init__(
        self,
        *,
        connect_timeout_s: float = 5.0,
        idle_timeout_s: float = 15.0,
        idle_max: int = 64,
        head_bytes_max: int = 65_536,
    ) -> None:
        raise NotImplementedError

    async def call(self, socket: str, path: str, body: bytes, *, answer_bytes_max: int) -> Answer:
        """POST JSON and wait for the whole answer; raises EngineUnreachable or EngineBroken.

        Cancelling the waiting task closes the connection at once.
        """
        raise NotImplementedError

    def stream(
        self, socket: str, path: str, body: bytes, sink: Sink, *, stream_bytes_max: int = 268_435_456
    ) -> EngineStream:
        """POST JSON and give the answer to `sink` as it comes. Returns at once and never raises."""
        raise NotImplementedError

    def forget(self, socket: str) -> None:
        """Drop pooled connections to `socket` (its engine was replaced); calls in progress go on, unpooled after."""
        raise NotImplementedError

    def close(self) -> None:
        """Drop pooled connections and cancel calls in progress; their sinks hear EngineBroken."""
        raise NotImplementedError
