"""Tenants and keys in SQL: SQLite by default, PostgreSQL by its URL; nothing here is one database's own.

Each change first raises the version, and so holds that one row until it commits: changes of any number of threads and
processes happen one after another, and a version is never given twice.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from sqlalchemy import (
    URL,
    Connection,
    Engine,
    Row,
    Table,
    create_engine,
    delete,
    event,
    insert,
    make_url,
    select,
    update,
)
from sqlalchemy.exc import SQLAlchemyError

from fastness.core.tenant import AccessSnapshot, ApiKey, Role, Tenant
from fastness.store import migrate
from fastness.store.port import Conflict, Missing, Unavailable
from fastness.store.schema import ACCESS_VERSION, API_KEYS, TENANTS

BUSY_TIMEOUT_MS: Final = 5_000
"""How long a change waits for another process's change (SQLite) before the store counts as unavailable."""
_PRAGMAS: Final = (
    f"PRAGMA busy_timeout = {BUSY_TIMEOUT_MS}",
    "PRAGMA journal_mode = WAL",
    "PRAGMA synchronous = FULL",
    "PRAGMA foreign_keys = ON",
)


def sqlite_url(path: Path) -> str:
    """Return the URL of a SQLite file."""
    return URL.create("sqlite", database=str(path)).render_as_string()


class SqlStore:
    """The access store on a SQL database; open it with `SqlStore.open`."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        # A SQLite transaction sees one moment anyway; PostgreSQL's does so only when asked.
        self._one_moment = {} if engine.dialect.name == "sqlite" else {"isolation_level": "SERIALIZABLE"}

    @classmethod
    def open(cls, url: str) -> SqlStore:
        """Connect, bring the schema up to date and return the store.

        Raises Unavailable when the database cannot be used, and migrate.NewerDatabase when a newer Fastness wrote it.
        """
        store = cls(_engine(url))
        try:
            with store._transaction(immediate=True) as connection:
                migrate.upgrade(connection)
        except BaseException:
            store.close()
            raise
        return store

    def close(self) -> None:
        """Close every connection."""
        self._engine.dispose()

    def add_tenant(self, tenant: Tenant) -> None:
        """Remember a tenant; raises Conflict."""
        with self._change() as (connection, version):
            if _found(connection, TENANTS, tenant.id) is not None:
                raise Conflict(f"tenant {tenant.id} exists already")
            connection.execute(insert(TENANTS), _tenant_row(tenant) | {"added": version})

    def revoke_tenant(self, tenant_id: str, now_s: int) -> Tenant:
        """Mark a tenant revoked; raises Missing."""
        return _tenant(self._revoke(TENANTS, tenant_id, now_s, f"there is no tenant {tenant_id}"))

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
        with self._transaction() as connection:
            _raise_version(connection)
            gone = sum(connection.execute(delete(API_KEYS).where(API_KEYS.c.id == one)).rowcount for one in key_ids)
            if not gone:
                connection.rollback()
            return gone

    def version(self) -> int:
        """Return how often the store has changed."""
        with self._transaction() as connection:
            return int(connection.execute(select(ACCESS_VERSION.c.version)).scalar_one())

    def access(self) -> AccessSnapshot:
        """Return everything as of one moment, oldest first."""
        with self._transaction(**self._one_moment) as connection:
            version = connection.execute(select(ACCESS_VERSION.c.version)).scalar_one()
            tenants = connection.execute(select(TENANTS).order_by(TENANTS.c.added)).all()
            keys = connection.execute(select(API_KEYS).order_by(API_KEYS.c.added)).all()
        return AccessSnapshot(version, tuple(map(_tenant, tenants)), tuple(map(_key, keys)))

    def _revoke(self, table: Table, row_id: str, now_s: int, missing: str) -> Row[Any]:
        with self._transaction() as connection:
            _raise_version(connection)
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
        with self._transaction() as connection:
            yield connection, _raise_version(connection)

    @contextmanager
    def _transaction(self, **options: Any) -> Iterator[Connection]:
        """Commit when the block ends, roll back when it raises; what the database raises becomes Unavailable."""
        try:
            with self._engine.connect().execution_options(**options) as connection, connection.begin():
                yield connection
        except SQLAlchemyError as error:
            cause = getattr(error, "orig", None) or error
            raise Unavailable(f"the store {self._engine.url} cannot be used: {cause}") from error


def _engine(url: str) -> Engine:
    engine = create_engine(url)
    if engine.dialect.name == "sqlite":
        _keep_to_ourselves(make_url(url).database)
        event.listen(engine, "connect", _prepare_sqlite)
        event.listen(engine, "begin", _begin_sqlite)
    return engine


def _keep_to_ourselves(path: str | None) -> None:
    """Create a SQLite file closed to others; its journal takes over the mode."""
    if path:
        try:
            os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        except OSError as error:
            raise Unavailable(f"the store {path} cannot be opened: {error.strerror}") from error


def _prepare_sqlite(connection: Any, _record: object) -> None:
    # Python's driver would begin transactions of its own, late and not before a SELECT: we say BEGIN ourselves.
    connection.isolation_level = None
    for pragma in _PRAGMAS:
        connection.execute(pragma).close()


def _begin_sqlite(connection: Connection) -> None:
    immediate = connection.get_execution_options().get("immediate", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if immediate else "BEGIN")


def _raise_version(connection: Connection) -> int:
    connection.execute(update(ACCESS_VERSION).values(version=ACCESS_VERSION.c.version + 1))
    return int(connection.execute(select(ACCESS_VERSION.c.version)).scalar_one())


def _found(connection: Connection, table: Table, row_id: str) -> Row[Any] | None:
    return connection.execute(select(table).where(table.c.id == row_id)).first()


def _tenant_row(tenant: Tenant) -> dict[str, Any]:
    return {
        "id": tenant.id,
        "name": tenant.name,
        "created_s": tenant.created_s,
        "models": None if tenant.models is None else list(tenant.models),
        "revoked_s": tenant.revoked_s,
    }


def _tenant(row: Row[Any]) -> Tenant:
    return Tenant(row.id, row.name, row.created_s, _models(row.models), row.revoked_s)


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
    )


def _models(stored: list[str] | None) -> tuple[str, ...] | None:
    return None if stored is None else tuple(stored)
