"""Policies in SQL: every bundle that was in force, whole, so that any of them can be put in force again."""

from __future__ import annotations

from typing import Any, Final

import msgspec
from sqlalchemy import Connection, Row, func, insert, select, update

from fastness.core.policy import PolicyBundle, PolicySnapshot
from fastness.store.database import Database
from fastness.store.port import AppliedPolicy, Conflict, Missing, Unavailable
from fastness.store.schema import ACCESS_VERSION, POLICIES

_BUNDLE: Final = msgspec.json.Decoder(PolicyBundle)


class SqlPolicyStore:
    """The policy store on a SQL database, shared with the access store."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add_policy(self, snapshot: PolicySnapshot) -> None:
        """Put a policy in force; raises Conflict."""
        with self._database.transaction() as connection:
            # Writes what is there: it holds that one row until we commit, so that changes happen one after another.
            connection.execute(update(ACCESS_VERSION).values(version=ACCESS_VERSION.c.version))
            newest = _newest(connection)
            if snapshot.version != newest + 1:
                raise Conflict(f"policy {snapshot.version} does not follow policy {newest}")
            connection.execute(insert(POLICIES), _row(snapshot))

    def policy_version(self) -> int:
        """Return the newest version alone."""
        with self._database.transaction() as connection:
            return _newest(connection)

    def policy(self, version: int | None = None) -> PolicySnapshot:
        """Return a policy; raises Missing, and Unavailable for one that is damaged."""
        with self._database.moment() as connection:
            wanted = _newest(connection) if version is None else version
            found = connection.execute(select(POLICIES).where(POLICIES.c.version == wanted)).first()
        if found is None:
            raise Missing(f"there is no policy {wanted}")
        return _snapshot(found)

    def policy_history(self, count: int) -> tuple[AppliedPolicy, ...]:
        """Return the newest lines of the history."""
        columns = (POLICIES.c.version, POLICIES.c.digest, POLICIES.c.applied_s, POLICIES.c.applied_by)
        with self._database.transaction() as connection:
            found = connection.execute(select(*columns).order_by(POLICIES.c.version.desc()).limit(count)).all()
        return tuple(AppliedPolicy(*row) for row in found)


def _newest(connection: Connection) -> int:
    return int(connection.execute(select(func.coalesce(func.max(POLICIES.c.version), 0))).scalar_one())


def _row(snapshot: PolicySnapshot) -> dict[str, Any]:
    return {
        "version": snapshot.version,
        "digest": snapshot.bundle.digest,
        "bundle": msgspec.json.encode(snapshot.bundle).decode(),
        "applied_s": snapshot.applied_s,
        "applied_by": snapshot.applied_by,
    }


def _snapshot(row: Row[Any]) -> PolicySnapshot:
    try:
        bundle = _BUNDLE.decode(row.bundle)
    except msgspec.MsgspecError as error:
        raise Unavailable(f"policy {row.version} in the store is damaged: {error}") from error
    return PolicySnapshot(row.version, bundle, row.applied_s, row.applied_by)
