"""Who asks: a tenant (a department, charged), its API keys, and the principal a key stands for."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from fastness.core.limit import Limit
from fastness.core.marking import Label
from fastness.core.retention import NOTHING_KEPT, Retention


class Role(StrEnum):
    """What a key is for; what a role may do is said by policy."""

    DEVELOPER = "developer"
    ADMIN = "admin"
    APPROVER = "approver"
    AUDITOR = "auditor"


class Credential(StrEnum):
    """How a principal proved who it is."""

    API_KEY = "api_key"
    TOKEN = "oidc"  # noqa: S105 - a kind of credential, not one
    CERTIFICATE = "mtls"
    LOCAL = "local"


DEFAULT_TENANT: Final = "default"
"""The installation's own tenant."""
SHARE_MIN: Final = 0.001
SHARE_MAX: Final = 1_000_000.0
"""Bounds of a tenant's share. Only the ratio of two tenants' shares matters."""


@dataclass(frozen=True, slots=True)
class Tenant:
    """A department. `models` limits what its keys may name; None means every model served.

    `clearance` is the most that its principals may handle, `marking` what their requests carry when they say nothing;
    None for either: the profile's default marking, without caveats. `share` is its weight where tenants compete.
    `retention` says whether what it asks and is answered is kept.
    """

    id: str
    name: str
    created_s: int
    models: tuple[str, ...] | None = None
    revoked_s: int | None = None
    clearance: Label | None = None
    marking: Label | None = None
    share: float = 1.0
    retention: Retention = NOTHING_KEPT


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A credential, without its secret: `mac` is HMAC-SHA-256 of the secret under the installation's pepper, in hex.

    `hint` is the recognisable start of the key, for people. Times are seconds since 1970, None meaning never.
    """

    id: str
    tenant: str
    name: str
    role: Role
    hint: str
    mac: str
    created_s: int
    expires_s: int | None = None
    revoked_s: int | None = None
    models: tuple[str, ...] | None = None
    clearance: Label | None = None


@dataclass(frozen=True, slots=True)
class Principal:
    """Who acts, once authenticated, and the models that its key and its tenant both allow (None: all).

    `id` is the key's id, or names the subject of a token or certificate. `roles` are values of `Role`, or whatever
    roles an identity provider gives; policy says what they mean. A key's `clearance` narrows its tenant's; both None:
    the profile's default. `share` is its tenant's, and so is `retains`: its retention as text, None for nothing kept.
    """

    id: str
    tenant: str
    roles: frozenset[str]
    models: frozenset[str] | None = None
    credential: Credential = Credential.API_KEY
    clearance: Label | None = None
    tenant_clearance: Label | None = None
    marking: Label | None = None
    share: float = 1.0
    retains: str | None = None

    def may_use(self, model: str) -> bool:
        """Tell whether this principal may name `model`."""
        return self.models is None or model in self.models


@dataclass(frozen=True, slots=True)
class AccessSnapshot:
    """Every tenant, key and limit of the installation, as the gateways read it. `version` grows with each change."""

    version: int
    tenants: tuple[Tenant, ...]
    keys: tuple[ApiKey, ...]
    limits: tuple[Limit, ...] = ()
