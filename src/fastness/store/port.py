"""The store ports: what is remembered of tenants, keys and policies. All methods block; no gateway calls them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from fastness.core.policy import PolicySnapshot
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

    def set_share(self, tenant_id: str, share: float) -> Tenant:
        """Give a tenant another share, and return it; raises Missing."""
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


@dataclass(frozen=True, slots=True)
class AppliedPolicy:
    """A line of the history: which policy was put in force, when (seconds since 1970), by whom (a principal's id)."""

    version: int
    digest: str
    applied_s: int
    applied_by: str


class PolicyStore(Protocol):
    """Every policy that was ever in force, whole: the newest is in force, and any may be applied again.

    Threads, processes and durability are as with AccessStore; every method raises Unavailable.
    """

    def add_policy(self, snapshot: PolicySnapshot) -> None:
        """Put a policy in force; raises Conflict when its version is not one more than the newest (the first is 1)."""
        ...

    def policy_version(self) -> int:
        """Return the newest version alone; 0 when there is no policy yet."""
        ...

    def policy(self, version: int | None = None) -> PolicySnapshot:
        """Return the policy of that version, or the newest; raises Missing."""
        ...

    def policy_history(self, count: int) -> tuple[AppliedPolicy, ...]:
        """Return the newest `count` lines of the history, newest first."""
        ...
