"""`fastness node join`: the supervisor of a host that the head gives orders to. No control, no gateway, no requests."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from fastness import __version__
from fastness.control.companions import Companions
from fastness.control.leased_node import LeasedNode, LeasedParts
from fastness.control.recording import Recording
from fastness.control.site import Progress
from fastness.core.event import EventType
from fastness.core.joined_host import JOINED_HOST, JoinedHost
from fastness.core.own_process import OwnProcess
from fastness.ledger.port import Ledger
from fastness.store.snapshot_file import write_snapshot
from fastness.telemetry.log import JsonLog

LOOK_PERIOD_S: Final = 0.05
"""How soon letters are read, and how late the end of a lease may be noticed."""
FLUSH_PERIOD_S: Final = 0.5


@dataclass(frozen=True, slots=True)
class HostParts:
    """What it stands on. `prove_seal` blocks, and raises SealUnavailable. Once `allowed` is set, engines may start.

    `companions` is as of Site.
    """

    leased: LeasedParts
    allowed: asyncio.Event
    ledger: Ledger
    log: JsonLog
    clock: Callable[[], float]
    prove_seal: Callable[[], str]
    companions: Callable[[], tuple[OwnProcess, ...]] = tuple


class Host:
    """One host of a cluster, until SIGTERM or SIGINT."""

    def __init__(self, parts: HostParts, progress: Progress, *, unsealed: bool) -> None:
        self._parts, self._progress, self._unsealed = parts, progress, unsealed
        self._now = asyncio.get_running_loop().time
        self._record = Recording(parts.ledger, parts.log, parts.clock, self._now, progress)
        self._node = LeasedNode(parts.leased, self._record)
        self._companions = Companions(parts.companions, parts.log, progress)
        self._said: JoinedHost | None = None

    async def run(self, joined: Callable[[float], None]) -> int:
        """Join, serve, and end every engine; `joined` gets the seconds it took to get the first lease."""
        ended = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, ended.set)
        self._node.begin()
        tasks = [loop.create_task(self._keep()), loop.create_task(self._start(joined))]
        waiting = loop.create_task(ended.wait())
        try:
            await asyncio.wait((waiting, tasks[1]), return_when=asyncio.FIRST_COMPLETED)
            if tasks[1].done():
                tasks[1].result()
            await waiting
        finally:
            for task in (*tasks, waiting):
                task.cancel()
            await asyncio.gather(*tasks, waiting, return_exceptions=True)
            await self._node.close()
            (self._parts.leased.run_directory / JOINED_HOST).unlink(missing_ok=True)
            await self._record.commit(EventType.STOPPED, process="supervisor", pid=os.getpid(), reason="signal")
            await self._parts.ledger.close()
            self._parts.log.flush()
        return 0

    async def _start(self, joined: Callable[[float], None]) -> None:
        began, sealed = self._now(), not self._unsealed
        if sealed:
            self._progress.stage("seal", "no network, files by allow-list, seccomp, rlimits")
            proof = await asyncio.to_thread(self._parts.prove_seal)
            self._progress.done("seal", "no network, files by allow-list, seccomp, rlimits", self._now() - began, proof)
        await self._record.commit(
            EventType.BOOT, process="supervisor", version=__version__, pid=os.getpid(), sealed=sealed
        )
        if self._unsealed:
            self._progress.warn("Engines run UNSEALED: nothing but their own good will keeps them off the network.")
            await self._record.commit(EventType.UNSEALED_ALLOWED, process="supervisor")
        self._parts.allowed.set()
        head = self._parts.leased.head
        self._progress.stage("head", head)
        while not self._node.leased:
            self._node.changed.clear()
            await self._node.changed.wait()
        self._progress.done("head", head, self._now() - began, "joined")
        joined(self._now() - began)
        await self._tell()

    async def _tell(self) -> None:
        """Tell when the head is away, and when it is back; and by which way its letters come."""
        head, was, by_door = self._parts.leased.head, True, False
        while True:
            if self._node.leased is not was:
                was = self._node.leased
                word = "is back: engines start as it orders" if was else "is away: every engine here was ended"
                self._progress.warn(f"{head} {word}.")
            if self._node.by_door is not by_door:
                by_door = self._node.by_door
                word = "Ray brings nothing new from it: letters go by the doors" if by_door else "Ray brings letters"
                self._parts.log.record("warning" if by_door else "info", "letters.way", where=head, reason=word)
                if was:
                    self._progress.warn(f"{head}: {word}.")
            self._node.changed.clear()
            await self._node.changed.wait()

    async def _keep(self) -> None:
        flushed = self._now()
        while True:
            await asyncio.sleep(LOOK_PERIOD_S)
            try:
                await self._node.look()
            except Exception as error:  # noqa: BLE001 - the next look may see what this one could not
                self._record.fails("orders.not_obeyed", str(error) or repr(error))
            if self._now() - flushed > FLUSH_PERIOD_S:
                flushed = self._now()
                self._companions.look()
                self._say()
                self._parts.log.flush()

    def _say(self) -> None:
        """Tell people who look here what runs, and whether the head is heard."""
        leased, node = self._parts.leased, self._node
        place = leased.offer().place.name
        way, here = "door" if node.by_door else "ray", (node.observe(), self._companions.seen)
        said = JoinedHost(os.getpid(), place, leased.head, node.leased, way, *here)
        if said != self._said:
            self._said = said
            with suppress(OSError):  # a full disk: it runs all the same
                write_snapshot(leased.run_directory / JOINED_HOST, said, durable=False)
