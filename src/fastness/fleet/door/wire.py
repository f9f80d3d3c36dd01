"""One connection between two members of a gang: packets as they are, one behind the other, inside mutual TLS.

A packet says itself how long it is. Whoever took the connection says so with one byte first: who made it has been let
in only then.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final, Protocol, cast

from fastness.core.gang import MTU_BYTES

TAKEN: Final = b"+"
HEADER_BYTES: Final = 20
"""The least that an IPv4 packet has."""
UNSENT_BYTES_MAX: Final = 4_194_304
"""What waits for one member, before nothing more is taken from ours for anybody."""


class WireUser(Protocol):
    """Whose wire it is: a member here, as its wires need it."""

    def wired(self, wire: Wire) -> None:
        """The other side takes part."""
        ...

    def take(self, rank: int, packet: bytes) -> None:
        """A packet came from the member of that rank."""
        ...

    def pace(self) -> None:
        """A wire has too much to send, or has room again: see `is_full`."""
        ...

    def cut(self, wire: Wire, why: str) -> None:
        """The connection ended, whether the other side ever took part or not."""
        ...


class Wire(asyncio.Protocol):
    """To the member of that `rank`. `takes`: the other side made the connection, and we take it."""

    def __init__(self, user: WireUser, rank: int, *, takes: bool) -> None:
        self._user, self.rank, self._takes = user, rank, takes
        self._transport: asyncio.Transport | None = None
        self._is_up, self._over = takes, False
        self._rest = bytearray()
        self.gone: Callable[[], None] = lambda: None
        """Called once, when the connection has ended."""
        self.is_full = False
        """Whether nothing more should be sent for now."""

    @property
    def certificate(self) -> bytes:
        """That of the other host (DER); empty once it is gone."""
        tls = self._transport.get_extra_info("ssl_object") if self._transport else None
        return (tls.getpeercert(binary_form=True) or b"") if tls else b""

    def send(self, packets: list[bytes]) -> None:
        """Send these."""
        if self._transport is not None and not self._over:
            self._transport.write(b"".join(packets))

    def end(self) -> None:
        """End it, without a word to its user."""
        self._over = True
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Say that we take it, if that is for us to say."""
        self._transport = found = cast("asyncio.Transport", transport)
        if self._over:
            found.abort()
            return
        found.set_write_buffer_limits(high=UNSENT_BYTES_MAX)
        if self._takes:
            found.write(TAKEN)
            self._user.wired(self)

    def data_received(self, data: bytes) -> None:
        """Give the packets that are whole to whoever they are for."""
        if self._over:
            return
        self._rest += data
        if not self._is_up:
            if self._rest[:1] != TAKEN:
                self._give_up("it answered something else than that it takes part")
                return
            del self._rest[:1]
            self._is_up = True
            self._user.wired(self)
        while len(self._rest) >= HEADER_BYTES:
            size = int.from_bytes(self._rest[2:4], "big")
            if self._rest[0] >> 4 != 4 or not HEADER_BYTES <= size <= MTU_BYTES:
                self._give_up("what it sent is no packet")
                return
            if len(self._rest) < size:
                return
            packet = bytes(self._rest[:size])
            del self._rest[:size]
            self._user.take(self.rank, packet)

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell its user, once."""
        self.gone()
        if not self._over:
            self._over = True
            self._user.cut(self, str(exc) if exc else "it closed the connection")

    def pause_writing(self) -> None:
        """The other side takes no more for now."""
        self.is_full = True
        self._user.pace()

    def resume_writing(self) -> None:
        """It does again."""
        self.is_full = False
        self._user.pace()

    def _give_up(self, why: str) -> None:
        self.end()
        self._user.cut(self, why)
