"""The gateways of this installation as the supervisor keeps them up, each on a listener of its own, all on one port.

The kernel deals new connections out among the listeners that listen. All of them are held here, so the port outlives
every gateway. But while a gateway is dead nobody shall wait at its listener as long as another one serves: then it does
not listen, and the gateway that is started anew makes it listen again.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from fastness.control.site import StartRefused
from fastness.core.replica import ReplicaState
from fastness.fleet.supervised import Supervised

BACKLOG: Final = 1_024
"""Connections that may wait at one listener."""
_AWAY: Final = (ReplicaState.BACKING_OFF, ReplicaState.STOPPED)
"""Nobody accepts. One that starts may listen already, and is left alone."""


@dataclass(frozen=True, slots=True)
class Front:
    """One gateway: its name, its listener, bound and not listening, and what makes its process.

    `process` is given whom to tell of each change of its state.
    """

    name: str
    listener: socket.socket
    process: Callable[[Callable[[], None]], Supervised]


def _nobody() -> None:
    pass


class Gateways:
    """All of them; there is at least one."""

    def __init__(self, fronts: Sequence[Front]) -> None:
        self._fronts = tuple(fronts)
        self._processes: tuple[Supervised, ...] = ()
        self._tell: Callable[[], None] = _nobody

    @property
    def names(self) -> tuple[str, ...]:
        """Their names, the first one first."""
        return tuple(one.name for one in self._fronts)

    @property
    def processes(self) -> dict[str, Supervised]:
        """Their processes by name, as far as they have begun."""
        return dict(zip(self.names, self._processes, strict=False))

    @property
    def address(self) -> str:
        """Where a person on this machine reaches them, as host:port."""
        host, port = self._fronts[0].listener.getsockname()[:2]
        if host in ("0.0.0.0", "::"):  # noqa: S104 - only to say where a person can reach it from here
            host = "127.0.0.1"
        return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"

    def begin(self, tell: Callable[[], None] = _nobody) -> tuple[Supervised, ...]:
        """Let clients connect, and start all; raises StartRefused. From then on `tell` is called at each change."""
        self._tell = tell
        for one in self._fronts:
            try:
                one.listener.listen(BACKLOG)
            except OSError as error:
                raise StartRefused(
                    f"Cannot listen on {self.address}: {error.strerror}. "
                    "Stop what listens there, or choose another port: fastness up --port 0"
                ) from error
        self._processes = tuple(one.process(self._changed) for one in self._fronts)
        for process in self._processes:
            process.begin()
        return self._processes

    async def stop(self) -> None:
        """Let nobody connect any more, and end all at the same time: each lets its answers finish."""
        for one in self._fronts:
            one.listener.close()
        await asyncio.gather(*(process.stop() for process in self._processes))

    def _changed(self) -> None:
        if any(one.state is ReplicaState.READY for one in self._processes):
            for front, process in zip(self._fronts, self._processes, strict=True):
                if process.state in _AWAY:
                    _let_nobody_wait(front.listener)
        self._tell()


def _let_nobody_wait(listener: socket.socket) -> None:
    """Listen no more, where it does. Once only: from a second time on, Linux would break whatever is accepted later."""
    with suppress(OSError):  # it was closed
        if listener.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
            listener.shutdown(socket.SHUT_RDWR)
