"""One SQL database as the stores share it: SQLite by default, PostgreSQL by its URL."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url
from sqlalchemy.exc import SQLAlchemyError

from fastness.store import migrate
from fastness.store.port import Unavailable

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


class Database:
    """A database whose schema is up to date; open it with `Database.open`. May be used from several threads."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        # A SQLite transaction sees one moment anyway; PostgreSQL's does so only when asked.
        self._one_moment = {} if engine.dialect.name == "sqlite" else {"isolation_level": "SERIALIZABLE"}

    @classmethod
    def open(cls, url: str) -> Database:
        """Connect and bring the schema up to date.

        Raises Unavailable when the database cannot be used, and migrate.NewerDatabase when a newer Fastness wrote it.
        """
        database = cls(_engine(url))
        try:
            with database.transaction(immediate=True) as connection:
                migrate.upgrade(connection)
        except BaseException:
            database.close()
            raise
        return database

    def close(self) -> None:
        """Close every connection; closing twice is harmless."""
        self.engine.dispose()

    @contextmanager
    def transaction(self, **options: Any) -> Iterator[Connection]:
        """Commit when the block ends, roll back when it raises; what the database raises becomes Unavailable."""
        try:
            with self.engine.connect().execution_options(**options) as connection, connection.begin():
                yield connection
        except SQLAlchemyError as error:
            cause = getattr(error, "orig", None) or error
            raise Unavailable(f"the store {self.engine.url} cannot be used: {cause}") from error

    @contextmanager
    def moment(self) -> Iterator[Connection]:
        """Like `transaction`, and all that is read in it is of one moment."""
        with self.transaction(**self._one_moment) as connection:
            yield connection


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
