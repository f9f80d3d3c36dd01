"""The page that shows a key and its tenant their limits, and what is left of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from fastness.traffic.meter import Meter

if TYPE_CHECKING:
    from fastness.core.tenant import Principal
    from fastness.gateway.gateway import Gateway


class LimitOut(msgspec.Struct, frozen=True):
    """One limit as GET /v1/usage shows it: `used` includes what runs and what other gateways hold ready."""

    tenant: str | None
    key: str | None
    model: str | None
    metric: str
    limit: int
    used: int
    remaining: int
    window_s: int | None
    resets_s: int | None


class UsageOut(msgspec.Struct, frozen=True, tag_field="object", tag="usage"):
    """The body of GET /v1/usage. `current` is false when the control plane is away, so that others' use is not known.

    `window_s` is when a limit's window began, `resets_s` when it ends (seconds since 1970); null: it has no window.
    """

    tenant: str
    key: str
    current: bool
    limits: list[LimitOut]


async def usage_page(gateway: Gateway, principal: Principal) -> UsageOut:
    """Return the limits of a key and its tenant, and what is left of them. Never refused for want of quota."""
    leases = gateway.leases
    meters = leases.limits.about(principal.tenant, principal.id)
    current = not meters or await leases.look(meters)
    return UsageOut(principal.tenant, principal.id, current, [_limit_out(one) for one in meters])


def _limit_out(meter: Meter) -> LimitOut:
    scope, period_s = meter.limit.scope, meter.period_s
    return LimitOut(
        scope.tenant,
        scope.key,
        scope.model,
        meter.metric.value,
        meter.bound,
        meter.others + meter.taken,
        meter.left,
        meter.window_s if period_s else None,
        meter.window_s + period_s if period_s else None,
    )
