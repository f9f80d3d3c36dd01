"""Bring a database to the schema of this code, or refuse one that is already beyond it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

from sqlalchemy import Connection, inspect, text

from fastness.store.schema import SCHEMA_REVISION

if TYPE_CHECKING:
    from alembic.config import Config

MIGRATIONS: Final = Path(__file__).parent / "migrations"


class NewerDatabase(Exception):  # noqa: N818 - an outcome
    """The database was written by a newer Fastness; the message says by which schema."""


def upgrade(connection: Connection, revision: str = "head") -> None:
    """Run what migrations are missing, inside the caller's transaction; raises NewerDatabase.

    Nothing is half done: the schema changes with the caller's commit, or not at all.
    """
    present = current_revision(connection)
    if present == SCHEMA_REVISION and revision == "head":
        return
    # Alembic costs a quarter of a second: only a new or an old database pays for it.
    from alembic import command
    from alembic.script import ScriptDirectory

    config = alembic_config(connection)
    known = {script.revision for script in ScriptDirectory.from_config(config).walk_revisions()}
    if present is not None and present not in known:
        raise NewerDatabase(
            f"the database has schema {present}, and this Fastness knows schemas up to {SCHEMA_REVISION}. "
            "Run the version that wrote it, or restore a backup from before the upgrade."
        )
    command.upgrade(config, revision)


def downgrade(connection: Connection, revision: str) -> None:
    """Undo migrations down to `revision` (`base`: all), inside the caller's transaction; what they held is lost."""
    from alembic import command

    command.downgrade(alembic_config(connection), revision)


def current_revision(connection: Connection) -> str | None:
    """Return the schema a database has, None when it is empty."""
    if not inspect(connection).has_table("alembic_version"):
        return None
    found: str | None = connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
    return found


def alembic_config(connection: Connection) -> Config:
    """Return what Alembic needs: where the scripts are, and the connection to run them on."""
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    return config
