"""From an Authorization header to a principal, on the gateway's hot path: one HMAC and one look-up."""

from __future__ import annotations

from typing import Final

from fastness.core.error import Refusal
from fastness.core.tenant import AccessSnapshot, ApiKey, Principal, Tenant
from fastness.identity import keys

AUTHORIZATION_CHARS_MAX: Final = 256
"""A header longer than this is refused unread; the longest real one has 66 characters."""
_SCHEME: Final = "bearer "
_FOREVER: Final = float("inf")
_MAKE_ONE: Final = "Make one with `fastness keys create`, or ask whoever runs this installation."


class Authenticator:
    """Knows every key of the installation by its MAC. Knows none, and so refuses all, until `replace` was called."""

    def __init__(self, pepper: bytes) -> None:
        self._pepper = pepper
        self._known: dict[bytes, tuple[Principal, float, str | None]] = {}

    def replace(self, snapshot: AccessSnapshot) -> None:
        """Take over a new snapshot, whole: the next request sees all of it."""
        tenants = {tenant.id: tenant for tenant in snapshot.tenants}
        self._known = {
            bytes.fromhex(key.mac): _entry(key, tenants[key.tenant]) for key in snapshot.keys if key.tenant in tenants
        }

    def authenticate(self, authorization: str | None, now_s: float) -> Principal:
        """Return who sent this header (its whole value, None when absent).

        Raises Refusal: missing_api_key, invalid_api_key, expired_api_key or revoked_api_key.
        """
        if not authorization:
            raise Refusal(
                "missing_api_key", f"Needed: the header `Authorization: Bearer fst_…`; none came. {_MAKE_ONE}"
            )
        if len(authorization) > AUTHORIZATION_CHARS_MAX or authorization[:7].lower() != _SCHEME:
            raise _malformed(authorization)
        text = authorization[7:].strip(" ")
        found = self._known.get(keys.mac_digest(self._pepper, text))
        if found is None:
            raise _unknown(text)
        principal, expires_s, revoked = found
        if revoked is not None:
            raise Refusal("revoked_api_key", revoked)
        if now_s >= expires_s:
            raise Refusal(
                "expired_api_key",
                f"The key {principal.id} ended at {int(expires_s)} (seconds since 1970). {_MAKE_ONE}",
            )
        return principal


def _entry(key: ApiKey, tenant: Tenant) -> tuple[Principal, float, str | None]:
    principal = Principal(
        key.id,
        key.tenant,
        frozenset({key.role.value}),
        _both(key.models, tenant.models),
        clearance=key.clearance,
        tenant_clearance=tenant.clearance,
        marking=tenant.marking,
    )
    revoked = None
    if key.revoked_s is not None:
        revoked = f"The key {key.id} was revoked. {_MAKE_ONE}"
    elif tenant.revoked_s is not None:
        revoked = f"The tenant {tenant.id} was revoked, and with it the key {key.id}."
    return principal, _FOREVER if key.expires_s is None else float(key.expires_s), revoked


def _both(one: tuple[str, ...] | None, other: tuple[str, ...] | None) -> frozenset[str] | None:
    """Intersect two lists of models, each None for all."""
    if one is None:
        return None if other is None else frozenset(other)
    return frozenset(one) if other is None else frozenset(one) & frozenset(other)


def _malformed(authorization: str) -> Refusal:
    if len(authorization) > AUTHORIZATION_CHARS_MAX:
        came = f"{len(authorization)} characters, and {AUTHORIZATION_CHARS_MAX} are read at most"
    else:
        came = "another scheme"
    return Refusal("invalid_api_key", f"Needed: the header `Authorization: Bearer fst_…`; what came has {came}.")


def _unknown(text: str) -> Refusal:
    """Explain a miss. The text itself is never repeated: it may be a secret of somewhere else."""
    parsed = keys.parse(text)
    if isinstance(parsed, keys.KeyProblem):
        return Refusal("invalid_api_key", f"This is not an API key of Fastness: {parsed}. Copy it again, whole.")
    return Refusal("invalid_api_key", f"The key is well formed, but unknown here. {_MAKE_ONE}")
