"""How a principal is made from its tenant and whatever proved it."""

from __future__ import annotations

from fastness.core.marking import Label
from fastness.core.tenant import Credential, Principal, Tenant


def principal_of(
    tenant: Tenant,
    principal_id: str,
    roles: frozenset[str],
    credential: Credential,
    *,
    models: tuple[str, ...] | None = None,
    clearance: Label | None = None,
) -> Principal:
    """Return the principal: it may name the models that both `models` and its tenant allow (None: all)."""
    return Principal(
        principal_id,
        tenant.id,
        roles,
        _both(models, tenant.models),
        credential,
        clearance,
        tenant.clearance,
        tenant.marking,
        tenant.share,
        str(tenant.retention) if tenant.retention.seals else None,
    )


def _both(one: tuple[str, ...] | None, other: tuple[str, ...] | None) -> frozenset[str] | None:
    """Intersect two lists of models, each None for all."""
    if one is None:
        return None if other is None else frozenset(other)
    return frozenset(one) if other is None else frozenset(one) & frozenset(other)
