"""Commands on tenants and keys: validate, record, remember, publish.

Power is recorded in the ledger before it is given, and taken before that is recorded: a crash or a full disk between
two steps leaves an entry about a key that nobody holds, never a working key without an entry, and never a revoked key
that still works. Publishing comes before the answer, so gateways know within their next poll (100 ms).

The store and the file system block, so they are called in a thread; one lock keeps the commands in order.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from fastness.control import validation
from fastness.control.publication import publish
from fastness.control.routes import LOCAL
from fastness.control.validation import KeyWish, TenantWish
from fastness.core.event import Event, EventType, Scalar
from fastness.core.ids import base62
from fastness.core.marking import Label
from fastness.core.retention import Retention
from fastness.core.tenant import DEFAULT_TENANT, AccessSnapshot, ApiKey, Role, Tenant
from fastness.identity import keys
from fastness.ledger.port import Ledger
from fastness.store.port import AccessStore, Missing

FIRST_KEY_NAME: Final = "first-admin"
EPHEMERAL_KEY_NAME: Final = "cli"
EPHEMERAL_TTL_S: Final = 600
KEY_ID_CHARS: Final = 16


@dataclass(frozen=True, slots=True)
class IssuedKey:
    """A key just issued. `text` is the credential itself: it is shown once and kept nowhere."""

    key: ApiKey
    text: str

    def __repr__(self) -> str:
        return f"IssuedKey({self.key!r}, text=<hidden>)"


class Access:
    """The commands. `snapshot_path` is where access.json goes; None publishes nothing (nothing runs here)."""

    def __init__(
        self,
        store: AccessStore,
        ledger: Ledger,
        snapshot_path: Path | None,
        pepper: bytes,
        clock: Callable[[], float],
        entropy: Callable[[int], bytes],
    ) -> None:
        self._store = store
        self._ledger = ledger
        self._snapshot_path = snapshot_path
        self._pepper = pepper
        self._clock = clock
        self._entropy = entropy
        self._order = asyncio.Lock()
        self._published: int | None = None

    async def snapshot(self) -> AccessSnapshot:
        """Return all tenants and keys; raises store.port.Unavailable."""
        return await asyncio.to_thread(self._store.access)

    async def version(self) -> int:
        """Return the version of what there is; raises store.port.Unavailable."""
        return await asyncio.to_thread(self._store.version)

    async def create_tenant(self, wish: TenantWish, by: str = LOCAL.id) -> Tenant:
        """Make a tenant; raises Refusal (invalid_value, conflict, limit_exceeded)."""
        async with self._order:
            return await self._create_tenant(wish, by)

    async def revoke_tenant(self, tenant_id: str, by: str = LOCAL.id) -> Tenant:
        """Revoke a tenant and with it all of its keys; again is harmless. Raises store.port.Missing."""
        async with self._order:
            now_s = int(self._clock())
            tenant = await asyncio.to_thread(self._store.revoke_tenant, tenant_id, now_s)
            await self._publish()
            await self._record(EventType.TENANT_REVOKED, by, tenant=tenant.id)
            return tenant

    async def set_share(self, tenant_id: str, share: float | None, by: str = LOCAL.id) -> Tenant:
        """Give a tenant another share; raises Refusal (missing_field, invalid_value) and store.port.Missing."""
        async with self._order:
            if all(tenant.id != tenant_id for tenant in (await self.snapshot()).tenants):
                raise Missing(f"there is no tenant {tenant_id[: validation.MODEL_CHARS_MAX]}")
            share = validation.checked_share(share)
            await self._record(EventType.TENANT_CHANGED, by, tenant=tenant_id, share=f"{share:g}")
            tenant = await asyncio.to_thread(self._store.set_share, tenant_id, share)
            await self._publish()
            return tenant

    async def set_retention(self, tenant_id: str, retention: Retention, by: str = LOCAL.id) -> Tenant:
        """Give a tenant another retention; raises store.port.Missing."""
        async with self._order:
            before = next((one for one in (await self.snapshot()).tenants if one.id == tenant_id), None)
            if before is None:
                raise Missing(f"there is no tenant {tenant_id[: validation.MODEL_CHARS_MAX]}")
            said = {"retention": str(retention), "before": str(before.retention)}
            await self._record(EventType.RETENTION_SET, by, tenant=tenant_id, **said)
            tenant = await asyncio.to_thread(self._store.set_retention, tenant_id, retention)
            await self._publish()
            return tenant

    async def issue_key(self, wish: KeyWish, by: str = LOCAL.id) -> IssuedKey:
        """Issue a key; raises Refusal (invalid_value, conflict, limit_exceeded) and store.port.Missing."""
        async with self._order:
            return await self._issue_key(wish, by)

    async def issue_ephemeral_key(self, by: str = LOCAL.id) -> IssuedKey:
        """Issue a developer key of the default tenant that ends by itself after ten minutes."""
        async with self._order:
            return await self._issue_key(KeyWish(DEFAULT_TENANT, EPHEMERAL_KEY_NAME, ttl_s=EPHEMERAL_TTL_S), by)

    async def revoke_key(self, key_id: str, by: str = LOCAL.id) -> ApiKey:
        """Revoke a key; again is harmless. Raises store.port.Missing."""
        async with self._order:
            now_s = int(self._clock())
            key = await asyncio.to_thread(self._store.revoke_key, key_id, now_s)
            await self._publish()
            await self._record(EventType.KEY_REVOKED, by, key=key.id, tenant=key.tenant)
            return key

    async def ensure_first_admin(self, by: str = LOCAL.id) -> str | None:
        """Make the default tenant and one admin key, and return its text; None when there ever was an admin key."""
        async with self._order:
            known = await self.snapshot()
            if any(key.role is Role.ADMIN for key in known.keys):
                return None
            if all(tenant.id != DEFAULT_TENANT for tenant in known.tenants):
                await self._create_tenant(TenantWish(DEFAULT_TENANT, "Default"), by)
            return (await self._issue_key(KeyWish(DEFAULT_TENANT, FIRST_KEY_NAME, Role.ADMIN), by)).text

    async def publish(self, *, always: bool = False) -> None:
        """Publish what the store holds, unless this process has published that version already and it is still there.

        Called at start and now and then, it heals what a crash or a full disk left unpublished. Raises Refusal.
        """
        async with self._order:
            missing = self._snapshot_path is not None and not self._snapshot_path.exists()
            if always or missing or await asyncio.to_thread(self._store.version) != self._published:
                await self._publish()

    def note_boot(self, version: str, pid: int) -> None:
        """Record that the control process began. A ledger that cannot record now is left to try again."""
        self._ledger.append(self._event(EventType.BOOT, process="control", version=version, pid=pid))

    def note_stop(self, pid: int) -> None:
        """Record that the control process ends in order; durable once `close` has returned."""
        self._ledger.append(self._event(EventType.STOPPED, process="control", pid=pid, reason="signal"))

    async def close(self) -> None:
        """Finish the command that runs, and close the ledger and the store. Raises LedgerUnavailable."""
        async with self._order:
            try:
                await self._ledger.close()
            finally:
                await asyncio.to_thread(self._store.close)

    async def _create_tenant(self, wish: TenantWish, by: str) -> Tenant:
        tenant = validation.new_tenant(wish, await self.snapshot(), int(self._clock()))
        await self._record(
            EventType.TENANT_CREATED,
            by,
            tenant=tenant.id,
            clearance=_text(tenant.clearance),
            marking=_text(tenant.marking),
            share=f"{tenant.share:g}",
        )
        await asyncio.to_thread(self._store.add_tenant, tenant)
        await self._publish()
        return tenant

    async def _issue_key(self, wish: KeyWish, by: str) -> IssuedKey:
        known, now_s = await self.snapshot(), int(self._clock())
        expires_s = validation.check_key(wish, known, now_s)
        text = keys.mint(self._entropy(keys.SECRET_BYTES), wish.role)
        key = ApiKey(
            id="key_" + base62(int.from_bytes(self._entropy(11), "big"), KEY_ID_CHARS),
            tenant=wish.tenant,
            name=wish.name,
            role=wish.role,
            hint=keys.hint(text),
            mac=keys.mac(self._pepper, text),
            created_s=now_s,
            expires_s=expires_s,
            models=wish.models,
            clearance=wish.clearance,
        )
        await self._record(
            EventType.KEY_ISSUED,
            by,
            key=key.id,
            tenant=key.tenant,
            role=key.role.value,
            expires_s=key.expires_s,
            models=None if key.models is None else " ".join(key.models),
            clearance=_text(key.clearance),
        )
        await asyncio.to_thread(self._store.add_key, key)
        if ended := validation.forgettable(known, now_s):
            await asyncio.to_thread(self._store.forget_keys, ended)
        await self._publish()
        return IssuedKey(key, text)

    async def _record(self, kind: EventType, by: str, **fields: Scalar) -> None:
        await self._ledger.commit(self._event(kind, **fields, by=by))

    def _event(self, kind: EventType, **fields: Scalar) -> Event:
        return Event(kind, int(self._clock() * 1000), fields)

    async def _publish(self) -> None:
        if self._snapshot_path is not None:
            self._published = (await asyncio.to_thread(publish, self._snapshot_path, self._store.access)).version


def _text(label: Label | None) -> str | None:
    return None if label is None else str(label)
