"""Connections to engines on other hosts: one TLS connection to a door carries one after the other.

What an engine's connection is to its own Unix socket, a passage is to a door: it begins with the first bytes, and ends
when both sides have said so; the TLS connection stays for the next. See fastness.fleet.door.frames.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Final, cast

from fastness.fleet.door.frames import END, FrameReader, frame

if TYPE_CHECKING:
    from fastness.gateway.http.engine_connection import EngineConnection
    from fastness.gateway.http.remote import RemoteEngines

UNCONFIRMED_MAX: Final = 8
"""Ends that a door has not confirmed. A door that confirms none is not asked again on the same connection."""


class Carrier(asyncio.Protocol):
    """Our side of one TLS connection to a door. It is idle, or carries one passage.

    A passage that we left may still be under way on theirs: what comes until they confirm its end is for nobody.
    """

    def __init__(self, pool: RemoteEngines, where: str) -> None:
        self._pool, self.where = pool, where
        self._frames = FrameReader()
        self._passage: Passage | None = None
        self._unconfirmed = 0
        self._transport: asyncio.Transport
        self.idle_since_s = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the connection."""
        self._transport = cast("asyncio.Transport", transport)
        self._pool.opened(self)

    @property
    def certificate(self) -> bytes:
        """What the other side proved to be, in DER; empty when it proved nothing."""
        return self._transport.get_extra_info("ssl_object").getpeercert(binary_form=True) or b""

    @property
    def usable(self) -> bool:
        """Whether nothing is known against another passage."""
        return not self._transport.is_closing() and self._passage is None and self._unconfirmed <= UNCONFIRMED_MAX

    def carry(self, connection: EngineConnection) -> None:
        """Begin a passage."""
        self._passage = Passage(self, connection)
        connection.connection_made(self._passage)

    def data_received(self, data: bytes) -> None:
        """Pass on what the door says."""
        for piece in self._frames.feed(data):
            passage = self._passage
            if self._unconfirmed:
                self._unconfirmed -= not piece
            elif passage is None:
                self._transport.abort()  # nobody asked
            elif piece:
                passage.connection.data_received(piece)
            else:
                self._transport.write(END)
                self._end(passage)

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone, and a passage with it."""
        self._pool.closed(self)
        passage, self._passage = self._passage, None
        if passage is not None:
            passage.over = True
            passage.connection.connection_lost(exc)

    def drop(self) -> None:
        """Close at once."""
        self._transport.abort()

    # ---- what a passage tells us

    def write(self, content: bytes) -> None:
        """Send some bytes of the passage."""
        self._transport.write(frame(content))

    def leave(self, passage: Passage) -> None:
        """End a passage from our side; what still comes of it is for nobody."""
        if self._passage is passage:
            self._passage = None
            self._unconfirmed += 1
            if not self._transport.is_closing():
                self._transport.write(END)
                self._transport.resume_reading()
                self._pool.give_back(self)

    def read(self, wanted: bool) -> None:
        """Read on, or no more for now."""
        if not self._transport.is_closing():
            if wanted:
                self._transport.resume_reading()
            else:
                self._transport.pause_reading()

    @property
    def unsent_bytes(self) -> int:
        """What was not sent yet."""
        return self._transport.get_write_buffer_size()

    @property
    def is_closing(self) -> bool:
        """Whether the connection ends, or has ended."""
        return self._transport.is_closing()

    def _end(self, passage: Passage) -> None:
        self._passage = None
        passage.over = True
        connection = passage.connection
        connection.eof_received()
        connection.connection_lost(None)
        self._pool.give_back(self)


class Passage(asyncio.Transport):
    """What stands for an engine's connection: the part of a transport that EngineConnection uses."""

    def __init__(self, carrier: Carrier, connection: EngineConnection) -> None:
        super().__init__()
        self._carrier, self.connection = carrier, connection
        self.over = False

    def write(self, data: bytes | bytearray | memoryview[Any]) -> None:
        """Send."""
        if not self.over:
            self._carrier.write(bytes(data))

    def writelines(self, list_of_data: Iterable[bytes | bytearray | memoryview[Any]]) -> None:
        """Send several pieces."""
        self.write(b"".join(list_of_data))

    def abort(self) -> None:
        """End it at once, which stops the engine's work."""
        if not self.over:
            self.over = True
            self._carrier.leave(self)
            asyncio.get_running_loop().call_soon(self.connection.connection_lost, None)

    def is_closing(self) -> bool:
        """Tell whether it is over."""
        return self.over or self._carrier.is_closing

    def pause_reading(self) -> None:
        """Read no more for now."""
        if not self.over:
            self._carrier.read(False)

    def resume_reading(self) -> None:
        """Read on."""
        if not self.over:
            self._carrier.read(True)

    def get_write_buffer_size(self) -> int:
        """Return what was not sent yet."""
        return self._carrier.unsent_bytes
