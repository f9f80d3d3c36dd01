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
from fastness.fleet.door.head_line import HeadLine, Open
from fastness.fleet.door.letters import LettersHere
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
    that; it raises OSError. `run_directory` has the letters, which the door of a head takes from others, and that of a
    node brings by what `open_line` opens. `refresh` reads the list of revoked certificates again and tells whether it
    changed; `connector` is the path of the socket for gateways, `gangs` of that for guards; `wire` connects
    to other doors for their gangs.
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
    run_directory: Path
    is_head: bool
    open_line: Open
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
    letters = LettersHere(parts.run_directory, loop.time)
    take_letters = letters.take if parts.is_head else None
    door = Door(parts.context, parts.judge, _telling(parts.log), here.give, take_letters=take_letters, gangs=gangs)
    door.listen(parts.addresses, parts.port)
    connector = Connector(parts.connector)
    fetching = Fetching(parts.models, parts.reach, _noting(parts.log))
    parts.log.record("info", "door.listening", pid=os.getpid(), where=" ".join(parts.addresses), port=door.ports[0])
    line = HeadLine(parts.run_directory, parts.open_line, _missing(parts.log))
    keeping = loop.create_task(_keep(parts, _House(door, connector, fetching, letters, line)))
    try:
        await ended.wait()
    finally:
        keeping.cancel()
        await asyncio.gather(keeping, return_exceptions=True)
        await line.close()
        await fetching.close()
        await connector.close()
        await door.close()
        parts.log.record("info", "door.stopped")
        parts.log.flush()
    return 0


@dataclass(frozen=True, slots=True)
class _House:
    """All that is in the process of a door."""

    door: Door
    connector: Connector
    fetching: Fetching
    letters: LettersHere
    line: HeadLine

    def obey(self, orders: DoorOrders) -> None:
        self.door.obey(orders)
        self.connector.places = frozenset(orders.places)
        self.fetching.want(orders.wanted)
        self.line.want(orders.head, orders.carries)

    def look(self) -> None:
        self.door.look()
        self.letters.look()
        self.line.look()


async def _keep(parts: DoorParts, house: _House) -> None:
    loop = asyncio.get_running_loop()
    refreshed_s, reported_s, judged_s, version = 0.0, 0.0, loop.time(), 0
    reported: DoorReport | None = None
    while True:
        orders = parts.orders()
        if orders is not None:
            version = orders.version
            house.obey(orders)
            reported_s = 0.0
        house.look()
        report = DoorReport(version, house.fetching.states())
        if report != reported and loop.time() - reported_s >= REPORT_PERIOD_S:
            reported, reported_s = report, loop.time()
            with suppress(OSError):  # the next one may be written
                parts.report(report)
        if loop.time() - refreshed_s >= REFRESH_PERIOD_S:
            refreshed_s = loop.time()
            if parts.refresh() or loop.time() - judged_s >= JUDGE_PERIOD_S:
                judged_s = loop.time()
                house.door.judge_again()
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


def _missing(log: Log) -> Callable[[str], None]:
    def missing(why: str) -> None:
        log.record("warning", "head.unreachable", reason=why)

    return missing
