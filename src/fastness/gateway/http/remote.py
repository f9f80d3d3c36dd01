"""Engines on other hosts: TLS connections to their doors, kept and reused."""

from __future__ import annotations

import asyncio
import re
import socket
import ssl
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Final

from fastness.fleet.door.keepalive import STREAM_BUFFER_BYTES
from fastness.gateway.http.passage import Carrier

if TYPE_CHECKING:
    from fastness.gateway.http.engine_connection import EngineConnection

SCHEME: Final = "tls://"
CONNECT_TIMEOUT_S: Final = 2.0
"""For a connection and its handshake: a host that does not answer for so long is taken for gone."""
IDLE_TIMEOUT_S: Final = 30.0
IDLE_MAX: Final = 64
"""Idle TLS connections kept to one engine."""
_REMOTE: Final = re.compile(r"tls://(\[[0-9a-f:]+\]:\d+|[\d.]+:\d+)/([a-z0-9.-]{1,253})")

Connect = Callable[[str], Awaitable[socket.socket]]
"""Returns a connection to an `address:port`; raises OSError."""
Check = Callable[[bytes], None]
"""Takes the certificate (DER) of whom we reached; raises OSError when it does not count."""


class RemoteEngines:
    """TLS connections by `tls://ADDRESS:PORT/SERVER-NAME`. `context` checks that whoever answers has that name.

    `connect` makes the TCP connections: this process may have no right to. Made and used on the running
    event loop.
    """

    def __init__(self, context: ssl.SSLContext, protocol: str, connect: Connect, check: Check) -> None:
        context.set_alpn_protocols([protocol])
        self._context, self._connect, self._check = context, connect, check
        self._loop = asyncio.get_running_loop()
        self._idle: dict[str, list[Carrier]] = {}
        self._open: dict[Carrier, None] = {}
        self._empty = asyncio.Event()
        self._down = False

    async def open(self, make: Callable[[], EngineConnection], where: str) -> EngineConnection:
        """Return a connection to the engine at `where`; raises OSError."""
        idle = self._idle.get(where)
        carrier = idle.pop() if idle else None
        if carrier is None or not carrier.usable:
            carrier = await self._reach(where)
        connection = make()
        carrier.carry(connection)
        return connection

    async def _reach(self, where: str) -> Carrier:
        read = _REMOTE.fullmatch(where)
        if read is None:
            raise OSError(f"{where[:200]!r} is not tls://ADDRESS:PORT/SERVER-NAME")
        place, name = read.groups()
        carrier = Carrier(self, where)
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT_S):
                made = await self._connect(place)
                try:
                    made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, STREAM_BUFFER_BYTES)
                    await self._loop.create_connection(
                        lambda: carrier, sock=made, ssl=self._context, server_hostname=name
                    )
                except BaseException:
                    made.close()
                    raise
        except TimeoutError:
            raise OSError(f"the door at {place} did not answer within {CONNECT_TIMEOUT_S:g} s") from None
        except ssl.SSLError as error:
            raise OSError(f"the door at {place} is not that of {name}: {error.reason or error}") from None
        try:
            self._check(carrier.certificate)
        except OSError:
            carrier.drop()
            raise
        return carrier

    def forget(self, where: str) -> None:
        """Drop idle connections to `where`: its engine is another one now, or is gone."""
        for carrier in self._idle.pop(where, ()):
            carrier.drop()

    def sweep(self) -> None:
        """Drop what idled for long. To be called every second or so."""
        now = self._loop.time()
        for idle in self._idle.values():
            for carrier in [one for one in idle if now - one.idle_since_s >= IDLE_TIMEOUT_S]:
                idle.remove(carrier)
                carrier.drop()

    @property
    def busy(self) -> bool:
        """Whether there is anything to sweep."""
        return any(self._idle.values())

    async def close(self) -> None:
        """Close every connection; what they carry ends."""
        self._down = True
        for carrier in tuple(self._open):
            carrier.drop()
        while self._open:
            self._empty.clear()
            await self._empty.wait()

    # ---- what carriers tell us

    def opened(self, carrier: Carrier) -> None:
        """Count a connection in."""
        self._open[carrier] = None

    def closed(self, carrier: Carrier) -> None:
        """Count a connection out."""
        self._open.pop(carrier, None)
        if carrier in (idle := self._idle.get(carrier.where, [])):
            idle.remove(carrier)
        if not self._open:
            self._empty.set()

    def give_back(self, carrier: Carrier) -> None:
        """Keep a connection for the next passage."""
        idle = self._idle.setdefault(carrier.where, [])
        if self._down or len(idle) >= IDLE_MAX or not carrier.usable:
            carrier.drop()
            return
        carrier.idle_since_s = self._loop.time()
        idle.append(carrier)
