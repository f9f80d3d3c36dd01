"""The command on retention: whether what a tenant asks and is answered is kept."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from fastness.control.access import Access
from fastness.control.disclosures import Disclosures
from fastness.control.problem import Problem
from fastness.control.sealing import Sealing
from fastness.core.retention import DAYS_MAX, Disclosure, Keep, Purpose, Retention
from fastness.core.tenant import Principal, Tenant
from fastness.sealed.safe import Held
from fastness.store.port import Missing


@dataclass(frozen=True, slots=True)
class Kept:
    """A tenant, and what there is of it here."""

    tenant: Tenant
    held: Held


class Retentions:
    """Setting and showing."""

    def __init__(self, access: Access, sealing: Sealing, disclosures: Disclosures) -> None:
        self._access = access
        self._sealing = sealing
        self._disclosures = disclosures

    async def set(self, tenant_id: str, keep: Keep, days: int | None, by: Principal, release: str | None) -> Kept:
        """Give a tenant another retention; gateways can seal for it before they have to. Raises Problem, Missing.

        To end a hold takes a `release`: the id of what somebody asked and somebody else approved.
        """
        retention = checked(keep, days)
        before = next((one for one in (await self._access.snapshot()).tenants if one.id == tenant_id), None)
        if before is None:
            raise Missing(f"there is no tenant {tenant_id[:80]}")
        released = None
        if before.retention.keep is Keep.HOLD and keep is not Keep.HOLD:
            released = await self._released(tenant_id, by, release)
        if retention.seals:
            await self._sealing.publish({tenant_id: retention})
        tenant = await self._access.set_retention(tenant_id, retention, by.id)
        await self._sealing.publish()
        await self._sealing.expire()
        if released is not None:
            await self._disclosures.finish(released)
        return await self._kept(tenant)

    async def all(self) -> list[Kept]:
        """Return every tenant, with what there is of it."""
        return [await self._kept(tenant) for tenant in (await self._access.snapshot()).tenants]

    async def _released(self, tenant_id: str, by: Principal, release: str | None) -> Disclosure:
        if release is not None:
            disclosure, _ = await self._disclosures.begin(release, Purpose.RELEASE, by)
            if disclosure.tenant == tenant_id and disclosure.done_s is None:
                return disclosure
        raise Problem(
            "conflict",
            f"Tenant {tenant_id} is on hold. To end a hold takes two people, and a release of this tenant.",
            f"fastness retention ask release --tenant {tenant_id} --reason …; then --release ID here",
            param="release",
        )

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
