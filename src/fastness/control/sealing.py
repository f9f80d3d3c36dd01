"""Keeps gateways supplied with the public halves of the days' keys, and destroys the keys of days that are over.

A key is in the ledger before gateways hear of it. Keys are made some days ahead, so that content is sealed, and so
answered, while the control plane is away.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

from fastness.control.access import Access
from fastness.control.alongside import alongside
from fastness.control.failures import Log
from fastness.core.error import Refusal
from fastness.core.event import Event, EventType, Scalar
from fastness.core.retention import DAY_S, Keep, Retention, SealingKey, SealingSnapshot
from fastness.ledger.port import Ledger, LedgerUnavailable
from fastness.sealed.box import Damaged
from fastness.sealed.keyring import DayKey
from fastness.sealed.port import SealedUnavailable
from fastness.sealed.safe import Safe, size_of
from fastness.store.port import Unavailable
from fastness.store.snapshot_file import write_snapshot

WATCH_S: Final = 1.0
"""How soon a change by another control process, and a new day, are noticed."""
MEASURE_S: Final = 60.0
"""How often it is measured whether there is room."""


class Sealing:
    """The keys, for everybody who asks. `path` is where sealing.json goes."""

    def __init__(
        self, safe: Safe, access: Access, ledger: Ledger, path: Path, store_bytes_max: int, clock: Callable[[], float]
    ) -> None:
        self.safe = safe
        self._access = access
        self._ledger = ledger
        self._path = path
        self._store_bytes_max = store_bytes_max
        self._clock = clock
        self._order = asyncio.Lock()
        self._seen: tuple[int, int] | None = None
        self._wanted: tuple[dict[str, Retention], int] | None = None
        self._measured_s = 0.0
        self._full = False
        self._withdrawn: set[str] = set()

    @property
    def today(self) -> int:
        """The day it is, of UTC, counted from 1970."""
        return int(self._clock()) // DAY_S

    @asynccontextmanager
    async def withdrawn(self, tenant: str) -> AsyncIterator[None]:
        """Let no gateway seal for a tenant until the block ends: its keys are about to be destroyed."""
        self._withdrawn.add(tenant)
        try:
            await self.publish()
            yield
        finally:
            self._withdrawn.discard(tenant)
            await self.publish()

    async def publish(self, changes: Mapping[str, Retention] | None = None, *, always: bool = True) -> None:
        """Make what keys are missing, record them, and publish all; `changes` are retentions that are about to be.

        Raises what the store, the ledger and the disk raise; nothing is published then.
        """
        async with self._order:
            measured = await self._measure()
            seen = (await self._access.version(), self.today)
            again = always or measured or not self._path.exists()
            if seen == self._seen and not again:
                return
            known = (await self._access.snapshot()).tenants
            retentions = {one.id: one.retention for one in known if one.revoked_s is None} | dict(changes or {})
            wanted = {tenant: one for tenant, one in retentions.items() if one.seals}, self.today
            if wanted == self._wanted and not again:
                self._seen = seen
                return
            keys: list[SealingKey] = []
            for tenant, retention in sorted(retentions.items()):
                if retention.seals and tenant not in self._withdrawn:
                    ahead, made = await asyncio.to_thread(self.safe.keyring.ensure, tenant, self.today, retention.days)
                    for key in made:
                        await self._record(EventType.RETENTION_SEALED, tenant=tenant, **_made(key))
                    keys += ahead
            snapshot = SealingSnapshot(tuple(keys), full=self._full)
            await asyncio.to_thread(write_snapshot, self._path, snapshot)
            self._seen, self._wanted = seen, wanted

    async def expire(self) -> int:
        """Destroy the keys of days that are over, where there is no hold; return how many. Then it is recorded."""
        destroyed = 0
        async with self._order:
            retentions = {one.id: one.retention for one in (await self._access.snapshot()).tenants}
            for tenant in await asyncio.to_thread(self.safe.keyring.tenants):
                now = retentions.get(tenant, Retention())
                if now.keep is Keep.HOLD:
                    continue
                for key, requests in await asyncio.to_thread(self.safe.expire, tenant, now.days, self.today):
                    destroyed += 1
                    await self._record(EventType.RETENTION_EXPIRED, tenant=tenant, key=key.id, requests=requests)
        return destroyed

    async def _measure(self) -> bool:
        """Look whether there is room, now and then; tell whether that has changed."""
        now_s = self._clock()
        if abs(now_s - self._measured_s) < MEASURE_S:
            return False
        self._measured_s = now_s
        size_bytes = await asyncio.to_thread(size_of, self.safe.keyring.directory)
        was, self._full = self._full, size_bytes >= self._store_bytes_max
        return was is not self._full

    async def _record(self, kind: EventType, **fields: Scalar) -> None:
        await self._ledger.commit(Event(kind, int(self._clock() * 1000), fields))


@asynccontextmanager
async def keep_sealing(sealing: Sealing, log: Log) -> AsyncIterator[None]:
    """Publish at once, then watch until the block ends. What fails is logged once, and tried again."""
    failed = await _attempt(sealing, log, None)
    async with alongside(_watch(sealing, log, failed)):
        yield


async def _watch(sealing: Sealing, log: Log, failed: str | None) -> None:
    day = 0
    while True:
        if sealing.today != day and failed is None:
            day = sealing.today
            failed = await _attempt(sealing, log, failed, expire=True)
        await asyncio.sleep(WATCH_S)
        failed = await _attempt(sealing, log, failed)


async def _attempt(sealing: Sealing, log: Log, failed: str | None, *, expire: bool = False) -> str | None:
    try:
        await sealing.publish(always=False)
        if expire and (count := await sealing.expire()):
            log.record("info", "sealing.expired", count=count)
    except (Refusal, Unavailable, LedgerUnavailable, SealedUnavailable, Damaged, OSError) as error:
        reason = str(error)
        if reason != failed:
            log.record("error", "sealing.not_kept", reason=reason)
        return reason
    return None


def _made(key: DayKey) -> dict[str, Scalar]:
    public = hashlib.sha256(bytes.fromhex(key.public)).hexdigest()
    return {"key": key.id, "public_sha256": public, "day": key.day, "days": key.days}
