"""What tenants and keys may be: pure checks against the snapshot and the clock, each refusal with its reason."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from fastness.control.problem import Problem
from fastness.core.ids import is_name
from fastness.core.marking import Label, Lattice
from fastness.core.tenant import SHARE_MAX, SHARE_MIN, AccessSnapshot, ApiKey, Role, Tenant
from fastness.store.port import Conflict, Missing

TENANTS_MAX: Final = 1_000
KEYS_MAX: Final = 10_000
"""Keys of the installation, revoked and expired ones included while they are remembered."""
TENANT_NAME_CHARS_MAX: Final = 100
MODELS_MAX: Final = 64
MODEL_CHARS_MAX: Final = 128
MODELS_CHARS_MAX: Final = 1_000
"""All model names of one list together: they stand in one field of a ledger entry."""
LIFETIME_MAX_S: Final = 315_360_000
"""Ten years."""
SHORT_LIFETIME_S: Final = 3_600
"""Keys made for no longer than this are forgotten an hour after their end; others stay listed for ENDED_KEPT_S."""
SHORT_ENDED_KEPT_S: Final = 3_600
ENDED_KEPT_S: Final = 7_776_000
"""Ninety days. The ledger remembers for ever that the key was issued and revoked."""


@dataclass(frozen=True, slots=True)
class TenantWish:
    """A tenant that is asked for. `lattice` is that of the policy in force, needed with a clearance or a marking."""

    id: str
    name: str | None = None
    models: tuple[str, ...] | None = None
    clearance: Label | None = None
    marking: Label | None = None
    lattice: Lattice | None = None
    share: float = 1.0


@dataclass(frozen=True, slots=True)
class KeyWish:
    """A key that is asked for. At most one of `expires_s` (since 1970) and `ttl_s` (from now); neither: no end.

    `lattice` is that of the policy in force, needed with a clearance.
    """

    tenant: str
    name: str
    role: Role = Role.DEVELOPER
    expires_s: int | None = None
    ttl_s: int | None = None
    models: tuple[str, ...] | None = None
    clearance: Label | None = None
    lattice: Lattice | None = None


def new_tenant(wish: TenantWish, known: AccessSnapshot, now_s: int) -> Tenant:
    """Return the tenant asked for; raises Problem, and Conflict when the id is taken."""
    _check_name(wish.id, "id")
    shown = wish.id if wish.name is None else wish.name
    if not 0 < len(shown) <= TENANT_NAME_CHARS_MAX or not shown.isprintable() or shown != shown.strip():
        raise Problem(
            "invalid_value",
            f"`name` needs 1 to {TENANT_NAME_CHARS_MAX} printable characters with no space around them.",
            "Leave `name` out to show the id.",
            param="name",
        )
    _check_models(wish.models)
    checked_share(wish.share)
    if wish.marking is not None:
        _check_below(wish.marking, wish.clearance, wish.lattice, "marking", "the clearance of the tenant")
    if any(tenant.id == wish.id for tenant in known.tenants):
        raise Conflict(f"tenant {wish.id} exists already")
    if len(known.tenants) >= TENANTS_MAX:
        raise Problem(
            "limit_exceeded",
            f"An installation has at most {TENANTS_MAX} tenants, and all of them are taken.",
            "Issue further keys to a tenant that exists: fastness tenants list",
        )
    return Tenant(wish.id, shown, now_s, wish.models, clearance=wish.clearance, marking=wish.marking, share=wish.share)


def checked_share(share: float | None) -> float:
    """Return the share, if a tenant may have it; raises Problem."""
    if share is None:
        raise Problem("missing_field", "`share` is required and was not sent.", "Send a number.", param="share")
    if not SHARE_MIN <= share <= SHARE_MAX:
        raise Problem(
            "invalid_value",
            f"`share` is {share:g}; it may be from {SHARE_MIN:g} to {SHARE_MAX:,.0f}.",
            "Only the ratio of two tenants' shares matters: 1 is what a tenant has that nothing was said of.",
            param="share",
        )
    return share


def check_key(wish: KeyWish, known: AccessSnapshot, now_s: int) -> int | None:
    """Return when the key would end (None: never); raises Problem, Missing for an unknown tenant, or Conflict."""
    _check_name(wish.name, "name")
    _check_models(wish.models)
    tenant = next((tenant for tenant in known.tenants if tenant.id == wish.tenant), None)
    if tenant is None:
        raise Missing(f"there is no tenant {wish.tenant[:MODEL_CHARS_MAX]}")
    if tenant.revoked_s is not None:
        raise Conflict(f"tenant {tenant.id} is revoked, and a revoked tenant gets no keys")
    outside = [model for model in wish.models or () if tenant.models is not None and model not in tenant.models]
    if outside:
        raise Problem(
            "invalid_value",
            f"Tenant {tenant.id} may use {', '.join(tenant.models or ())}; the key asks for {', '.join(outside)}.",
            "Leave `models` out for all models of the tenant.",
            param="models",
        )
    if wish.clearance is not None:
        _check_below(
            wish.clearance, tenant.clearance, wish.lattice, "clearance", f"the clearance of tenant {tenant.id}"
        )
    if len(known.keys) - len(forgettable(known, now_s)) >= KEYS_MAX:
        raise Problem(
            "limit_exceeded",
            f"An installation remembers at most {KEYS_MAX} keys, and that many there are.",
            f"Revoke keys that nobody needs; {ENDED_KEPT_S // 86_400} days later they are forgotten and make room.",
        )
    return _expiry(wish, now_s)


def forgettable(known: AccessSnapshot, now_s: int) -> tuple[str, ...]:
    """List the ids of keys that ended so long ago that the store need not hold them any more."""
    return tuple(key.id for key in known.keys if _ended_s(key) + _kept_s(key) < now_s)


def _ended_s(key: ApiKey) -> float:
    return min((end for end in (key.expires_s, key.revoked_s) if end is not None), default=float("inf"))


def _kept_s(key: ApiKey) -> int:
    short = key.expires_s is not None and key.expires_s - key.created_s <= SHORT_LIFETIME_S
    return SHORT_ENDED_KEPT_S if short else ENDED_KEPT_S


def _expiry(wish: KeyWish, now_s: int) -> int | None:
    if wish.expires_s is not None and wish.ttl_s is not None:
        raise Problem(
            "invalid_value", "Both `expires_s` and `ttl_s` came.", "Send one of them, or neither.", param="ttl_s"
        )
    if wish.expires_s is None and wish.ttl_s is None:
        return None
    param = "expires_s" if wish.ttl_s is None else "ttl_s"
    expires_s = now_s + wish.ttl_s if wish.ttl_s is not None else wish.expires_s
    if expires_s is None or not now_s < expires_s <= now_s + LIFETIME_MAX_S:
        raise Problem(
            "invalid_value",
            f"The key would end at {expires_s}; it is {now_s} now (seconds since 1970), and a key lives for 1 second "
            f"to {LIFETIME_MAX_S} seconds (ten years).",
            "`ttl_s` counts from now; leave both out for a key without end.",
            param=param,
        )
    return expires_s


def _check_below(label: Label, ceiling: Label | None, lattice: Lattice | None, param: str, whose: str) -> None:
    """Raise Problem unless `ceiling` (None: the profile's default) permits `label`."""
    if lattice is None:
        raise ValueError("a label is compared under the lattice of a policy, and none came")
    most = ceiling or Label(lattice.profile.default)
    if not lattice.dominates(most, label):
        raise Problem(
            "invalid_value",
            f"`{param}`: {label} asked; {whose} is {most}.",
            "A key is cleared for its tenant's clearance at most, and so is what a tenant's requests are marked with.",
            param=param,
        )


def _check_name(text: str, param: str) -> None:
    if not is_name(text):
        raise Problem(
            "invalid_value",
            f"`{param}` needs 1 to 63 lower-case letters, digits or hyphens, with no hyphen at either end; "
            f"{text[:80]!r} came.",
            "Names like `health`, `tax-office` or `ci-2` will do.",
            param=param,
        )


def _check_models(models: tuple[str, ...] | None) -> None:
    if models is None:
        return
    misnamed = [name for name in models if not is_model_name(name)]
    reason = ""
    if not 0 < len(models) <= MODELS_MAX:
        reason = f"1 to {MODELS_MAX} names are needed, and {len(models)} came"
    elif len(set(models)) != len(models):
        reason = "one name came twice"
    elif sum(map(len, models)) > MODELS_CHARS_MAX:
        reason = f"the names have more than {MODELS_CHARS_MAX} characters together"
    elif misnamed:
        reason = f"{misnamed[0][:80]!r} is no name (1 to {MODEL_CHARS_MAX} visible ASCII characters, no comma)"
    if reason:
        raise Problem(
            "invalid_value", f"`models`: {reason}.", "Leave `models` out for every model served.", param="models"
        )


def is_model_name(text: str) -> bool:
    """Tell whether `text` may be the name of a model."""
    return 0 < len(text) <= MODEL_CHARS_MAX and text.isascii() and text.isprintable() and not set(text) & {" ", ","}
