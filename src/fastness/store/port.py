"""The store ports: what is remembered of tenants, keys, policies and limits. All methods block.

No gateway calls them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from fastness.core.limit import Limit, Metric
from fastness.core.policy import PolicySnapshot
from fastness.core.retention import Retention
from fastness.core.tenant import AccessSnapshot, ApiKey, Tenant
from fastness.traffic.quota import Gateway, Grant, Line, Wish

Use = tuple[str, Metric, int]
"""What is counted: the id of a scope, how, and when its window began (seconds since 1970)."""


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

    def set_retention(self, tenant_id: str, retention: Retention) -> Tenant:
        """Give a tenant another retention, and return it; raises Missing."""
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


class LimitStore(Protocol):
    """Limits, and the book of what gateways hold and have used of them.

    Threads, processes and durability are as with AccessStore, whose snapshot has the limits and whose version each
    change of a limit raises; every method raises Unavailable.
    """

    def put_limit(self, limit: Limit) -> None:
        """Remember the limits of a scope, in the place of what it had."""
        ...

    def remove_limit(self, scope: str) -> Limit:
        """Forget the limits of a scope, given by its id; raises Missing. What was counted stays counted."""
        ...

    def gateway(self, name: str) -> Gateway | None:
        """Return what is known of a gateway."""
        ...

    def gateways(self) -> tuple[Gateway, ...]:
        """Return every gateway that ever asked for a lease, by name."""
        ...

    def lease(self, gateway: Gateway, wishes: Sequence[Wish]) -> tuple[Grant, ...]:
        """Take down what a gateway may hold, and return it, one for each wish; of what is not limited it gets its wish.

        Raises Conflict for a request of the same start that is not newer than the last. `position` counts for a
        gateway that was not known.
        """
        ...

    def settle(self, gateway: str, position: int, to: int, uses: Mapping[Use, int]) -> bool:
        """Add what a gateway's ledger shows from `position` up to, not including, `to`, in one step with the position.

        Returns False, and adds nothing, unless `position` is up to where it is counted already.
        """
        ...

    def lines(self, use: Use) -> tuple[Line, ...]:
        """Return the lines of one limit, metric and window, by gateway."""
        ...

    def forget_uses(self, metrics: Sequence[Metric], before_s: int) -> int:
        """Remove what was counted in windows that began before then, and return how many lines that was."""
        ...
