"""The process of a door: obeys what the supervisor wrote last, and tells it how far the wanted models are."""

from __future__ import annotations

import asyncio
import os
import signal
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

from fastness.fleet.door.connector import Connector
from fastness.fleet.door.orders import DoorOrders
from fastness.fleet.door.server import Door, Judge, Tell

LOOK_PERIOD_S: Final = 0.05
"""How soon orders are obeyed, and a lapsed lease is noticed."""
REFRESH_PERIOD_S: Final = 1.0
"""How soon a certificate that was just revoked counts no more."""


class Log(Protocol):
    """Where it says what it does."""

    def record(self, level: str, event: str, **fields: str | int | None) -> None:
        """Write one record."""
        ...

    def flush(self) -> None:
        """Write out what is buffered."""
        ...


@dataclass(frozen=True, slots=True)
class DoorParts:
    """What the composition root gives a door. `orders` returns new ones, or None.

    `refresh` reads the list of revoked certificates again and tells whether it changed; `counts` tells whether a
    serial number counts. `connector` is the path of the socket for gateways.
    """

    context: ssl.SSLContext
    judge: Judge
    addresses: list[str]
    port: int
    connector: Path
    orders: Callable[[], DoorOrders | None]
    refresh: Callable[[], bool]
    counts: Callable[[int], bool]
    log: Log


async def serve(parts: DoorParts) -> int:
    """Be the door until SIGTERM or SIGINT; return the exit code. Raises OSError when it cannot listen."""
    loop, ended = asyncio.get_running_loop(), asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, ended.set)
    door = Door(parts.context, parts.judge, _telling(parts.log))
    await door.listen(parts.addresses, parts.port)
    connector = Connector(parts.connector)
    parts.log.record("info", "door.listening", pid=os.getpid(), where=" ".join(parts.addresses), port=door.ports[0])
    keeping = loop.create_task(_keep(parts, door, connector))
    try:
        await ended.wait()
    finally:
        keeping.cancel()
        await asyncio.gather(keeping, return_exceptions=True)
        await connector.close()
        await door.close()
        parts.log.record("info", "door.stopped")
        parts.log.flush()
    return 0


async def _keep(parts: DoorParts, door: Door, connector: Connector) -> None:
    refreshed_s = 0.0
    while True:
        orders = parts.orders()
        if orders is not None:
            door.obey(orders)
            connector.places = frozenset(orders.places)
        door.look()
        now_s = asyncio.get_running_loop().time()
        if now_s - refreshed_s >= REFRESH_PERIOD_S:
            refreshed_s = now_s
            if parts.refresh():
                door.expel(parts.counts)
            parts.log.flush()
        await asyncio.sleep(LOOK_PERIOD_S)


def _telling(log: Log) -> Tell:
    def tell(who: str, why: str) -> None:
        log.record("warning", "door.refused", where=who, reason=why)

    return tell
