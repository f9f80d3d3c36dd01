"""Who asks: a tenant (a department, charged), its API keys, and the principal a key stands for."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Role(StrEnum):
    """What a key is for. A developer infers; an admin also manages."""

    DEVELOPER = "developer"
    ADMIN = "admin"


@dataclass(frozen=True, slots=True)
class Tenant:
    """A department. `models` limits what its keys may name; None means every model served."""

    id: str
    name: str
    created_s: int
    models: tuple[str, ...] | None = None
    revoked_s: int | None = None


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


@dataclass(frozen=True, slots=True)
class Principal:
    """Who acts, once authenticated: the key, its tenant, and the models both of them allow (None: all)."""

    key_id: str
    tenant: str
    role: Role
    models: frozenset[str] | None = None

    def may_use(self, model: str) -> bool:
        """Tell whether this principal may name `model`."""
        return self.models is None or model in self.models


@dataclass(frozen=True, slots=True)
class AccessSnapshot:
    """Every tenant and key of the installation, as the gateways read it. `version` grows with each change."""

    version: int
    tenants: tuple[Tenant, ...]
    keys: tuple[ApiKey, ...]
