"""OIDC access tokens: each is verified once, against one pinned issuer, and remembered until it ends.

A remembered token costs one SHA-256 and a look-up. What is remembered is its digest, never the token.
"""

from __future__ import annotations

import hashlib
import hmac
from collections import OrderedDict
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Final

from cryptography.exceptions import UnsupportedAlgorithm
from joserfc.errors import JoseError
from joserfc.jws import JWSRegistry

from fastness.config import IdentitySettings
from fastness.core.error import Refusal
from fastness.core.identity import Issuer
from fastness.core.tenant import Credential, Principal, Tenant
from fastness.identity import claims as say
from fastness.identity.algorithms import ALGORITHMS
from fastness.identity.compact import Compact, refused, take_apart
from fastness.identity.jwks import JwksProblem, SigningKey, read_jwks
from fastness.identity.principal import principal_of

_VERIFIERS: Final = {
    # joserfc warns at each use of the old name `EdDSA`; with an Ed25519 key it is the same signature.
    name: JWSRegistry.algorithms["Ed25519" if name == "EdDSA" else name]
    for name in ALGORITHMS
}
_SUBJECT_CHARS: Final = 32


def subject_id(pepper: bytes, issuer_url: str, subject: str) -> str:
    """Return the id of a token's principal: `oidc:` and 128 bits of HMAC-SHA-256 over issuer and subject, in hex.

    A subject may be a person's name or e-mail address, and the ledger is for ever: so it holds this. Whoever has the
    pepper can find a known subject's entries; nobody can read a subject out of them.
    """
    text = f"oidc\0{issuer_url}\0{subject}".encode()
    return "oidc:" + hmac.digest(pepper, text, "sha256").hex()[:_SUBJECT_CHARS]


class Trusted:
    """One issuer and the tenant its tokens act for, with its keys read. `believed_until_s`: 0 when it has no keys."""

    __slots__ = ("believed_until_s", "issuer", "keys", "tenant")

    def __init__(self, issuer: Issuer, tenant: Tenant | None) -> None:
        self.issuer = issuer
        self.tenant = tenant
        self.keys: dict[str, SigningKey] = {}
        with suppress(JwksProblem):  # none yet: control publishes no others
            self.keys = read_jwks(issuer.keys.encode())
        self.believed_until_s = _believed_until_s(issuer)

    def stays(self, issuer: Issuer, tenant: Tenant | None) -> bool:
        """Tell whether nothing changed but when the keys were fetched; and if so, take that over."""
        if replace(issuer, fetched_s=self.issuer.fetched_s) != self.issuer or tenant != self.tenant:
            return False
        self.issuer = issuer
        self.believed_until_s = _believed_until_s(issuer)
        return True


class Tokens:
    """The tokens of all trusted issuers. Trusts none until `replace` was called."""

    def __init__(self, pepper: bytes, settings: IdentitySettings) -> None:
        self._pepper = pepper
        self._settings = settings
        self._trusted: dict[str, Trusted] = {}
        self._remembered: OrderedDict[bytes, tuple[Principal, float, Trusted]] = OrderedDict()
        self._principals: dict[Principal, Principal] = {}

    def replace(self, issuers: tuple[Issuer, ...], tenants: Mapping[str, Tenant]) -> None:
        """Trust these issuers from now on. What was verified under something that changed is forgotten."""
        trusted: dict[str, Trusted] = {}
        for issuer in issuers:
            old, tenant = self._trusted.get(issuer.url), tenants.get(issuer.tenant)
            stays = old is not None and old.stays(issuer, tenant)
            trusted[issuer.url] = old if old is not None and stays else Trusted(issuer, tenant)
        self._trusted = trusted
        self._remembered = OrderedDict(
            (digest, entry)
            for digest, entry in self._remembered.items()
            if trusted.get(entry[2].issuer.url) is entry[2]
        )
        self._principals = {entry[0]: entry[0] for entry in self._remembered.values()}

    def forget_ended(self, now_s: float) -> None:
        """Forget the tokens that have ended; without this they stay until others need their place."""
        ended = [digest for digest, entry in self._remembered.items() if now_s >= entry[1]]
        for digest in ended:
            del self._remembered[digest]

    def authenticate(self, text: str, now_s: float) -> Principal:
        """Return who this token stands for; the same token gives the same object for as long as it is remembered.

        Raises Refusal (invalid_token, expired_token, identity_unavailable), which repeats nothing of the token.
        """
        if len(text) > self._settings.token_bytes_max:
            raise refused(f"it has {len(text)} characters, and {self._settings.token_bytes_max} are read at most")
        if not text.isascii():
            raise refused("it has characters that no token has")
        digest = hashlib.sha256(text.encode("ascii")).digest()
        found = self._remembered.get(digest)
        if found is not None:
            principal, ends_s, trusted = found
            if now_s < ends_s and now_s < trusted.believed_until_s:
                self._remembered.move_to_end(digest)
                return principal
            del self._remembered[digest]
        return self._remember(digest, *self._verify(text, now_s))

    def _remember(self, digest: bytes, principal: Principal, ends_s: float, trusted: Trusted) -> Principal:
        # A fresh token of somebody who is known gets the object that is known: decisions are cached by it.
        if len(self._principals) >= self._settings.tokens_max:
            self._principals = {entry[0]: entry[0] for entry in self._remembered.values()}
        principal = self._principals.setdefault(principal, principal)
        self._remembered[digest] = (principal, ends_s, trusted)
        if len(self._remembered) > self._settings.tokens_max:
            self._remembered.popitem(last=False)
        return principal

    def _verify(self, text: str, now_s: float) -> tuple[Principal, float, Trusted]:
        token = take_apart(text)
        url = token.claims.get("iss")
        trusted = self._trusted.get(url) if isinstance(url, str) else None
        if trusted is None:
            raise refused("its issuer is not one that is trusted here")
        issuer = trusted.issuer
        _check_believed(trusted, now_s)
        _check_signature(token, trusted)
        tenant = trusted.tenant
        if tenant is None or tenant.revoked_s is not None:
            raise refused(f"the tenant {issuer.tenant} of its issuer was revoked, or never was")
        say.check_kind(token.claims)
        say.check_audience(token.claims, issuer)
        ends_s = say.check_times(token.claims, now_s, self._settings.clock_skew_s)
        principal = principal_of(
            tenant,
            subject_id(self._pepper, issuer.url, say.subject(token.claims)),
            say.roles(token.claims, issuer),
            Credential.TOKEN,
            clearance=issuer.clearance,
        )
        return principal, ends_s, trusted


def _believed_until_s(issuer: Issuer) -> float:
    return 0.0 if issuer.fetched_s is None else float(issuer.fetched_s + issuer.keys_max_age_s)


def _check_believed(trusted: Trusted, now_s: float) -> None:
    """Keys nobody could confirm for too long may have been stolen and withdrawn meanwhile."""
    if trusted.keys and now_s < trusted.believed_until_s:
        return
    state = "were never fetched" if not trusted.keys else f"were last fetched at {trusted.issuer.fetched_s}"
    raise Refusal(
        "identity_unavailable",
        f"The signing keys of {trusted.issuer.url} {state} (seconds since 1970), and they are believed for "
        f"{trusted.issuer.keys_max_age_s} s. Use an API key meanwhile.",
    )


def _check_signature(token: Compact, trusted: Trusted) -> None:
    """The issuer's pinned algorithms come first, then its own keys by `kid`, then what that key may be used for."""
    if token.algorithm not in trusted.issuer.algorithms:
        raise refused(f"its `alg` is not pinned for its issuer. Needed: {', '.join(trusted.issuer.algorithms)}")
    known = trusted.keys.get(token.kid)
    if known is None:
        raise refused("its `kid` is no key of its issuer now. A key just made by the issuer is fetched in a while")
    if token.algorithm not in known.algorithms:
        raise refused("its `alg` does not fit the key that its `kid` names")
    try:
        good = _VERIFIERS[token.algorithm].verify(token.signed, token.signature, known.key)
    except (JoseError, ValueError, UnsupportedAlgorithm):
        good = False
    if not good:
        raise refused("its signature is wrong")
