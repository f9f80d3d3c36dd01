"""What every access store does, whatever it keeps its rows in."""

import threading
from dataclasses import replace

import pytest

from fastness.core.marking import Label
from fastness.core.retention import Keep, Retention
from fastness.core.tenant import AccessSnapshot, ApiKey, Role, Tenant
from fastness.store.memory import MemoryStore
from fastness.store.port import AccessStore, Conflict, Missing
from fastness.store.sql import SqlStore

SECRET = Label("SECRET", ("EYES ONLY", "LIMITED"))
HEALTH = Tenant("health", "Department of Health", 1_700_000_000, models=("small", "large"))
TAX = Tenant("tax", "Tax office", 1_700_000_000)


def key(number: int, tenant: str = "health", **fields) -> ApiKey:
    return ApiKey(
        f"key_{number}", tenant, "ci", Role.DEVELOPER, f"fst_{number:06}", f"{number:064x}", 1_700_000_000, **fields
    )


@pytest.fixture(params=["memory", "sqlite", "postgresql"])
def store(request, url_in):
    opened = MemoryStore() if request.param == "memory" else SqlStore.open(url_in(request.param))
    yield opened
    opened.close()


def test_a_new_store_is_empty_at_version_0(store: AccessStore):
    assert store.access() == AccessSnapshot(0, (), ())
    assert store.version() == 0


def test_what_was_added_comes_back_as_it_was(store: AccessStore):
    full = replace(
        key(1),
        role=Role.APPROVER,
        expires_s=1_800_000_000,
        revoked_s=1_750_000_000,
        models=("small",),
        clearance=Label("OFFICIAL"),
    )
    health = replace(HEALTH, clearance=SECRET, marking=Label("OFFICIAL"), share=0.001)
    store.add_tenant(health)
    store.add_tenant(TAX)
    store.add_key(full)
    store.add_key(key(2, "tax"))
    assert store.access() == AccessSnapshot(4, (health, TAX), (full, key(2, "tax")))


def test_every_list_is_oldest_first_also_within_one_second(store: AccessStore):
    for name in ("zulu", "alpha", "mike"):
        store.add_tenant(Tenant(name, name, 5))
    for number in (9, 1, 5):
        store.add_key(key(number, "mike"))
    found = store.access()
    assert [tenant.id for tenant in found.tenants] == ["zulu", "alpha", "mike"]
    assert [item.id for item in found.keys] == ["key_9", "key_1", "key_5"]


def test_no_models_is_not_the_same_as_every_model(store: AccessStore):
    store.add_tenant(Tenant("none", "None", 1, models=()))
    store.add_tenant(Tenant("all", "All", 1, models=None))
    assert [tenant.models for tenant in store.access().tenants] == [(), None]


def test_a_taken_tenant_id_is_a_conflict_and_changes_nothing(store: AccessStore):
    store.add_tenant(HEALTH)
    with pytest.raises(Conflict, match="health"):
        store.add_tenant(Tenant("health", "Another", 2))
    assert store.access() == AccessSnapshot(1, (HEALTH,), ())


@pytest.mark.parametrize("same", ["id", "mac"])
def test_a_taken_key_id_or_mac_is_a_conflict_and_changes_nothing(store: AccessStore, same):
    store.add_tenant(HEALTH)
    store.add_key(key(1))
    with pytest.raises(Conflict):
        store.add_key(replace(key(2), **{same: getattr(key(1), same)}))
    assert store.access() == AccessSnapshot(2, (HEALTH,), (key(1),))


def test_a_key_needs_its_tenant(store: AccessStore):
    with pytest.raises(Missing, match="nowhere"):
        store.add_key(key(1, "nowhere"))
    assert store.version() == 0


def test_a_revoked_key_keeps_the_first_time(store: AccessStore):
    store.add_tenant(HEALTH)
    store.add_key(key(1))
    assert store.revoke_key("key_1", 50).revoked_s == 50
    assert store.version() == 3
    assert store.revoke_key("key_1", 99).revoked_s == 50
    assert store.access() == AccessSnapshot(3, (HEALTH,), (key(1, revoked_s=50),))


def test_a_retention_is_changed_and_everything_else_stays(store: AccessStore):
    store.add_tenant(HEALTH)
    store.add_tenant(TAX)
    for retention in (Retention(Keep.SEALED, 30), Retention(Keep.HOLD), Retention()):
        assert store.set_retention("tax", retention) == replace(TAX, retention=retention)
        assert store.access().tenants == (HEALTH, replace(TAX, retention=retention))
    with pytest.raises(Missing):
        store.set_retention("nobody", Retention(Keep.HOLD))


def test_a_share_is_changed_and_everything_else_stays(store: AccessStore):
    store.add_tenant(HEALTH)
    store.add_tenant(TAX)
    assert store.set_share("tax", 1_000_000.0) == replace(TAX, share=1_000_000.0)
    assert store.access() == AccessSnapshot(3, (HEALTH, replace(TAX, share=1_000_000.0)), ())
    with pytest.raises(Missing, match="tenant nobody"):
        store.set_share("nobody", 2.0)
    assert store.version() == 3


def test_a_revoked_tenant_keeps_the_first_time(store: AccessStore):
    store.add_tenant(TAX)
    assert store.revoke_tenant("tax", 50).revoked_s == 50
    assert store.revoke_tenant("tax", 99).revoked_s == 50
    assert store.access() == AccessSnapshot(2, (Tenant("tax", "Tax office", 1_700_000_000, revoked_s=50),), ())


def test_revoking_what_is_not_there_is_missing(store: AccessStore):
    with pytest.raises(Missing, match="tenant nobody"):
        store.revoke_tenant("nobody", 1)
    with pytest.raises(Missing, match="key key_404"):
        store.revoke_key("key_404", 1)
    assert store.version() == 0


def test_forgotten_keys_are_gone_and_others_stay(store: AccessStore):
    store.add_tenant(HEALTH)
    for number in (1, 2, 3):
        store.add_key(key(number))
    assert store.forget_keys(("key_1", "key_3", "key_404")) == 2
    assert store.access() == AccessSnapshot(5, (HEALTH,), (key(2),))
    assert store.forget_keys(("key_404",)) == 0
    assert store.forget_keys(()) == 0
    assert store.version() == 5


def test_names_are_text_and_never_sql(store: AccessStore):
    nasty = Tenant("x", "Robert'); DROP TABLE tenants;-- \u00e9\U0001f600", 1)
    store.add_tenant(nasty)
    assert store.access().tenants == (nasty,)
    with pytest.raises(Missing):
        store.revoke_key("' OR 1=1 --", 1)


def test_changes_from_many_threads_are_all_kept_and_all_counted(store: AccessStore):
    store.add_tenant(HEALTH)
    start, torn = threading.Barrier(5), []

    def write(first: int) -> None:
        start.wait()
        for number in range(first, first + 10):
            store.add_key(key(number))

    def read() -> None:
        start.wait()
        for _ in range(20):
            seen = store.access()
            if seen.version != len(seen.tenants) + len(seen.keys):
                torn.append(seen)

    threads = [threading.Thread(target=write, args=(first,)) for first in (100, 200, 300, 400)]
    threads.append(threading.Thread(target=read))
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert store.version() == 41
    assert len(store.access().keys) == 40
    assert torn == [], "every read is of one moment"


def test_closing_twice_is_harmless(store: AccessStore):
    store.close()
    store.close()
