"""The store in PostgreSQL: durable whatever the server says, patient for seconds only, back when the server is back."""

import sys
import threading
import time
from pathlib import Path

import pytest
from sqlalchemy import text

from fastness.core.tenant import Tenant
from fastness.store import database
from fastness.store.database import store_url
from fastness.store.port import Unavailable
from fastness.store.sql import SqlStore
from postgresql_server import PASSWORD, plain, running_server


def test_without_the_setting_the_store_is_sqlite_in_the_home():
    assert store_url("", Path("/srv/fastness")) == "sqlite:////srv/fastness/fastness.db"
    assert store_url("postgresql:///x?host=/run", Path("/srv/fastness")) == "postgresql:///x?host=/run"


def test_every_connection_is_durable_and_waits_for_seconds_only(postgresql):
    store = SqlStore.open(postgresql.ready())
    with store.database.transaction() as connection:
        names = ("synchronous_commit", "lock_timeout", "statement_timeout", "application_name")
        found = {name: connection.execute(text(f"SHOW {name}")).scalar() for name in names}
    store.close()
    assert found == {
        "synchronous_commit": "on",
        "lock_timeout": "5s",
        "statement_timeout": "20s",
        "application_name": "fastness",
    }


def test_a_store_locked_for_too_long_is_unavailable_and_nothing_changed(postgresql, monkeypatch):
    monkeypatch.setitem(database._POSTGRESQL, "options", "-c lock_timeout=20")
    url = postgresql.ready()
    store = SqlStore.open(url)
    with plain(url) as engine, engine.connect() as other:
        other.execute(text("SELECT * FROM access_version FOR UPDATE"))
        with pytest.raises(Unavailable, match="lock timeout"):
            store.add_tenant(Tenant("health", "Health", 1))
        other.rollback()
    assert store.version() == 0
    store.close()


def test_what_is_read_is_of_one_moment_while_others_write(postgresql):
    store = SqlStore.open(postgresql.ready())
    with store.database.moment() as connection:
        before = connection.execute(text("SELECT version FROM access_version")).scalar()
        writer = threading.Thread(target=store.add_tenant, args=(Tenant("health", "Health", 1),))
        writer.start()
        writer.join()
        assert connection.execute(text("SELECT count(*) FROM tenants")).scalar() == before == 0
    assert store.version() == 1
    store.close()


def test_while_the_server_is_away_the_store_is_unavailable_and_then_it_is_there_again():
    with running_server() as server:
        url = server.new()
        store = SqlStore.open(url)
        store.add_tenant(Tenant("health", "Health", 1))
        server.kill()
        for _ in range(2):
            began_s = time.monotonic()
            with pytest.raises(Unavailable) as caught:
                store.add_tenant(Tenant("tax", "Tax", 2))
            assert time.monotonic() - began_s < 5
            assert str(caught.value).startswith(f"the store {url} cannot be used: ")
            assert "\n" not in str(caught.value)
            assert PASSWORD not in str(caught.value)
        server.start()
        store.add_tenant(Tenant("tax", "Tax", 2))
        assert [one.id for one in store.access().tenants] == ["health", "tax"]
        assert store.version() == 2
        store.close()


def test_a_wrong_password_is_unavailable_and_is_not_repeated(postgresql, tmp_path):
    wrong = tmp_path / "passfile"
    wrong.write_text("*:*:*:*:quite-another\n")
    wrong.chmod(0o600)
    with pytest.raises(Unavailable, match="password authentication failed") as caught:
        SqlStore.open(postgresql.url("postgres", wrong))
    assert "quite-another" not in str(caught.value)


def test_a_database_that_would_lose_letters_is_refused(postgresql):
    with pytest.raises(Unavailable, match="encoding UTF8, and this one has LATIN1"):
        SqlStore.open(postgresql.new("TEMPLATE template0 ENCODING 'LATIN1'"))


def test_the_row_that_was_refused_is_not_quoted(postgresql):
    store = SqlStore.open(postgresql.ready())
    rows = "INSERT INTO tenants (id, name, created_s, added) VALUES ('a', 'quoted', 1, 1), ('a', 'quoted', 1, 1)"
    with pytest.raises(Unavailable, match="unique constraint") as caught, store.database.transaction() as connection:
        connection.execute(text(rows))
    assert "quoted" not in str(caught.value)
    assert "DETAIL" not in str(caught.value)
    store.close()


def test_without_psycopg_it_is_said_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(Unavailable, match=r"pip install --require-hashes -r requirements/postgresql\.txt"):
        SqlStore.open("postgresql://fastness@/fastness?host=/nowhere")
