"""A store that forgets when the process ends: for tests and trials. Passes the same contract as the SQL store."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from fastness.core.limit import Limit
from fastness.core.policy import PolicySnapshot
from fastness.core.retention import Retention
from fastness.core.tenant import AccessSnapshot, ApiKey, Tenant
from fastness.store.port import AppliedPolicy, Conflict, Missing


class MemoryPolicyStore:
    """Policies in a list, under a lock."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._policies: list[PolicySnapshot] = []

    def add_policy(self, snapshot: PolicySnapshot) -> None:
        """Put a policy in force; raises Conflict."""
        with self._lock:
            if snapshot.version != len(self._policies) + 1:
                raise Conflict(f"policy {snapshot.version} does not follow policy {len(self._policies)}")
            self._policies.append(snapshot)

    def policy_version(self) -> int:
        """Return the newest version alone."""
        with self._lock:
            return len(self._policies)

    def policy(self, version: int | None = None) -> PolicySnapshot:
        """Return a policy; raises Missing."""
        with self._lock:
            wanted = len(self._policies) if version is None else version
            if not 0 < wanted <= len(self._policies):
                raise Missing(f"there is no policy {wanted}")
            return self._policies[wanted - 1]

    def policy_history(self, count: int) -> tuple[AppliedPolicy, ...]:
        """Return the newest lines of the history."""
        with self._lock:
            newest = self._policies[::-1][:count]
        return tuple(AppliedPolicy(one.version, one.bundle.digest, one.applied_s, one.applied_by) for one in newest)


class MemoryStore:
    """Tenants and keys in two dicts, under one lock."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._version = 0
        self._tenants: dict[str, Tenant] = {}
        self._keys: dict[str, ApiKey] = {}
        self.limits: dict[str, Limit] = {}
        """Those of each scope, by its id; changed within `changing` only."""

    @property
    def lock(self) -> threading.Lock:
        """What every read and change holds."""
        return self._lock

    @contextmanager
    def changing(self) -> Iterator[dict[str, Limit]]:
        """Change limits; the version counts it, unless the block raises."""
        with self._lock:
            yield self.limits
            self._version += 1

    def add_tenant(self, tenant: Tenant) -> None:
        """Remember a tenant; raises Conflict."""
        with self._lock:
            if tenant.id in self._tenants:
                raise Conflict(f"tenant {tenant.id} exists already")
            self._tenants[tenant.id] = tenant
            self._version += 1

    def revoke_tenant(self, tenant_id: str, now_s: int) -> Tenant:
        """Mark a tenant revoked; raises Missing."""
        with self._lock:
            tenant = self._tenants.get(tenant_id)
            if tenant is None:
                raise Missing(f"there is no tenant {tenant_id}")
            if tenant.revoked_s is None:
                tenant = self._tenants[tenant_id] = replace(tenant, revoked_s=now_s)
                self._version += 1
            return tenant

    def set_share(self, tenant_id: str, share: float) -> Tenant:
        """Give a tenant another share; raises Missing."""
        return self._set_of(tenant_id, share=share)

    def set_retention(self, tenant_id: str, retention: Retention) -> Tenant:
        """Give a tenant another retention; raises Missing."""
        return self._set_of(tenant_id, retention=retention)

    def _set_of(self, tenant_id: str, **values: Any) -> Tenant:
        with self._lock:
            if tenant_id not in self._tenants:
                raise Missing(f"there is no tenant {tenant_id}")
            tenant = self._tenants[tenant_id] = replace(self._tenants[tenant_id], **values)
            self._version += 1
            return tenant

    def add_key(self, key: ApiKey) -> None:
        """Remember a key; raises Conflict or Missing."""
        with self._lock:
            if key.tenant not in self._tenants:
                raise Missing(f"there is no tenant {key.tenant}")
            if key.id in self._keys or any(key.mac == other.mac for other in self._keys.values()):
                raise Conflict(f"key {key.id}, or its secret, exists already")
            self._keys[key.id] = key
            self._version += 1

    def revoke_key(self, key_id: str, now_s: int) -> ApiKey:
        """Mark a key revoked; raises Missing."""
        with self._lock:
            key = self._keys.get(key_id)
            if key is None:
                raise Missing(f"there is no key {key_id}")
            if key.revoked_s is None:
                key = self._keys[key_id] = replace(key, revoked_s=now_s)
                self._version += 1
            return key

    def forget_keys(self, key_ids: tuple[str, ...]) -> int:
        """Remove these keys and return how many there were."""
        with self._lock:
            gone = sum(self._keys.pop(key_id, None) is not None for key_id in key_ids)
            self._version += 1 if gone else 0
            return gone

    def version(self) -> int:
        """Return how often the store has changed."""
        with self._lock:
            return self._version

    def access(self) -> AccessSnapshot:
        """Return everything, oldest first."""
        with self._lock:
            tenants, keys, limits = self._tenants.values(), self._keys.values(), self.limits.values()
            return AccessSnapshot(self._version, tuple(tenants), tuple(keys), tuple(limits))

    def close(self) -> None:
        """Do nothing: there is nothing to let go of."""
