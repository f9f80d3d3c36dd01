"""A node that is ordered from another host: its engines run for as long as the head answers its reports."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from fastness.control.ganging import doors_for, gangs_of
from fastness.control.letters import REPORT_PERIOD_S, Word, read_word, write
from fastness.control.post import ForAnotherRun, Post
from fastness.control.recording import Recording
from fastness.control.wanted_models import WantedModels
from fastness.core.event import EventType
from fastness.core.node import FleetNode
from fastness.core.replica import Replica
from fastness.fleet.door.orders import ORDERS as DOOR_ORDERS
from fastness.fleet.door.orders import DoorOrders, DoorRoute, HostDoor, HostPlace, server_name
from fastness.fleet.lease import Lease
from fastness.fleet.letter_files import HEAD, HEAD_BY_DOOR, LETTERS_IN, LETTERS_OUT, Pigeonhole, put
from fastness.fleet.node import LocalNode
from fastness.fleet.ways import Ways
from fastness.identity.cluster.certificate import NotTrusted
from fastness.identity.cluster.claims import HostRole
from fastness.identity.cluster.counters import HeardBefore
from fastness.store.snapshot_file import write_snapshot

PATIENCE_PART: Final = 0.2
"""If nothing new came by Ray for one period of reports and this part of a lease, the doors carry. Gateways take a node
for silent after half a lease, and it ends its engines after a whole one."""


@dataclass(frozen=True, slots=True)
class LeasedParts:
    """What it stands on. `offer` is what this machine has, `digests` which models are on its disk.

    `models` is told who has what is missing here, and says what the door shall fetch; `take_record` keeps a record of
    admission, and raises ValueError. `take_revoked` keeps the head's list of revoked certificates; it raises
    NotTrusted. `node` is given whom to tell of changes. `now` is CLOCK_MONOTONIC, in seconds, which the door of this
    host has, too. `head_door` is where the door of the head listens; empty: letters go by Ray alone.
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
    head_door: str = ""


class LeasedNode:
    """The node, its letters and its lease. It starts nothing before the head has answered, and nothing of before."""

    def __init__(self, parts: LeasedParts, recording: Recording) -> None:
        self._parts, self._record = parts, recording
        self._lease = Lease(parts.lease_s)
        came = parts.run_directory / LETTERS_IN
        self._by_ray, self._by_door = Pigeonhole(came / HEAD), Pigeonhole(came / HEAD_BY_DOOR)
        self._ways = Ways(parts.now())
        self._reported_s, self._at_ms = float("-inf"), 0
        self._is_due, self._pace_s = True, REPORT_PERIOD_S
        self._doors: tuple[HostDoor, ...] = ()
        self._door = DoorOrders(parts.clock_ms(), 0.0)
        self.leased = False
        """Whether the head's word still holds."""
        self.by_door = False
        """Whether letters go through the doors, since Ray brings nothing new."""
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
        if letter := self._by_door.poll():
            await self._hear(letter)
        if letter := self._by_ray.poll():
            await self._hear(letter)
            self._ways.ray_brought(letter)
        self._choose_way()
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

    def _opened(self, letter: bytes) -> Word | None:
        """What the head wrote, if it did, and to this run of ours; its lists are kept."""
        try:
            opened = self._parts.post.open(letter)
            if opened.claims.role is not HostRole.HEAD or opened.claims.name != self._parts.head:
                raise NotTrusted(f"{opened.claims.name} wrote it; orders come from {self._parts.head}.")  # noqa: TRY301
            word = read_word(opened.body)
            if word.revoked:
                self._parts.take_revoked(word.revoked)
            for record in word.records:
                self._parts.take_record(record)
        except ForAnotherRun:
            return None  # what we wrote since has not come there yet
        except (NotTrusted, ValueError) as error:
            if not (isinstance(error, HeardBefore) and (error.is_copy or self._ways.knows(letter))):
                self._record.fails("letter.refused", str(error))
            return None
        return word

    async def _hear(self, letter: bytes) -> None:
        word = self._opened(letter)
        if word is None:
            return
        self._is_due = self._is_due or not word.answers_ms  # the head has just begun, and does not know us yet
        self._pace_s = min(max(word.pace_s, 0.0), self._parts.lease_s / 3)
        if not self._lease.answered(word.answers_ms):
            return  # it answers nothing that we said lately: whatever it orders may be of before
        if self._lease.from_s is not None:
            self._ways.renewed(letter, self._lease.from_s)
        if not self.leased and self._lease.left_s(self._parts.now()):
            self.leased = True
            self._record.append(EventType.LEASE_GRANTED, node=self._node.orders.node, head=self._parts.head)
            self.changed.set()
        self._parts.models.offer(word.missing)
        if self.leased and word.orders is not None:
            await self._node.obey(word.orders)
        # A head that has just begun has not heard of all hosts yet: what it said of them before still holds.
        self._doors = doors_for(self._node.orders, {one.node: one for one in (*self._doors, *word.doors)})

    def _choose_way(self) -> None:
        patience_s = self._pace_s + PATIENCE_PART * self._parts.lease_s
        by_door = bool(self._parts.head_door) and self._ways.by_door(self._parts.now(), patience_s)
        if by_door is not self.by_door:
            self.by_door, self._is_due = by_door, True
            self.changed.set()

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
        parts = self._parts
        head = HostPlace(parts.head, parts.head_door) if parts.head_door else None
        told = DoorOrders(
            self._door.version,
            until_s,
            routes,
            wanted=parts.models.wanted(),
            head=head,
            carries=self.by_door,
            gangs=gangs,
        )
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
