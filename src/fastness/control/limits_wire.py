"""What the routes of limits take and give, as typed JSON."""

from __future__ import annotations

from typing import Annotated, Final

import msgspec

from fastness.control.limits import BOUND_MAX
from fastness.core.limit import Limit, Metric
from fastness.traffic.quota import Grant, Wish

LEASE_BYTES_MAX: Final = 1_048_576
Bound = Annotated[int, msgspec.Meta(ge=0, le=BOUND_MAX)]


class NamedScope(msgspec.Struct, forbid_unknown_fields=True):
    """POST /api/v1/limits/remove."""

    tenant: str | None = None
    key: str | None = None
    model: str | None = None


class NewLimit(NamedScope, forbid_unknown_fields=True):
    """POST /api/v1/limits."""

    requests_per_minute: Bound | None = None
    tokens_per_minute: Bound | None = None
    requests_per_day: Bound | None = None
    tokens_per_day: Bound | None = None
    concurrent: Bound | None = None


class LeaseBody(msgspec.Struct, forbid_unknown_fields=True):
    """POST /api/v1/quota/lease: the wishes of a gateway, each for a sum to hold in all in a window."""

    gateway: str
    boot: Annotated[str, msgspec.Meta(min_length=1, max_length=64)]
    sequence: Annotated[int, msgspec.Meta(ge=1, le=2**53 - 1)]
    wishes: Annotated[list[Wish], msgspec.Meta(max_length=1_024)]


class LimitView(msgspec.Struct, frozen=True):
    """The limits of a scope as shown; null: not limited."""

    id: str
    tenant: str | None
    key: str | None
    model: str | None
    requests_per_minute: int | None
    tokens_per_minute: int | None
    requests_per_day: int | None
    tokens_per_day: int | None
    concurrent: int | None


class UseView(msgspec.Struct, frozen=True):
    """What was used of one number of a limit in its present window."""

    id: str
    tenant: str | None
    key: str | None
    model: str | None
    metric: str
    limit: int
    used: int | None
    charged: int
    remaining: int
    window_s: int | None
    resets_s: int | None


class LeaseView(msgspec.Struct, frozen=True):
    """What a gateway gets, one grant for each wish."""

    grants: tuple[Grant, ...]


def limit_view(limit: Limit) -> LimitView:
    """Show a limit."""
    scope, bounds = limit.scope, (getattr(limit, metric.value) for metric in Metric)
    return LimitView(scope.id, scope.tenant, scope.key, scope.model, *bounds)
