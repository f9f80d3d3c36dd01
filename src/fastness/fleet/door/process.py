"""The process of a door: obeys what the supervisor wrote last, and tells it how far the wanted models are."""

from __future__ import annotations

import asyncio
import os
import signal
import ssl
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

from fastness.fleet.door.connector import Connector
from fastness.fleet.door.fetching import Fetching, Reach
from fastness.fleet.door.fetching import Tell as NoteFetch
from fastness.fleet.door.gangs import Connect, Gangs, wires_by
from fastness.fleet.door.guests import Judge, Tell
from fastness.fleet.door.member import Tell as NoteGang
from fastness.fleet.door.on_disk import remove_left_overs
from fastness.fleet.door.orders import DoorOrders, DoorReport
from fastness.fleet.door.server import Door
from fastness.fleet.door.serving import ModelsHere
from fastness.fleet.door.threads import in_thread

LOOK_PERIOD_S: Final = 0.05
"""How soon orders are obeyed, and a lapsed lease is noticed."""
REPORT_PERIOD_S: Final = 0.3
"""How often it is told how far models are."""
JUDGE_PERIOD_S: Final = 10.0
"""How soon somebody who is inside is put out when their certificate ends."""
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

    `models` is the folder of weights, `reach` connects to other doors for them, and `report` takes what is told of
    that; it raises OSError. `gangs` is the path of the socket for guards, and `wire` connects to other doors for their
    gangs. `refresh` reads the list of revoked certificates again and tells whether it changed;
    `connector` is the path of the socket for gateways.
    """

    context: ssl.SSLContext
    judge: Judge
    addresses: list[str]
    port: int
    connector: Path
    orders: Callable[[], DoorOrders | None]
    refresh: Callable[[], bool]
    models: Path
    reach: Reach
    gangs: Path
    wire: Connect
    report: Callable[[DoorReport], None]
    log: Log


async def serve(parts: DoorParts) -> int:
    """Be the door until SIGTERM or SIGINT; return the exit code. Raises OSError when it cannot listen."""
    loop, ended = asyncio.get_running_loop(), asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, ended.set)
    await in_thread(remove_left_overs, parts.models, time.time())
    here = ModelsHere(parts.models)
    gangs = Gangs(parts.gangs, wires_by(parts.wire), _noting_gangs(parts.log))
    door = Door(parts.context, parts.judge, _telling(parts.log), here.give, gangs)
    door.listen(parts.addresses, parts.port)
    connector = Connector(parts.connector)
    fetching = Fetching(parts.models, parts.reach, _noting(parts.log))
    parts.log.record("info", "door.listening", pid=os.getpid(), where=" ".join(parts.addresses), port=door.ports[0])
    keeping = loop.create_task(_keep(parts, door, connector, fetching))
    try:
        await ended.wait()
    finally:
        keeping.cancel()
        await asyncio.gather(keeping, return_exceptions=True)
        await fetching.close()
        await connector.close()
        await door.close()
        parts.log.record("info", "door.stopped")
        parts.log.flush()
    return 0


async def _keep(parts: DoorParts, door: Door, connector: Connector, fetching: Fetching) -> None:
    loop = asyncio.get_running_loop()
    refreshed_s, reported_s, judged_s, version = 0.0, 0.0, loop.time(), 0
    reported: DoorReport | None = None
    while True:
        orders = parts.orders()
        if orders is not None:
            version = orders.version
            door.obey(orders)
            connector.places = frozenset(orders.places)
            fetching.want(orders.wanted)
            reported_s = 0.0
        door.look()
        report = DoorReport(version, fetching.states())
        if report != reported and loop.time() - reported_s >= REPORT_PERIOD_S:
            reported, reported_s = report, loop.time()
            with suppress(OSError):  # the next one may be written
                parts.report(report)
        if loop.time() - refreshed_s >= REFRESH_PERIOD_S:
            refreshed_s = loop.time()
            if parts.refresh() or loop.time() - judged_s >= JUDGE_PERIOD_S:
                judged_s = loop.time()
                door.judge_again()
            parts.log.flush()
        await asyncio.sleep(LOOK_PERIOD_S)


def _telling(log: Log) -> Tell:
    def tell(who: str, why: str) -> None:
        log.record("warning", "door.refused", where=who, reason=why)

    return tell


def _noting(log: Log) -> NoteFetch:
    def note(event: str, digest: str, why: str) -> None:
        log.record("info" if event == "model.fetched" else "warning", event, model=digest, reason=why)

    return note


def _noting_gangs(log: Log) -> NoteGang:
    def note(event: str, replica: str, why: str) -> None:
        log.record("info", event, replica=replica, reason=why)

    return note
