"""The SQL store: what it survives, what it refuses, and how its schema comes about."""

import subprocess
import sys

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import create_engine, inspect, text

from fastness.core.tenant import ApiKey, Role, Tenant
from fastness.store import migrate
from fastness.store.database import sqlite_url
from fastness.store.port import Unavailable
from fastness.store.schema import METADATA, SCHEMA_REVISION
from fastness.store.sql import SqlStore

WRITER = """
import sys
from fastness.core.tenant import ApiKey, Role, Tenant
from fastness.store.sql import SqlStore
url, first = sys.argv[1], int(sys.argv[2])
store = SqlStore.open(url)
print("open", flush=True)
sys.stdin.readline()
for number in range(first, first + 40):
    store.add_key(ApiKey(f"key_{number}", "health", "ci", Role.DEVELOPER, "fst_", f"{number:064x}", 1))
store.close()
"""


@pytest.fixture
def url(tmp_path):
    return sqlite_url(tmp_path / "fastness.db")


@pytest.fixture
def engine(url):
    """A database without our pragmas and events, as any other tool would open it."""
    plain = create_engine(url)
    yield plain
    plain.dispose()


def test_what_was_committed_is_there_when_opened_again(url):
    store = SqlStore.open(url)
    store.add_tenant(Tenant("health", "Health", 1))
    before = store.access()
    store.close()
    again = SqlStore.open(url)
    assert again.access() == before
    again.close()


def test_the_database_is_closed_to_other_users(url, tmp_path):
    store = SqlStore.open(url)
    store.add_tenant(Tenant("health", "Health", 1))
    modes = {file.name: file.stat().st_mode & 0o777 for file in tmp_path.iterdir()}
    assert "fastness.db-wal" in modes
    assert set(modes.values()) == {0o600}
    store.close()


def test_every_connection_is_durable_and_checks_its_references(url):
    store = SqlStore.open(url)
    with store.database.engine.connect() as connection:
        pragmas = {
            name: connection.execute(text(f"PRAGMA {name}")).scalar()
            for name in ("journal_mode", "synchronous", "foreign_keys", "busy_timeout")
        }
    store.close()
    assert pragmas == {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1, "busy_timeout": 5_000}


@pytest.mark.slow
def test_two_processes_on_one_database_lose_no_change_and_no_version(new_url):
    """Both open an empty database at once, so the migration meets itself too."""
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", WRITER, new_url, str(first)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for first in ("1000", "2000")
    ]
    assert [writer.stdout.readline() for writer in writers] == ["open\n", "open\n"]
    store = SqlStore.open(new_url)
    store.add_tenant(Tenant("health", "Health", 1))
    for writer in writers:
        writer.stdin.write("go\n")
        writer.stdin.flush()
    for writer in writers:
        writer.communicate(timeout=60)
    found = store.access()
    store.close()
    assert [writer.returncode for writer in writers] == [0, 0]
    assert len(found.keys) == 80
    assert found.version == 81


def test_a_store_locked_for_too_long_is_unavailable_and_nothing_changed(url, engine, monkeypatch):
    monkeypatch.setattr("fastness.store.database._PRAGMAS", ("PRAGMA busy_timeout = 20", "PRAGMA foreign_keys = ON"))
    store = SqlStore.open(url)
    with engine.connect() as other:
        other.exec_driver_sql("BEGIN IMMEDIATE")
        with pytest.raises(Unavailable, match="locked"):
            store.add_tenant(Tenant("health", "Health", 1))
        other.rollback()
    assert store.version() == 0
    store.close()


def test_a_file_that_is_no_database_is_unavailable(url, tmp_path):
    (tmp_path / "fastness.db").write_text("this is a letter, not a database, and it is long enough to be read as one")
    with pytest.raises(Unavailable, match="not a database"):
        SqlStore.open(url)


def test_a_directory_that_is_not_there_is_unavailable(tmp_path):
    with pytest.raises(Unavailable, match="No such file or directory"):
        SqlStore.open(sqlite_url(tmp_path / "nowhere" / "fastness.db"))


def test_the_database_itself_refuses_a_key_without_a_tenant(url):
    store = SqlStore.open(url)
    with pytest.raises(Unavailable, match="FOREIGN KEY"), store.database.transaction() as connection:
        connection.execute(
            METADATA.tables["api_keys"].insert(),
            {
                "id": "k",
                "tenant": "nowhere",
                "name": "n",
                "role": "admin",
                "hint": "",
                "mac": "m",
                "created_s": 1,
                "added": 1,
            },
        )
    store.close()


def test_the_newest_migration_is_the_one_that_the_code_names(engine):
    with engine.connect() as connection:
        scripts = ScriptDirectory.from_config(migrate.alembic_config(connection))
    assert scripts.get_heads() == [SCHEMA_REVISION]


def test_the_migrations_make_exactly_the_tables_that_the_code_expects(url, engine):
    SqlStore.open(url).close()
    with engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), METADATA) == []


def test_the_migrations_go_up_and_down_and_up_again(engine):
    with engine.begin() as connection:
        assert migrate.current_revision(connection) is None
        migrate.upgrade(connection)
        assert migrate.current_revision(connection) == SCHEMA_REVISION
        migrate.downgrade(connection, "base")
        assert inspect(connection).get_table_names() == ["alembic_version"]
        migrate.upgrade(connection)
        assert connection.execute(text("SELECT version FROM access_version")).scalar() == 0


def test_a_migration_that_fails_leaves_no_trace(url, engine):
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE api_keys (stranger INTEGER)"))
    with pytest.raises(Unavailable, match="already exists"):
        SqlStore.open(url)
    with engine.connect() as connection:
        assert inspect(connection).get_table_names() == ["api_keys"]


def test_a_database_of_a_newer_fastness_is_refused_and_left_alone(url, engine):
    SqlStore.open(url).close()
    with engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(migrate.NewerDatabase, match=f"schema 9999.*up to {SCHEMA_REVISION}.*backup"):
        SqlStore.open(url)
    with engine.connect() as connection:
        assert migrate.current_revision(connection) == "9999"


def test_an_up_to_date_database_opens_without_loading_alembic(url):
    SqlStore.open(url).close()
    program = "import sys; from fastness.store.sql import SqlStore; SqlStore.open(sys.argv[1]).close(); "
    program += "sys.exit('alembic' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program, url], check=False).returncode == 0


def test_roles_and_times_survive_the_round_trip(url):
    store = SqlStore.open(url)
    store.add_tenant(Tenant("health", "Health", 1))
    key = ApiKey("key_1", "health", "ops", Role.ADMIN, "fst_admin_abc", "0" * 64, 2**40, 2**41)
    store.add_key(key)
    found = store.access().keys[0]
    store.close()
    assert found == key
    assert found.role is Role.ADMIN
