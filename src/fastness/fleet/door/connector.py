"""Connections for gateways, which make none themselves: to the doors that the supervisor named, and to no other place.

A gateway keeps one Unix socket (SOCK_SEQPACKET) to its host's door. A request is `NUMBER ADDRESS:PORT`; the answer is
`NUMBER` with the connection beside it, or `NUMBER WHY`. What is said over the connection is not seen here.
"""

from __future__ import annotations

import asyncio
import ipaddress
import os
import socket
import struct
from contextlib import suppress
from pathlib import Path
from typing import Final

from fastness.fleet.door.keepalive import notice_dead_links

CHANNELS_MAX: Final = 64
"""Gateways of one host."""
UNDER_WAY_MAX: Final = 1_024
"""Connections that are being made at the same time."""
TIMEOUT_S: Final = 2.0
REQUEST_BYTES_MAX: Final = 128


class Connector:
    """Listens at `path`; connects to `places` (as `address:port`) and nowhere else. Used on one event loop."""

    def __init__(self, path: Path) -> None:
        self._loop = asyncio.get_running_loop()
        self._path = path
        self.places: frozenset[str] = frozenset()
        self._channels: set[socket.socket] = set()
        self._under_way: set[asyncio.Task[None]] = set()
        path.unlink(missing_ok=True)
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_NONBLOCK)
        self._listener.bind(str(path))
        path.chmod(0o600)
        self._listener.listen(CHANNELS_MAX)
        self._loop.add_reader(self._listener.fileno(), self._accept)

    async def close(self) -> None:
        """Listen no more; what was handed over stays."""
        self._loop.remove_reader(self._listener.fileno())
        self._listener.close()
        self._path.unlink(missing_ok=True)
        for channel in tuple(self._channels):
            self._drop(channel)
        for task in self._under_way:
            task.cancel()
        await asyncio.gather(*self._under_way, return_exceptions=True)

    def _accept(self) -> None:
        with suppress(BlockingIOError, ConnectionError):
            channel, _ = self._listener.accept()
            _, uid, _ = struct.unpack("3i", channel.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
            if uid != os.getuid() or len(self._channels) >= CHANNELS_MAX:
                channel.close()
                return
            channel.setblocking(False)
            self._channels.add(channel)
            self._loop.add_reader(channel.fileno(), self._read, channel)

    def _drop(self, channel: socket.socket) -> None:
        if channel in self._channels:
            self._channels.discard(channel)
            self._loop.remove_reader(channel.fileno())
            channel.close()

    def _read(self, channel: socket.socket) -> None:
        try:
            request = channel.recv(REQUEST_BYTES_MAX)
        except BlockingIOError:
            return
        except OSError:
            request = b""
        if not request:
            self._drop(channel)
            return
        number, _, place = request.decode("ascii", "replace").partition(" ")
        if len(self._under_way) >= UNDER_WAY_MAX:
            self._answer(channel, f"{number} {UNDER_WAY_MAX} connections are being made already", None)
            return
        task = self._loop.create_task(self._attend(channel, number, place))
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)

    async def _attend(self, channel: socket.socket, number: str, place: str) -> None:
        if place not in self.places:
            self._answer(channel, f"{number} {place[:64]} is not the door of a host of this cluster", None)
            return
        try:
            made = await connect(place, TIMEOUT_S)
        except OSError as error:
            self._answer(channel, f"{number} no connection to {place}: {error.strerror or error}", None)
            return
        with made:
            self._answer(channel, number, made)

    def _answer(self, channel: socket.socket, text: str, made: socket.socket | None) -> None:
        with suppress(OSError):  # it left, or does not read: then it does not get it
            if made is None:
                channel.send(text.encode())
            else:
                socket.send_fds(channel, [text.encode()], [made.fileno()])


async def connect(place: str, timeout_s: float) -> socket.socket:
    """Return a connection to `address:port`, on which a cut cable is noticed; raises OSError."""
    address, _, port = place.rpartition(":")
    found = ipaddress.ip_address(address.strip("[]"))
    made = socket.socket(socket.AF_INET6 if found.version == 6 else socket.AF_INET, socket.SOCK_STREAM)
    try:
        made.setblocking(False)
        notice_dead_links(made)
        async with asyncio.timeout(timeout_s):
            await asyncio.get_running_loop().sock_connect(made, (str(found), int(port)))
    except TimeoutError:
        made.close()
        raise OSError(f"nobody answered within {timeout_s:g} s") from None
    except BaseException:
        made.close()
        raise
    return made


class ConnectorClient:
    """A gateway's side. Opens its socket when it is first needed, and again when the door was started anew."""

    def __init__(self, path: Path) -> None:
        self._loop = asyncio.get_running_loop()
        self._path = path
        self._channel: socket.socket | None = None
        self._asked: dict[str, asyncio.Future[socket.socket]] = {}
        self._number = 0

    async def connect(self, place: str) -> socket.socket:
        """Return a connection to a door at `address:port`; raises OSError, which says why there is none."""
        self._number += 1
        number = str(self._number)
        future: asyncio.Future[socket.socket] = self._loop.create_future()
        self._asked[number] = future
        try:
            self._open().send(f"{number} {place}".encode())
            made = await future
        except BlockingIOError:
            raise OSError("the door of this host is too busy to connect") from None
        except asyncio.CancelledError:
            if future.done() and not future.cancelled() and future.exception() is None:
                future.result().close()
            raise
        else:
            return made
        finally:
            del self._asked[number]

    def close(self) -> None:
        """Give the socket up; who waits is told."""
        channel, self._channel = self._channel, None
        if channel is not None:
            self._loop.remove_reader(channel.fileno())
            channel.close()
        for future in self._asked.values():
            if not future.done():
                future.set_exception(OSError("the door of this host went away"))

    def _open(self) -> socket.socket:
        if self._channel is None:
            channel = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_NONBLOCK)
            try:
                channel.connect(str(self._path))
            except OSError as error:
                channel.close()
                raise OSError(f"the door of this host does not run: {error.strerror}") from None
            self._loop.add_reader(channel.fileno(), self._read, channel)
            self._channel = channel
        return self._channel

    def _read(self, channel: socket.socket) -> None:
        try:
            answer, descriptors, _, _ = socket.recv_fds(channel, 1_024, 1, socket.MSG_CMSG_CLOEXEC)
        except BlockingIOError:
            return
        except OSError:
            answer, descriptors = b"", []
        if not answer:
            self.close()
            return
        number, _, why = answer.decode("ascii", "replace").partition(" ")
        made = socket.socket(fileno=descriptors[0]) if descriptors else None
        future = self._asked.get(number)
        if future is None or future.done():
            if made is not None:  # whoever asked has left
                made.close()
        elif made is None:
            future.set_exception(OSError(why))
        else:
            made.setblocking(False)
            future.set_result(made)
