"""Identity providers and service certificates, as the gateways read them. Nothing in here is a secret."""

from __future__ import annotations

from dataclasses import dataclass

from fastness.core.marking import Label


@dataclass(frozen=True, slots=True)
class Issuer:
    """An OIDC issuer that is trusted, with everything pinned. Every token of it acts for the one `tenant`.

    `algorithms` are the JWS names that are accepted. `roles_claim` names the claim that lists roles; `roles` maps what
    it lists to roles of ours, and what it does not name is dropped. `keys` is its JWKS as JSON text, fetched at
    `fetched_s` (None: never yet) from `jwks_url` (empty: from where its discovery document says); after
    `keys_max_age_s` without a refresh they are no longer believed.
    """

    url: str
    audience: str
    algorithms: tuple[str, ...]
    tenant: str
    roles_claim: str
    roles: tuple[tuple[str, str], ...]
    clearance: Label | None = None
    keys: str = ""
    fetched_s: int | None = None
    keys_max_age_s: int = 604_800
    jwks_url: str = ""


@dataclass(frozen=True, slots=True)
class Service:
    """A service that proves itself by a client certificate: `uri` is a URI of its subject alternative names."""

    uri: str
    tenant: str
    roles: tuple[str, ...]
    clearance: Label | None = None


@dataclass(frozen=True, slots=True)
class IdentitySnapshot:
    """Who is trusted to say who somebody is. `version` grows with each change."""

    version: int
    issuers: tuple[Issuer, ...] = ()
    services: tuple[Service, ...] = ()
