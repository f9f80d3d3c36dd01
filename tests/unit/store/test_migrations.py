"""Databases of earlier versions, with rows in them, come to the schema of this one and lose nothing."""

from collections.abc import Callable

import pytest
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, inspect, text

from fastness.core.tenant import ApiKey, Role, Tenant
from fastness.store import migrate
from fastness.store.policies import SqlPolicyStore
from fastness.store.port import Unavailable
from fastness.store.schema import SCHEMA_REVISION
from fastness.store.sql import SqlStore
from postgresql_server import plain


@pytest.fixture
def url(new_url):
    """A database as schema 0001 left it, with a tenant and a key."""
    with plain(new_url) as engine, engine.begin() as connection:
        migrate.upgrade(connection, "0001")
        connection.execute(text("INSERT INTO tenants VALUES ('health', 'Health', 5, '[\"small\"]', NULL, 1)"))
        connection.execute(
            text("INSERT INTO api_keys VALUES ('key_1', 'health', 'ci', 'admin', 'fst_x', 'aa', 6, NULL, 7, NULL, 2)")
        )
        connection.execute(text("UPDATE access_version SET version = 2"))
    return new_url


def test_tenants_and_keys_of_the_first_schema_are_kept_and_cleared_for_nothing_special(url):
    store = SqlStore.open(url)
    found = store.access()
    store.close()
    assert found.version == 2
    assert found.tenants == (Tenant("health", "Health", 5, ("small",)),)
    assert found.keys == (ApiKey("key_1", "health", "ci", Role.ADMIN, "fst_x", "aa", 6, None, 7),)


def test_a_migrated_database_has_no_policy_yet(url):
    store = SqlStore.open(url)
    assert SqlPolicyStore(store.database).policy_version() == 0
    store.close()


def test_going_back_to_the_first_schema_keeps_what_it_knew(url):
    SqlStore.open(url).close()
    with plain(url) as engine, engine.begin() as connection:
        migrate.downgrade(connection, "0001")
        assert "policies" not in inspect(connection).get_table_names()
        assert connection.execute(text("SELECT id, name FROM tenants")).all() == [("health", "Health")]
        assert connection.execute(text("SELECT count(*) FROM api_keys")).scalar() == 1


def test_a_share_is_lost_on_the_way_back_and_is_1_again_on_the_way_forth(url):
    store = SqlStore.open(url)
    assert store.set_share("health", 4.0).share == 4.0
    store.close()
    with plain(url) as engine, engine.begin() as connection:
        migrate.downgrade(connection, "0003")
        assert "share" not in {column["name"] for column in inspect(connection).get_columns("tenants")}
    store = SqlStore.open(url)
    assert store.access().tenants == (Tenant("health", "Health", 5, ("small",)),)
    store.close()


def test_a_damaged_policy_is_unavailable_and_is_not_guessed_at(url):
    store = SqlStore.open(url)
    with store.database.transaction() as connection:
        connection.execute(text("INSERT INTO policies VALUES (1, 'd', '{\"digest\": 5}', 1, 'local')"))
    with pytest.raises(Unavailable, match="policy 1 in the store is damaged"):
        SqlPolicyStore(store.database).policy()
    store.close()


def test_every_migration_goes_up_and_down_and_up_again_and_leaves_what_was_there_before(new_url):
    def shape(connection: Connection) -> dict[str, set[str]]:
        seen = inspect(connection)
        return {name: {column["name"] for column in seen.get_columns(name)} for name in seen.get_table_names()}

    def step(change: Callable[[Connection, str], None], revision: str) -> dict[str, set[str]]:
        with engine.begin() as connection:
            change(connection, revision)
            return shape(connection)

    with plain(new_url) as engine:
        with engine.connect() as connection:
            scripts = ScriptDirectory.from_config(migrate.alembic_config(connection))
        revisions = [one.revision for one in scripts.walk_revisions()][::-1]
        assert revisions[-1] == SCHEMA_REVISION
        shapes = [step(migrate.upgrade, one) for one in revisions]
        for at in range(len(revisions) - 2, -1, -1):
            assert step(migrate.downgrade, revisions[at]) == shapes[at]
        assert set(step(migrate.downgrade, "base")) == {"alembic_version"}
        assert step(migrate.upgrade, "head") == shapes[-1]
    SqlStore.open(new_url).close()
