"""The store port: what is remembered of tenants and keys. All methods block; no gateway calls them."""

from __future__ import annotations

from typing import Protocol

from fastness.core.tenant import AccessSnapshot, ApiKey, Tenant


class Conflict(Exception):  # noqa: N818 - an outcome
    """The thing exists already; the message names it."""


class Missing(Exception):  # noqa: N818 - an outcome
    """The thing does not exist; the message names it."""


class Unavailable(Exception):  # noqa: N818 - a state of the machine
    """The store cannot be read or written (locked for too long, disk full, damaged). Nothing was changed."""


class AccessStore(Protocol):
    """Tenants and keys. Each change commits durably before the method returns and raises the version by one.

    May be called from several threads and, for a store on disk, from several processes. Every method raises
    Unavailable when the store cannot do its work.
    """

    def add_tenant(self, tenant: Tenant) -> None:
        """Remember a tenant; raises Conflict when the id is taken."""
        ...

    def revoke_tenant(self, tenant_id: str, now_s: int) -> Tenant:
        """Mark a tenant revoked (again is a no-op that keeps the first time); raises Missing."""
        ...

    def add_key(self, key: ApiKey) -> None:
        """Remember a key; raises Conflict for a known id or MAC, Missing for an unknown tenant."""
        ...

    def revoke_key(self, key_id: str, now_s: int) -> ApiKey:
        """Mark a key revoked (again is a no-op that keeps the first time); raises Missing."""
        ...

    def forget_keys(self, key_ids: tuple[str, ...]) -> int:
        """Remove these keys for good and return how many there were; none of them leaves the version as it is."""
        ...

    def version(self) -> int:
        """Return the version alone: 0 for an empty store, one more after each change."""
        ...

    def access(self) -> AccessSnapshot:
        """Return all tenants and keys with their version, in one consistent read, oldest first."""
        ...

    def close(self) -> None:
        """Let go of files and connections; closing twice is harmless."""
        ...
