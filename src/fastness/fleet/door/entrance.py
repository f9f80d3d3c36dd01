"""Where strangers arrive: so many handshakes at the same time, and the oldest makes room for the newest.

Whoever opens connections and says nothing takes nobody's place for long: it is they who are put out first.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Callable
from typing import Final

from fastness.fleet.door.listening import listening

HANDSHAKES_MAX: Final = 256
HANDSHAKE_TIMEOUT_S: Final = 5.0
BACKLOG: Final = 512
ACCEPTED_AT_ONCE: Final = 64
PAUSE_S: Final = 0.5
"""How long nobody is taken when this process has no descriptors left."""


class Entrance:
    """Takes connections and brings them through the handshake of `context`; then `make` makes who goes on with them.

    Used on one event loop.
    """

    def __init__(self, context: ssl.SSLContext, make: Callable[[], asyncio.Protocol]) -> None:
        self._context, self._make = context, make
        self._loop = asyncio.get_running_loop()
        self._listeners: list[socket.socket] = []
        self._handshakes: dict[asyncio.Task[None], None] = {}

    @property
    def ports(self) -> tuple[int, ...]:
        """Where it listens."""
        return tuple(one.getsockname()[1] for one in self._listeners)

    def listen(self, address: str, port: int) -> None:
        """Listen on an IP address, too; raises OSError."""
        listener = listening(address, port)
        listener.listen(BACKLOG)
        self._listeners.append(listener)
        self._loop.add_reader(listener.fileno(), self._accept, listener)

    async def close(self) -> None:
        """Take nobody any more, and let go of who is in the handshake."""
        for listener in self._listeners:
            self._loop.remove_reader(listener.fileno())
            listener.close()
        self._listeners.clear()
        tasks = tuple(self._handshakes)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _accept(self, listener: socket.socket) -> None:
        for _ in range(ACCEPTED_AT_ONCE):
            try:
                made, _ = listener.accept()
            except (BlockingIOError, ConnectionError):
                return
            except OSError:  # no descriptors are left
                self._loop.remove_reader(listener.fileno())
                self._loop.call_later(PAUSE_S, self._go_on, listener)
                return
            made.setblocking(False)
            if len(self._handshakes) >= HANDSHAKES_MAX:
                oldest = next(iter(self._handshakes))
                del self._handshakes[oldest]
                oldest.cancel()
            task = self._loop.create_task(self._shake_hands(made))
            self._handshakes[task] = None
            task.add_done_callback(lambda done: self._handshakes.pop(done, None))

    def _go_on(self, listener: socket.socket) -> None:
        if listener in self._listeners:
            self._loop.add_reader(listener.fileno(), self._accept, listener)

    async def _shake_hands(self, made: socket.socket) -> None:
        try:
            await self._loop.connect_accepted_socket(
                self._make, made, ssl=self._context, ssl_handshake_timeout=HANDSHAKE_TIMEOUT_S
            )
        except OSError:  # whoever it was had no certificate, or left
            made.close()
        except BaseException:
            made.close()
            raise
