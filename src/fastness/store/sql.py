"""Tenants and keys in SQL; nothing here is one database's own.

Each change first raises the version, and so holds that one row until it commits: changes of any number of threads and
processes happen one after another, and a version is never given twice.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import msgspec
from sqlalchemy import Connection, Row, Table, delete, insert, select, update

from fastness.core.marking import Label
from fastness.core.retention import Retention, read_retention
from fastness.core.tenant import AccessSnapshot, ApiKey, Role, Tenant
from fastness.store.database import Database
from fastness.store.limits import raise_version, read_limits
from fastness.store.port import Conflict, Missing
from fastness.store.schema import ACCESS_VERSION, API_KEYS, TENANTS

msgspec.json.Decoder(Label)  # so that msgspec has looked at it before several threads ask


class SqlStore:
    """The access store on a SQL database, which other stores may share; open it with `SqlStore.open`."""

    def __init__(self, database: Database) -> None:
        self.database = database

    @classmethod
    def open(cls, url: str) -> SqlStore:
        """Connect, bring the schema up to date and return the store; raises as `Database.open` does."""
        return cls(Database.open(url))

    def close(self) -> None:
        """Close every connection."""
        self.database.close()

    def add_tenant(self, tenant: Tenant) -> None:
        """Remember a tenant; raises Conflict."""
        with self._change() as (connection, version):
            if _found(connection, TENANTS, tenant.id) is not None:
                raise Conflict(f"tenant {tenant.id} exists already")
            connection.execute(insert(TENANTS), _tenant_row(tenant) | {"added": version})

    def revoke_tenant(self, tenant_id: str, now_s: int) -> Tenant:
        """Mark a tenant revoked; raises Missing."""
        return _tenant(self._revoke(TENANTS, tenant_id, now_s, f"there is no tenant {tenant_id}"))

    def set_share(self, tenant_id: str, share: float) -> Tenant:
        """Give a tenant another share; raises Missing."""
        return self._set_of(tenant_id, share=share)

    def set_retention(self, tenant_id: str, retention: Retention) -> Tenant:
        """Give a tenant another retention; raises Missing."""
        return self._set_of(tenant_id, retention=str(retention))

    def add_key(self, key: ApiKey) -> None:
        """Remember a key; raises Conflict or Missing."""
        with self._change() as (connection, version):
            if _found(connection, TENANTS, key.tenant) is None:
                raise Missing(f"there is no tenant {key.tenant}")
            same = select(API_KEYS.c.id).where((API_KEYS.c.id == key.id) | (API_KEYS.c.mac == key.mac))
            if connection.execute(same).first() is not None:
                raise Conflict(f"key {key.id}, or its secret, exists already")
            connection.execute(insert(API_KEYS), _key_row(key) | {"added": version})

    def revoke_key(self, key_id: str, now_s: int) -> ApiKey:
        """Mark a key revoked; raises Missing."""
        return _key(self._revoke(API_KEYS, key_id, now_s, f"there is no key {key_id}"))

    def forget_keys(self, key_ids: tuple[str, ...]) -> int:
        """Remove these keys and return how many there were."""
        with self.database.transaction() as connection:
            raise_version(connection)
            gone = sum(connection.execute(delete(API_KEYS).where(API_KEYS.c.id == one)).rowcount for one in key_ids)
            if not gone:
                connection.rollback()
            return gone

    def version(self) -> int:
        """Return how often the store has changed."""
        with self.database.transaction() as connection:
            return int(connection.execute(select(ACCESS_VERSION.c.version)).scalar_one())

    def access(self) -> AccessSnapshot:
        """Return everything as of one moment, oldest first."""
        with self.database.moment() as connection:
            version = connection.execute(select(ACCESS_VERSION.c.version)).scalar_one()
            tenants = connection.execute(select(TENANTS).order_by(TENANTS.c.added)).all()
            keys = connection.execute(select(API_KEYS).order_by(API_KEYS.c.added)).all()
            limits = read_limits(connection)
        return AccessSnapshot(version, tuple(map(_tenant, tenants)), tuple(map(_key, keys)), limits)

    def _set_of(self, tenant_id: str, **values: Any) -> Tenant:
        with self._change() as (connection, _):
            connection.execute(update(TENANTS).where(TENANTS.c.id == tenant_id).values(**values))
            found = _found(connection, TENANTS, tenant_id)
            if found is None:
                raise Missing(f"there is no tenant {tenant_id}")
            return _tenant(found)

    def _revoke(self, table: Table, row_id: str, now_s: int, missing: str) -> Row[Any]:
        with self.database.transaction() as connection:
            raise_version(connection)
            first = update(table).where(table.c.id == row_id, table.c.revoked_s.is_(None)).values(revoked_s=now_s)
            changed = connection.execute(first).rowcount
            found = _found(connection, table, row_id)
            if not changed:
                connection.rollback()
        if found is None:
            raise Missing(missing)
        return found

    @contextmanager
    def _change(self) -> Iterator[tuple[Connection, int]]:
        with self.database.transaction() as connection:
            yield connection, raise_version(connection)


def _found(connection: Connection, table: Table, row_id: str) -> Row[Any] | None:
    return connection.execute(select(table).where(table.c.id == row_id)).first()


def _tenant_row(tenant: Tenant) -> dict[str, Any]:
    return {
        "id": tenant.id,
        "name": tenant.name,
        "created_s": tenant.created_s,
        "models": None if tenant.models is None else list(tenant.models),
        "revoked_s": tenant.revoked_s,
        "clearance": _plain(tenant.clearance),
        "marking": _plain(tenant.marking),
        "share": tenant.share,
        "retention": str(tenant.retention),
    }


def _tenant(row: Row[Any]) -> Tenant:
    return Tenant(
        id=row.id,
        name=row.name,
        created_s=row.created_s,
        models=_models(row.models),
        revoked_s=row.revoked_s,
        clearance=_label(row.clearance),
        marking=_label(row.marking),
        share=row.share,
        retention=read_retention(row.retention),
    )


def _key_row(key: ApiKey) -> dict[str, Any]:
    return {
        "id": key.id,
        "tenant": key.tenant,
        "name": key.name,
        "role": key.role.value,
        "hint": key.hint,
        "mac": key.mac,
        "created_s": key.created_s,
        "expires_s": key.expires_s,
        "revoked_s": key.revoked_s,
        "models": None if key.models is None else list(key.models),
        "clearance": _plain(key.clearance),
    }


def _key(row: Row[Any]) -> ApiKey:
    return ApiKey(
        id=row.id,
        tenant=row.tenant,
        name=row.name,
        role=Role(row.role),
        hint=row.hint,
        mac=row.mac,
        created_s=row.created_s,
        expires_s=row.expires_s,
        revoked_s=row.revoked_s,
        models=_models(row.models),
        clearance=_label(row.clearance),
    )


def _models(stored: list[str] | None) -> tuple[str, ...] | None:
    return None if stored is None else tuple(stored)


def _plain(label: Label | None) -> Any:
    return None if label is None else msgspec.to_builtins(label)


def _label(stored: Any) -> Label | None:
    return None if stored is None else msgspec.convert(stored, Label)
