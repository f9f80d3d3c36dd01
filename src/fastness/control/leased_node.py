"""A node that is ordered from another host: its engines run for as long as the head answers its reports."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from fastness.control.ganging import gangs_of
from fastness.control.letters import REPORT_PERIOD_S, Pigeonhole, Post, put, read_word, write
from fastness.control.recording import Recording
from fastness.control.run_files import HEAD, LETTERS_IN, LETTERS_OUT
from fastness.control.wanted_models import WantedModels
from fastness.core.event import EventType
from fastness.core.node import FleetNode
from fastness.core.replica import Replica
from fastness.fleet.door.orders import ORDERS as DOOR_ORDERS
from fastness.fleet.door.orders import DoorOrders, DoorRoute, HostDoor, server_name
from fastness.fleet.lease import Lease
from fastness.fleet.node import LocalNode
from fastness.identity.cluster.certificate import NotTrusted
from fastness.identity.cluster.claims import HostRole
from fastness.store.snapshot_file import write_snapshot


@dataclass(frozen=True, slots=True)
class LeasedParts:
    """What it stands on. `offer` is what this machine has, `digests` which models are on its disk.

    `models` is told who has what is missing here, and says what the door shall fetch; `take_record` keeps a record of
    admission, and raises ValueError. `take_revoked` keeps the head's list of revoked certificates; it raises
    NotTrusted. `node` is given whom to tell of changes. `now` is CLOCK_MONOTONIC, in seconds, which the door of this
    host has, too.
    """

    run_directory: Path
    head: str
    post: Post
    offer: Callable[[], FleetNode]
    digests: Callable[[], tuple[str, ...]]
    take_revoked: Callable[[str], None]
    node: Callable[[Callable[[Replica | None], None]], LocalNode]
    clock_ms: Callable[[], int]
    now: Callable[[], float]
    lease_s: float
    models: WantedModels
    take_record: Callable[[str], None]


class LeasedNode:
    """The node, its letters and its lease. It starts nothing before the head has answered, and nothing of before."""

    def __init__(self, parts: LeasedParts, recording: Recording) -> None:
        self._parts, self._record = parts, recording
        self._lease = Lease(parts.lease_s)
        self._came = Pigeonhole(parts.run_directory / LETTERS_IN / HEAD)
        self._reported_s, self._at_ms = float("-inf"), 0
        self._is_due, self._pace_s = True, REPORT_PERIOD_S
        self._doors: tuple[HostDoor, ...] = ()
        self._door = DoorOrders(parts.clock_ms(), 0.0)
        self.leased = False
        """Whether the head's word still holds."""
        self.changed = asyncio.Event()
        """Set whenever anything here has changed; whoever waits for that clears it."""
        self._node = parts.node(self._changed)

    def begin(self) -> None:
        """Forget what a run before left, and say that we are here. Raises OSError."""
        for name in (LETTERS_IN, LETTERS_OUT):
            folder = self._parts.run_directory / name
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            for left in folder.iterdir():
                left.unlink(missing_ok=True)
        self._node.begin(None)
        self._open_door()
        self._report()

    def observe(self) -> tuple[Replica, ...]:
        """Return every replica as it is now."""
        return self._node.observe()

    async def look(self) -> None:
        """Hear the head, end everything if its word is too old, report if it is time. Raises OSError."""
        letter = self._came.poll()
        if letter:
            await self._hear(letter)
        if self.leased and not self._lease.left_s(self._parts.now()):
            self._lapse()
        self._open_door()
        if self._is_due or self._parts.now() - self._reported_s >= self._pace_s:
            self._report()

    async def close(self) -> None:
        """End every engine, and leave no letter that says otherwise."""
        await self._node.close()
        for left in (f"{LETTERS_OUT}/{HEAD}", DOOR_ORDERS):
            (self._parts.run_directory / left).unlink(missing_ok=True)

    async def _hear(self, letter: bytes) -> None:
        try:
            opened = self._parts.post.open(letter)
            if opened.claims.role is not HostRole.HEAD or opened.claims.name != self._parts.head:
                raise NotTrusted(f"{opened.claims.name} wrote it; orders come from {self._parts.head}.")  # noqa: TRY301
            word = read_word(opened.body)
            if word.revoked:
                self._parts.take_revoked(word.revoked)
            for record in word.records:
                self._parts.take_record(record)
        except (NotTrusted, ValueError) as error:
            self._record.fails("letter.refused", str(error))
            return
        self._pace_s = min(max(word.pace_s, 0.0), self._parts.lease_s / 3)
        if not self._lease.answered(word.answers_ms):
            return  # it answers nothing that we said lately: whatever it orders may be of before
        if not self.leased and self._lease.left_s(self._parts.now()):
            self.leased = True
            self._record.append(EventType.LEASE_GRANTED, node=self._node.orders.node, head=self._parts.head)
            self.changed.set()
        self._parts.models.offer(word.missing)
        self._doors = word.doors
        if self.leased and word.orders is not None:
            await self._node.obey(word.orders)

    def _open_door(self) -> None:
        """Let the door lead to the engines there are, and join gangs, for as long as the lease holds."""
        orders = self._node.orders
        routes = tuple(
            DoorRoute(server_name(one.id, orders.node), one.socket)
            for one in self._node.observe()
            if one.pid and one.socket and one.id not in orders.following
        )
        gangs = gangs_of(orders, self._doors)
        until_s = self._lease.until_s if self.leased else 0.0
        told = DoorOrders(self._door.version, until_s, routes, wanted=self._parts.models.wanted(), gangs=gangs)
        if told != self._door:
            self._door = replace(told, version=told.version + 1)
            write_snapshot(self._parts.run_directory / DOOR_ORDERS, self._door, durable=False)

    def _lapse(self) -> None:
        """End every engine at once: nobody may be sure that they are ours any more."""
        self.leased = False
        ended = sum(one.pid is not None for one in self._node.observe())
        self._node.lapse()
        self._record.append(EventType.LEASE_LAPSED, node=self._node.orders.node, head=self._parts.head, ended=ended)
        self.changed.set()

    def _report(self) -> None:
        parts = self._parts
        self._at_ms = max(self._at_ms + 1, parts.clock_ms())
        node = replace(parts.offer(), digests=parts.digests())
        report = self._node.report(node, self._at_ms)
        self._lease.wrote(self._at_ms, parts.now())
        try:
            letter = parts.post.seal(parts.head, write(report))
        except ValueError as error:
            self._record.fails("letter.not_sealed", str(error))
        else:
            put(str(parts.run_directory / LETTERS_OUT), HEAD, letter)
        self._reported_s, self._is_due = parts.now(), False

    def _changed(self, replica: Replica | None) -> None:
        self._is_due = True
        self.changed.set()
        if replica is not None:
            self._record.observed(replica)
