"""One TLS connection of the head that is led to one engine: bytes both ways, as often as the engine closes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Final, cast

from fastness.fleet.door.frames import END, FrameReader, frame

WRITE_BUFFER_BYTES_MAX: Final = 131_072
"""Unsent bytes towards either side, before the other side is no longer read."""
CONNECT_TIMEOUT_S: Final = 5.0
"""Until the engine takes a connection: its backlog may be full for a moment."""
BUSY_WAIT_FIRST_S: Final = 0.001
BUSY_WAIT_MAX_S: Final = 0.032


class Relay(asyncio.Protocol):
    """The TLS side. `gone` is called once, when the connection has ended."""

    def __init__(self, socket: str, gone: Callable[[], None]) -> None:
        self._socket, self._gone = socket, gone
        self._frames = FrameReader()
        self._transport: asyncio.Transport
        self._engine: _EngineSide | None = None
        self._we_ended = False
        """We have sent the end of what goes on, and wait for theirs: what comes until then is for nobody."""
        self.paused = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the connection."""
        self._transport = cast("asyncio.Transport", transport)
        self._transport.set_write_buffer_limits(high=WRITE_BUFFER_BYTES_MAX)

    def data_received(self, data: bytes) -> None:
        """Pass on what the head says."""
        for piece in self._frames.feed(data):
            if not piece:
                self._they_ended()
            elif not self._we_ended:
                if self._engine is None:
                    self._engine = _EngineSide(self, self._socket)
                self._engine.write(piece)

    def _they_ended(self) -> None:
        if not self._we_ended:
            self._transport.write(END)
        self._we_ended = False
        engine, self._engine = self._engine, None
        if engine is not None:
            engine.abort()
            self._transport.resume_reading()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - the event loop's signature
        """The head is gone: so is what the engine does for it."""
        if self._engine is not None:
            self._engine.abort()
            self._engine = None
        self._gone()

    def pause_writing(self) -> None:
        """The head takes no more for now."""
        self.paused = True
        if self._engine is not None:
            self._engine.pause(True)

    def resume_writing(self) -> None:
        """It does again."""
        self.paused = False
        if self._engine is not None:
            self._engine.pause(False)

    # ---- what the engine's side tells us

    def say(self, data: bytes) -> None:
        """Pass on what the engine says."""
        self._transport.write(frame(data))

    def engine_gone(self, engine: _EngineSide) -> None:
        """The engine closed, or took no connection."""
        if self._engine is engine:
            self._engine, self._we_ended = None, True
            self._transport.write(END)
            self._transport.resume_reading()

    def hold(self, held: bool) -> None:
        """Read no more of the head, or again: the engine does not take it."""
        if not self._transport.is_closing():
            if held:
                self._transport.pause_reading()
            else:
                self._transport.resume_reading()

    def abort(self) -> None:
        """End it at once."""
        self._transport.abort()


class _EngineSide(asyncio.Protocol):
    """One connection to the engine, on its way, open, or over."""

    def __init__(self, relay: Relay, socket: str) -> None:
        self._relay, self._pending = relay, bytearray()
        self._transport: asyncio.Transport | None = None
        self._over = False
        relay.hold(True)
        self._connecting = asyncio.get_running_loop().create_task(self._connect(socket))

    def write(self, piece: bytes) -> None:
        """Pass bytes on to the engine, at once or when it has taken the connection."""
        if self._transport is None:
            self._pending += piece  # no more than one read: the head is held
        else:
            self._transport.write(piece)

    def pause(self, paused: bool) -> None:
        """Stop reading from the engine, or read on."""
        if self._transport is not None and not self._transport.is_closing():
            if paused:
                self._transport.pause_reading()
            else:
                self._transport.resume_reading()

    def abort(self) -> None:
        """Close at once, which stops the engine's work."""
        self._over = True
        self._connecting.cancel()
        if self._transport is not None:
            self._transport.abort()

    async def _connect(self, socket: str) -> None:
        loop, wait_s = asyncio.get_running_loop(), BUSY_WAIT_FIRST_S
        with suppress(OSError, TimeoutError):
            async with asyncio.timeout(CONNECT_TIMEOUT_S):
                while self._transport is None:
                    try:
                        await loop.create_unix_connection(lambda: self, socket)
                    except BlockingIOError:
                        await asyncio.sleep(wait_s)
                        wait_s = min(2 * wait_s, BUSY_WAIT_MAX_S)
            return
        if not self._over:
            self._over = True
            self._relay.engine_gone(self)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The engine took the connection."""
        self._transport = cast("asyncio.Transport", transport)
        if self._over:
            self._transport.abort()
            return
        self._transport.set_write_buffer_limits(high=WRITE_BUFFER_BYTES_MAX)
        self._transport.write(bytes(self._pending))
        self._pending.clear()
        self._relay.hold(False)
        if self._relay.paused:
            self.pause(True)

    def data_received(self, data: bytes) -> None:
        """Pass on what it says."""
        if not self._over:
            self._relay.say(data)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - the event loop's signature
        """It closed."""
        if not self._over:
            self._over = True
            self._relay.engine_gone(self)

    def pause_writing(self) -> None:
        """The engine takes no more for now."""
        if not self._over:
            self._relay.hold(True)

    def resume_writing(self) -> None:
        """It does again."""
        if not self._over:
            self._relay.hold(False)
