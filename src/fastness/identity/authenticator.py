"""From an Authorization header, or a client certificate, to a principal: on the gateway's hot path.

An API key costs one HMAC and one look-up, a token that was seen before one SHA-256 and one look-up.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from fastness.config import IdentitySettings
from fastness.core.error import Refusal
from fastness.core.identity import IdentitySnapshot
from fastness.core.tenant import AccessSnapshot, ApiKey, Credential, Principal, Tenant
from fastness.identity import keys
from fastness.identity.certificates import Services
from fastness.identity.principal import principal_of

if TYPE_CHECKING:
    from fastness.identity.tokens import Tokens

AUTHORIZATION_CHARS_MAX: Final = 256
"""A header longer than this holds no API key, and is refused unread unless it can be a token."""
_SCHEME: Final = "bearer "
_FOREVER: Final = float("inf")
_MAKE_ONE: Final = "Make one with `fastness keys create`, or ask whoever runs this installation."


class Authenticator:
    """Knows API keys by MAC, issuers of tokens by URL, services by the URI of their certificate.

    Knows none, and so refuses all, until `replace` was called; and none but API keys until `replace_identities` was.
    The same credential gives the same Principal object until something about it changes.
    """

    def __init__(self, pepper: bytes, settings: IdentitySettings | None = None) -> None:
        self._pepper = pepper
        self._macs = keys.Macs(pepper)
        self._settings = settings or IdentitySettings()
        self._known: dict[bytes, tuple[Principal, float, str | None]] = {}
        self._mac_of_key: dict[str, bytes] = {}
        self._tenants: dict[str, Tenant] = {}
        self._identities = IdentitySnapshot(0)
        self._services = Services()
        self._tokens: Tokens | None = None

    def replace(self, snapshot: AccessSnapshot) -> None:
        """Take over a new snapshot of tenants and keys, whole: the next request sees all of it."""
        self._tenants = {tenant.id: tenant for tenant in snapshot.tenants}
        before = self._known
        self._known = {}
        self._mac_of_key = {}
        for key in snapshot.keys:
            if key.tenant in self._tenants:
                mac = bytes.fromhex(key.mac)
                entry, old = _entry(key, self._tenants[key.tenant]), before.get(mac)
                self._mac_of_key[key.id] = mac
                self._known[mac] = old if old == entry and old is not None else entry
        self._apply()

    def replace_identities(self, snapshot: IdentitySnapshot, now_s: float) -> None:
        """Take over a new snapshot of issuers and services, whole, and forget the tokens that have ended."""
        self._identities = snapshot
        self._apply()
        if self._tokens is not None:
            self._tokens.forget_ended(now_s)

    def authenticate(
        self, authorization: str | None, now_s: float, certificate_uris: tuple[str, ...] = ()
    ) -> Principal:
        """Return who sent this header (its whole value, None when absent).

        `certificate_uris` are those of the client certificate that TLS has verified; they count only when there is no
        header at all. Raises Refusal: missing_api_key, invalid_api_key, expired_api_key, revoked_api_key,
        invalid_token, expired_token, identity_unavailable or invalid_certificate.
        """
        if not authorization:
            if certificate_uris and authorization is None:
                return self._services.authenticate(certificate_uris)
            raise Refusal(
                "missing_api_key", f"Needed: the header `Authorization: Bearer fst_…`; none came. {_MAKE_ONE}"
            )
        if len(authorization) > AUTHORIZATION_CHARS_MAX or authorization[:7].lower() != _SCHEME:
            return self._authenticate_token(authorization, now_s)
        text = authorization[7:].strip(" ")
        found = self._known.get(self._macs.digest(text))
        if found is None:
            if "." in text:
                return self._authenticate_token(authorization, now_s)
            raise _unknown(text)
        return self._alive(found, now_s)

    def on_behalf_of(self, key: str, now_s: float) -> Principal:
        """Return the principal of the API key with this id, as of now: for work that its holder asked for earlier.

        Raises Refusal: invalid_api_key, expired_api_key or revoked_api_key.
        """
        found = self._known.get(self._mac_of_key.get(key, b""))
        if found is None:
            raise Refusal("invalid_api_key", f"The key {key[:80]!r} is unknown here. {_MAKE_ONE}")
        return self._alive(found, now_s)

    def _alive(self, found: tuple[Principal, float, str | None], now_s: float) -> Principal:
        principal, expires_s, revoked = found
        if revoked is not None:
            raise Refusal("revoked_api_key", revoked)
        if now_s >= expires_s:
            raise Refusal(
                "expired_api_key",
                f"The key {principal.id} ended at {int(expires_s)} (seconds since 1970). {_MAKE_ONE}",
            )
        return principal

    def _authenticate_token(self, authorization: str, now_s: float) -> Principal:
        """Take what is too long for an API key, or has a dot, which no API key has."""
        if authorization[:7].lower() != _SCHEME or "." not in authorization:
            raise _malformed(authorization)
        if self._tokens is None:
            raise Refusal(
                "invalid_token", "No identity provider is trusted here, so no access token is. Use an API key."
            )
        return self._tokens.authenticate(authorization[7:].strip(" "), now_s)

    def _apply(self) -> None:
        self._services.replace(self._identities.services, self._tenants)
        if self._tokens is None and self._identities.issuers:
            # Imported here: it brings joserfc, 0.1 s and some MB that nobody with API keys alone should pay for.
            from fastness.identity.tokens import Tokens

            self._tokens = Tokens(self._pepper, self._settings)
        if self._tokens is not None:
            self._tokens.replace(self._identities.issuers, self._tenants)


def _entry(key: ApiKey, tenant: Tenant) -> tuple[Principal, float, str | None]:
    principal = principal_of(
        tenant,
        key.id,
        frozenset({key.role.value}),
        Credential.API_KEY,
        models=key.models,
        clearance=key.clearance,
    )
    revoked = None
    if key.revoked_s is not None:
        revoked = f"The key {key.id} was revoked. {_MAKE_ONE}"
    elif tenant.revoked_s is not None:
        revoked = f"The tenant {tenant.id} was revoked, and with it the key {key.id}."
    return principal, _FOREVER if key.expires_s is None else float(key.expires_s), revoked


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
