"""Connections for gateways, which make none themselves: to the doors that the supervisor named, and to no other place.

A request is `ADDRESS:PORT` on a Unix socket; the answer is `granted` with the connection beside it, or why not. What
is said over the connection is not seen here.
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
from fastness.fleet.door.listening import listening_here

UNDER_WAY_MAX: Final = 1_024
"""Requests at the same time."""
BACKLOG: Final = 256
TIMEOUT_S: Final = 2.0
"""Until a door has taken the connection."""
REQUEST_BYTES_MAX: Final = 128
ANSWER_BYTES_MAX: Final = 1_024
GRANTED: Final = b"granted"


class Connector:
    """Listens at `path`; connects to `places` (as `address:port`) and nowhere else. Used on one event loop."""

    def __init__(self, path: Path) -> None:
        self._loop = asyncio.get_running_loop()
        self._path = path
        self.places: frozenset[str] = frozenset()
        self._under_way: set[asyncio.Task[None]] = set()
        self._listener = listening_here(path, BACKLOG)
        self._loop.add_reader(self._listener.fileno(), self._accept)

    async def close(self) -> None:
        """Listen no more; what was handed over stays."""
        self._loop.remove_reader(self._listener.fileno())
        self._listener.close()
        self._path.unlink(missing_ok=True)
        for task in self._under_way:
            task.cancel()
        await asyncio.gather(*self._under_way, return_exceptions=True)

    def _accept(self) -> None:
        with suppress(BlockingIOError, ConnectionError):
            asking, _ = self._listener.accept()
            asking.setblocking(False)
            _, uid, _ = struct.unpack("3i", asking.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
            if uid != os.getuid() or len(self._under_way) >= UNDER_WAY_MAX:
                with asking, suppress(OSError):
                    asking.send(f"{UNDER_WAY_MAX} connections are being made already".encode())
                return
            task = self._loop.create_task(self._attend(asking))
            self._under_way.add(task)
            task.add_done_callback(self._under_way.discard)

    async def _attend(self, asking: socket.socket) -> None:
        with asking, suppress(OSError, TimeoutError):  # it left, or says nothing: then it gets nothing
            async with asyncio.timeout(2 * TIMEOUT_S):
                place = (await self._loop.sock_recv(asking, REQUEST_BYTES_MAX)).decode("ascii", "replace").rstrip("\n")
                if place not in self.places:
                    asking.send(f"{place[:64]!r} is not the door of a host of this cluster".encode())
                    return
                try:
                    made = await connect(place, TIMEOUT_S)
                except OSError as error:
                    asking.send(f"no connection to {place}: {error.strerror or error}".encode())
                    return
                with made:
                    socket.send_fds(asking, [GRANTED], [made.fileno()])


async def ask_for(path: Path, place: str) -> socket.socket:
    """Return a connection to a door at `address:port`, made by the door of this host, which listens at `path`.

    Raises OSError, which says why there is none.
    """
    loop = asyncio.get_running_loop()
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK) as asking:
        try:
            asking.connect(str(path))
        except BlockingIOError:
            raise OSError("the door of this host has too much to do") from None
        except OSError as error:
            raise OSError(f"the door of this host does not run: {error.strerror}") from None
        readable = asyncio.Event()
        try:
            asking.send(f"{place}\n".encode())
            loop.add_reader(asking.fileno(), readable.set)
            await readable.wait()
            answer, descriptors, _, _ = socket.recv_fds(asking, ANSWER_BYTES_MAX, 1, socket.MSG_CMSG_CLOEXEC)
        except ConnectionError:
            answer, descriptors = b"", []
        finally:
            loop.remove_reader(asking.fileno())
    if not descriptors:
        raise OSError(answer.decode("utf-8", "replace") or "the door of this host went away")
    made = socket.socket(fileno=descriptors[0])
    made.setblocking(False)
    return made


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
