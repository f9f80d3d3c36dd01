"""Commands on limits: validate, record, remember, publish. Order and durability are as with tenants and keys."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import asdict
from typing import Final

from fastness.control.access import Access
from fastness.control.problem import Problem
from fastness.control.validation import is_model_name
from fastness.core.event import Event, EventType, Scalar
from fastness.core.limit import Limit, Metric, Scope
from fastness.core.tenant import AccessSnapshot
from fastness.ledger.port import Ledger
from fastness.store.port import LimitStore, Missing

LIMITS_MAX: Final = 10_000
BOUND_MAX: Final = 10**15


class LimitCommands:
    """Setting and removing limits. Publishes through `access`, whose snapshot they are part of."""

    def __init__(self, store: LimitStore, access: Access, ledger: Ledger, clock: Callable[[], float]) -> None:
        self._store, self._access, self._ledger, self._clock = store, access, ledger, clock
        self._order = asyncio.Lock()

    async def put(self, limit: Limit, by: str) -> Limit:
        """Set the limits of a scope, in the place of those it had; raises Problem, Missing."""
        async with self._order:
            check_limit(limit, await self._access.snapshot())
            bounds: dict[str, Scalar] = {metric.value: getattr(limit, metric.value) for metric in Metric}
            await self._record(EventType.LIMIT_SET, limit.scope, by, bounds)
            await asyncio.to_thread(self._store.put_limit, limit)
            await self._access.publish()
            return limit

    async def remove(self, scope: Scope, by: str) -> Limit:
        """Remove the limits of a scope; raises Missing."""
        async with self._order:
            known = await self._access.snapshot()
            if all(one.scope != scope for one in known.limits):
                raise _missing(scope)
            await self._record(EventType.LIMIT_REMOVED, scope, by, {})
            removed = await asyncio.to_thread(self._store.remove_limit, scope.id)
            await self._access.publish()
            return removed

    async def _record(self, kind: EventType, scope: Scope, by: str, bounds: dict[str, Scalar]) -> None:
        fields: dict[str, Scalar] = {"limit": scope.id, **asdict(scope), **bounds, "by": by}
        await self._ledger.commit(Event(kind, int(self._clock() * 1000), fields))


def check_limit(limit: Limit, known: AccessSnapshot) -> None:
    """Raise Problem unless the limit can be set, Missing when it is about somebody who is not there."""
    scope = limit.scope
    if not scope.id:
        raise Problem(
            "missing_field",
            "A limit needs whom it is about: `tenant`, `key` or `model`, or several of them.",
            "fastness limits set --tenant health --requests-per-minute 60",
            param="tenant",
        )
    for metric, bound in limit.bounds():
        if not 0 <= bound <= BOUND_MAX:
            raise Problem(
                "invalid_value",
                f"`{metric.value}` is {bound}; it may be from 0 to {BOUND_MAX}.",
                "Leave it out where nothing shall be limited.",
                param=metric.value,
            )
    if not limit.bounds():
        raise Problem(
            "missing_field",
            f"A limit needs at least one number: {', '.join(f'`{metric.value}`' for metric in Metric)}.",
            "fastness limits remove takes a limit away",
            param=Metric.REQUESTS_PER_MINUTE.value,
        )
    _check_scope(scope, known)
    if len(known.limits) >= LIMITS_MAX and all(one.scope != scope for one in known.limits):
        raise Problem(
            "limit_exceeded",
            f"An installation has at most {LIMITS_MAX} limits, and that many there are.",
            "fastness limits list shows them; remove those that nobody needs.",
        )


def _check_scope(scope: Scope, known: AccessSnapshot) -> None:
    if scope.tenant is not None and all(one.id != scope.tenant for one in known.tenants):
        raise Missing(f"there is no tenant {scope.tenant[:80]}")
    if scope.key is not None:
        key = next((one for one in known.keys if one.id == scope.key), None)
        if key is None:
            raise Missing(f"there is no key {scope.key[:80]}")
        if scope.tenant not in (None, key.tenant):
            raise Problem(
                "invalid_value",
                f"Key {key.id} is of tenant {key.tenant}, not {scope.tenant}: no request would ever be counted.",
                "Name the key alone.",
                param="key",
            )
    if scope.model is not None and not is_model_name(scope.model):
        raise Problem(
            "invalid_value",
            "`model` needs the name of a model, of visible ASCII characters without a comma.",
            "fastness models lists them.",
            param="model",
        )


def _missing(scope: Scope) -> Problem:
    return Problem("not_found", f"There is no limit on {scope}.", "fastness limits list shows them.")
