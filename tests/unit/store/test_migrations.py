"""Databases of earlier versions, with rows in them, come to the schema of this one and lose nothing."""

import pytest
from sqlalchemy import inspect, text

from fastness.core.tenant import ApiKey, Role, Tenant
from fastness.store import migrate
from fastness.store.policies import SqlPolicyStore
from fastness.store.port import Unavailable
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
