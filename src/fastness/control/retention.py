"""The command on retention: whether what a tenant asks and is answered is kept."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from fastness.control.access import Access
from fastness.control.problem import Problem
from fastness.control.sealing import Sealing
from fastness.core.retention import DAYS_MAX, Keep, Retention
from fastness.core.tenant import Tenant
from fastness.sealed.safe import Held
from fastness.store.port import Missing


@dataclass(frozen=True, slots=True)
class Kept:
    """A tenant, and what there is of it here."""

    tenant: Tenant
    held: Held


class Retentions:
    """Setting and showing."""

    def __init__(self, access: Access, sealing: Sealing) -> None:
        self._access = access
        self._sealing = sealing

    async def set(self, tenant_id: str, keep: Keep, days: int | None, by: str) -> Kept:
        """Give a tenant another retention; gateways can seal for it before they have to. Raises Problem, Missing."""
        retention = checked(keep, days)
        known = await self._access.snapshot()
        if all(tenant.id != tenant_id for tenant in known.tenants):
            raise Missing(f"there is no tenant {tenant_id[:80]}")
        if retention.seals:
            await self._sealing.publish({tenant_id: retention})
        tenant = await self._access.set_retention(tenant_id, retention, by)
        await self._sealing.publish()
        await self._sealing.expire()
        return await self._kept(tenant)

    async def all(self) -> list[Kept]:
        """Return every tenant, with what there is of it."""
        return [await self._kept(tenant) for tenant in (await self._access.snapshot()).tenants]

    async def _kept(self, tenant: Tenant) -> Kept:
        return Kept(tenant, await asyncio.to_thread(self._sealing.safe.held, tenant.id))


def checked(keep: Keep, days: int | None) -> Retention:
    """Return the retention that was asked for; raises Problem."""
    retention = Retention(keep, days or 0)
    if retention.is_valid:
        return retention
    said = f"needs `days`, from 1 to {DAYS_MAX:,}" if keep is Keep.SEALED else "takes no `days`"
    raise Problem(
        "invalid_value", f"Retention `{keep}` {said}.", "fastness retention set TENANT sealed --days 30", param="days"
    )
