"""The door itself: who may come in, and where that leads."""

from __future__ import annotations

import asyncio
import socket
import ssl
import time
from collections.abc import Callable
from typing import Final, cast
from weakref import WeakKeyDictionary

from fastness.fleet.door.entrance import Entrance
from fastness.fleet.door.gangs import Gangs
from fastness.fleet.door.guests import Guest, Judge, Refused, Tell
from fastness.fleet.door.keepalive import STREAM_BUFFER_BYTES, notice_dead_links
from fastness.fleet.door.orders import ENGINE_PROTOCOL, GANG_PROTOCOL, LETTER_PROTOCOL, MODEL_PROTOCOL, DoorOrders
from fastness.fleet.door.relay import Relay

CONNECTIONS_MAX: Final = 8_192
"""Open connections; further ones are closed at once."""


class Door:
    """Listens on one port. Lets nobody in until `obey` was called; raises nothing for what strangers do."""

    def __init__(
        self,
        context: ssl.SSLContext,
        judge: Judge,
        tell: Tell,
        give_models: Callable[[Callable[[], None]], asyncio.BaseProtocol] | None = None,
        clock: Callable[[], float] = time.monotonic,
        take_letters: Callable[[str, Callable[[], None]], asyncio.BaseProtocol] | None = None,
        gangs: Gangs | None = None,
    ) -> None:
        self._judge, self._tell, self._clock = judge, tell, clock
        self._give_models, self._take_letters = give_models, take_letters
        self._gangs = gangs
        self._routes: dict[str, str] = {}
        self._until_s: float | None = 0.0
        self._asked: WeakKeyDictionary[ssl.SSLObject, str] = WeakKeyDictionary()
        self._inside: dict[_Doorway, None] = {}
        self._empty = asyncio.Event()
        self._entrance = Entrance(context, lambda: _Doorway(self))
        context.set_alpn_protocols([ENGINE_PROTOCOL, MODEL_PROTOCOL, LETTER_PROTOCOL, GANG_PROTOCOL])
        context.sni_callback = self._note_name

    @property
    def connections(self) -> int:
        """How many are inside, or in the doorway."""
        return len(self._inside)

    @property
    def ports(self) -> tuple[int, ...]:
        """Where it listens."""
        return self._entrance.ports

    def listen(self, addresses: list[str], port: int) -> None:
        """Listen on each of these IP addresses; raises OSError."""
        for address in addresses:
            self._entrance.listen(address, port)

    def obey(self, orders: DoorOrders) -> None:
        """Lead to these engines from now on. Who is at one that is gone, or is another one now, is put out."""
        self._routes = {one.name: one.socket for one in orders.routes}
        self._until_s = orders.until_s
        if self._gangs is not None:
            self._gangs.obey(() if self._lapsed() else orders.gangs)
        for one in tuple(self._inside):
            if one.server is not None and self._routes.get(one.server) != one.socket:
                one.put_out()

    def look(self) -> None:
        """Put everybody out who is at an engine, once what was ordered has ended. To be called every now and then."""
        if self._lapsed():
            if self._gangs is not None:
                self._gangs.obey(())
            for one in tuple(self._inside):
                if one.server is not None:
                    one.put_out()

    def judge_again(self) -> None:
        """Put out whose certificate counts no more: it ended, or was revoked. To be called every now and then."""
        for one in tuple(self._inside):
            try:
                self._judge(one.certificate)
            except Refused as error:
                self._tell("", f"{error} It was inside, and is put out.")
                one.put_out()
        if self._gangs is not None:
            self._gangs.judge_again(self._judge)

    async def close(self) -> None:
        """Listen no more, and put everybody out."""
        if self._gangs is not None:
            self._gangs.close()
        await self._entrance.close()
        for one in tuple(self._inside):
            one.put_out()
        if self._inside:
            self._empty.clear()
            await self._empty.wait()

    # ---- what a doorway asks

    def enter(self, doorway: _Doorway) -> bool:
        """Count somebody in; tell whether there is room."""
        if len(self._inside) >= CONNECTIONS_MAX:
            self._tell("", f"{CONNECTIONS_MAX} connections are open")
            return False
        self._inside[doorway] = None
        return True

    def leave(self, doorway: _Doorway) -> None:
        """Count somebody out."""
        self._inside.pop(doorway, None)
        if not self._inside:
            self._empty.set()

    def way_of(self, doorway: _Doorway, tls: ssl.SSLObject) -> asyncio.BaseProtocol | None:
        """Return where somebody whose handshake is complete is led; None: nowhere, and it was told."""
        der = tls.getpeercert(binary_form=True)
        name = ""
        try:
            guest = self._judge(der or b"")
            name, doorway.certificate = guest.name, der or b""
            return self._way(doorway, guest, tls)
        except Refused as error:
            self._tell(name, str(error))
            return None

    def _wire(self, doorway: _Doorway, guest: Guest, server: str) -> asyncio.BaseProtocol | None:
        """Lead a host to the gang that it is a member of; who comes before ours is there comes again."""
        wire = self._gangs.wire_for(server, guest.name) if self._gangs is not None and not self._lapsed() else None
        if wire is not None:
            wire.gone = doorway.gone
        return wire

    def _way(self, doorway: _Doorway, guest: Guest, tls: ssl.SSLObject) -> asyncio.BaseProtocol | None:
        protocol, server = tls.selected_alpn_protocol(), self._asked.get(tls, "")
        if protocol == MODEL_PROTOCOL and self._give_models is not None:
            return self._give_models(doorway.gone)
        if protocol == GANG_PROTOCOL and self._gangs is not None:
            return self._wire(doorway, guest, server)
        if protocol == LETTER_PROTOCOL:
            if self._take_letters is None:
                raise Refused("letters are for the head, and this is another host")
            return self._take_letters(guest.name, doorway.gone)
        if protocol != ENGINE_PROTOCOL:
            raise Refused(f"it speaks no protocol of ours: {str(protocol)[:40]}")
        if not guest.gives_orders:
            raise Refused("engines are for the head, and it is another host")
        if self._lapsed():
            raise Refused("the lease of this host lapsed")
        engine = self._routes.get(server)
        if engine is None:
            raise Refused(f"no engine here is {server[:100]!r}")
        doorway.server, doorway.socket = server, engine
        return Relay(engine, doorway.gone)

    def _lapsed(self) -> bool:
        return self._until_s is not None and self._clock() >= self._until_s

    def _note_name(self, tls: ssl.SSLObject | ssl.SSLSocket, name: str | None, _context: ssl.SSLContext) -> None:
        if name is not None and isinstance(tls, ssl.SSLObject):
            self._asked[tls] = name


class _Doorway(asyncio.Protocol):
    """Somebody who came: judged as soon as the handshake is complete, then led on."""

    def __init__(self, door: Door) -> None:
        self._door = door
        self._transport: asyncio.Transport | None = None
        self.certificate = b""
        self.server: str | None = None
        self.socket = ""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Judge."""
        self._transport = found = cast("asyncio.Transport", transport)
        if not self._door.enter(self):
            found.abort()
            return
        made = found.get_extra_info("socket")
        notice_dead_links(made)
        way = self._door.way_of(self, found.get_extra_info("ssl_object"))
        if way is None:
            found.abort()
            return
        if self.server is not None:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, STREAM_BUFFER_BYTES)
        found.set_protocol(way)
        way.connection_made(found)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - the event loop's signature
        """It left before it was led anywhere."""
        self.gone()

    def gone(self) -> None:
        """It left."""
        self._door.leave(self)

    def put_out(self) -> None:
        """End it at once."""
        if self._transport is not None:
            self._transport.abort()
