"""One SQL database as the stores share it: SQLite by default, PostgreSQL by its URL.

SQLite lets one change happen at a time. In PostgreSQL every change first writes the one row of `access_version`, and
so waits for the changes before it; no transaction has to be tried again.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final
from urllib.parse import unquote

from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url, text
from sqlalchemy.exc import SQLAlchemyError

from fastness.store import migrate
from fastness.store.port import Unavailable

BUSY_TIMEOUT_MS: Final = 5_000
"""How long a change waits for another process's change before the store counts as unavailable."""
CONNECT_TIMEOUT_S: Final = 5
MIGRATION_LOCK: Final = 0x666F7274
"""PostgreSQL's advisory lock that a process holds while it brings the schema up to date: any number that is ours."""
_PRAGMAS: Final = (
    f"PRAGMA busy_timeout = {BUSY_TIMEOUT_MS}",
    "PRAGMA journal_mode = WAL",
    "PRAGMA synchronous = FULL",
    "PRAGMA foreign_keys = ON",
)
_POSTGRESQL: Final = {
    "connect_timeout": CONNECT_TIMEOUT_S,
    "application_name": "fastness",
    # Durable whatever the server is set to; and a change that is stuck ends, as it does in SQLite.
    "options": f"-c synchronous_commit=on -c lock_timeout={BUSY_TIMEOUT_MS} -c statement_timeout={4 * BUSY_TIMEOUT_MS}",
}


def sqlite_url(path: Path) -> str:
    """Return the URL of a SQLite file."""
    return URL.create("sqlite", database=str(path)).render_as_string()


def store_url(setting: str, home: Path) -> str:
    """Return the URL of the store: `store.url`, or SQLite in the home where that is empty."""
    return setting or sqlite_url(home / "fastness.db")


class Database:
    """A database whose schema is up to date; open it with `Database.open`. May be used from several threads."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        # A SQLite transaction sees one moment anyway; PostgreSQL's does so only when asked.
        self._one_moment = {} if engine.dialect.name == "sqlite" else {"isolation_level": "REPEATABLE READ"}

    @classmethod
    def open(cls, url: str) -> Database:
        """Connect and bring the schema up to date.

        Raises Unavailable when the database cannot be used, and migrate.NewerDatabase when a newer Fastness wrote it.
        """
        database = cls(_engine(url))
        try:
            with database.transaction(immediate=True) as connection:
                if database.engine.dialect.name == "postgresql":
                    _prepare_postgresql(connection)
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
            # What follows the first line may quote rows and statements.
            said = str(cause).partition("\n")[0]
            raise Unavailable(f"the store {_name(self.engine.url)} cannot be used: {said}") from error

    @contextmanager
    def moment(self) -> Iterator[Connection]:
        """Like `transaction`, and all that is read in it is of one moment."""
        with self.transaction(**self._one_moment) as connection:
            yield connection


def _engine(url: str) -> Engine:
    if make_url(url).get_backend_name() == "postgresql":
        return _postgresql(url)
    engine = create_engine(url)
    if engine.dialect.name == "sqlite":
        _keep_to_ourselves(make_url(url).database)
        event.listen(engine, "connect", _prepare_sqlite)
        event.listen(engine, "begin", _begin_sqlite)
    return engine


def _name(url: URL) -> str:
    """Return the URL as an operator would write it; a password in it is shown as ***."""
    return unquote(url.set(drivername=url.get_backend_name()).render_as_string())


def _postgresql(url: str) -> Engine:
    try:
        # Each use first asks whether its connection still lives, so that a restart of the server fails nothing later.
        return create_engine(
            make_url(url).set(drivername="postgresql+psycopg"), connect_args=_POSTGRESQL, pool_pre_ping=True
        )
    except ImportError as error:
        raise Unavailable(
            f"the store {_name(make_url(url))} cannot be used: Python has no psycopg. Install what was locked for it: "
            "pip install --require-hashes -r requirements/postgresql.txt"
        ) from error


def _prepare_postgresql(connection: Connection) -> None:
    """Hold others off while the schema is brought up to date, and refuse a database that would lose letters."""
    connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": MIGRATION_LOCK})
    encoding = connection.execute(text("SHOW server_encoding")).scalar()
    if encoding != "UTF8":
        raise Unavailable(f"the store needs a database of encoding UTF8, and this one has {encoding}")


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
