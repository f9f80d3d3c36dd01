"""The routes of limits, of what was used of them, and of the leases of gateways."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from starlette.requests import Request

from fastness.control import wire
from fastness.control.access import Access
from fastness.control.limits import LimitCommands
from fastness.control.limits_wire import (
    LEASE_BYTES_MAX,
    LeaseBody,
    LeaseView,
    NamedScope,
    NewLimit,
    UseView,
    limit_view,
)
from fastness.control.problem import Problem
from fastness.control.quotas import Quotas
from fastness.control.routes import LOCAL, Answer, Table, caller_of
from fastness.core.limit import Limit, Metric, Scope
from fastness.core.policy import Action


class LimitsApi:
    """The routes. Each returns an HTTP status and what to encode as its body."""

    def __init__(self, commands: LimitCommands, quotas: Quotas, access: Access, clock: Callable[[], float]) -> None:
        self._commands, self._quotas, self._access, self._clock = commands, quotas, access, clock

    async def limits(self, request: Request) -> Answer:
        """GET /limits."""
        wire.read_query(request)
        return 200, {"limits": [limit_view(limit) for limit in (await self._access.snapshot()).limits]}

    async def put(self, request: Request) -> Answer:
        """POST /limits."""
        wire.read_query(request)
        new = await wire.read_body(request, NewLimit)
        bounds = {metric.value: getattr(new, metric.value) for metric in Metric}
        limit = Limit(Scope(new.tenant, new.key, new.model), **bounds)
        return 200, limit_view(await self._commands.put(limit, caller_of(request).id))

    async def remove(self, request: Request) -> Answer:
        """POST /limits/remove."""
        wire.read_query(request)
        named = await wire.read_body(request, NamedScope)
        scope = Scope(named.tenant, named.key, named.model)
        return 200, limit_view(await self._commands.remove(scope, caller_of(request).id))

    async def usage(self, request: Request) -> Answer:
        """GET /usage."""
        tenant = wire.read_query(request, "tenant").get("tenant")
        known = await self._access.snapshot()
        if tenant is not None and all(tenant != one.id for one in known.tenants):
            raise Problem(
                "not_found", f"There is no tenant {tenant[:80]!r}.", "fastness tenants list shows them.", param="tenant"
            )
        of_tenant = {one.id for one in known.keys if one.tenant == tenant}
        shown = [
            limit
            for limit in known.limits
            if tenant is None or limit.scope.tenant == tenant or limit.scope.key in of_tenant
        ]
        await self._quotas.count()
        return 200, {"usage": await asyncio.to_thread(self._uses, shown)}

    async def lease(self, request: Request) -> Answer:
        """POST /quota/lease: for the gateways of this installation, which come without a credential."""
        wire.read_query(request)
        if caller_of(request) != LOCAL:
            raise Problem(
                "permission_denied",
                f"Leases are for the gateways of this installation; {caller_of(request).id} asked.",
                "fastness usage shows what is left of each limit.",
            )
        body = await wire.read_body(request, LeaseBody, LEASE_BYTES_MAX)
        return 200, LeaseView(await self._quotas.lease(body.gateway, body.boot, body.sequence, tuple(body.wishes)))

    def _uses(self, limits: list[Limit]) -> list[UseView]:
        now_s = self._clock()
        return [self._use(limit, metric, bound, now_s) for limit in limits for metric, bound in limit.bounds()]

    def _use(self, limit: Limit, metric: Metric, bound: int, now_s: float) -> UseView:
        used, charged = self._quotas.used(limit, metric, now_s)
        window_s, scope = metric.window_s(now_s), limit.scope
        return UseView(
            scope.id,
            scope.tenant,
            scope.key,
            scope.model,
            metric.value,
            bound,
            used if metric.period_s else None,
            charged,
            max(0, bound - charged),
            window_s if metric.period_s else None,
            window_s + metric.period_s if metric.period_s else None,
        )


_READ, _MANAGE = Action.READ, Action.MANAGE_ACCESS
ROUTES: Final[Table] = (
    ("GET", "/api/v1/limits", _READ, LimitsApi.limits),
    ("POST", "/api/v1/limits", _MANAGE, LimitsApi.put),
    ("POST", "/api/v1/limits/remove", _MANAGE, LimitsApi.remove),
    ("GET", "/api/v1/usage", _READ, LimitsApi.usage),
    ("POST", "/api/v1/quota/lease", _MANAGE, LimitsApi.lease),
)
"""Every route of this file. A test compares it with docs/reference/limits-api.md."""
