"""Commands on tenants and keys: what is remembered, recorded and published, and in which order."""

import threading

import pytest

from fastness.control import access as access_module
from fastness.control.access import EPHEMERAL_TTL_S
from fastness.control.problem import Problem
from fastness.control.publication import publish
from fastness.control.validation import ENDED_KEPT_S, SHORT_ENDED_KEPT_S, KeyWish, TenantWish
from fastness.core.error import Refusal
from fastness.core.tenant import AccessSnapshot, Role, Tenant
from fastness.identity import keys
from fastness.identity.authenticator import Authenticator
from fastness.ledger.port import LedgerUnavailable
from fastness.store.database import sqlite_url
from fastness.store.port import Conflict, Missing
from fastness.store.snapshot_file import SnapshotReader
from fastness.store.sql import SqlStore


@pytest.fixture
def health(world):
    """A world that has the tenant `health`."""
    world.run(world.access.create_tenant(TenantWish("health", "Health")))
    return world


def enter(world, text):
    """Present a key to a gateway that has read what is published."""
    gateway = Authenticator(b"p" * 32)
    gateway.replace(world.published())
    return gateway.authenticate(f"Bearer {text}", world.clock.now_s)


def test_an_issued_key_opens_the_gateway_and_its_text_is_kept_nowhere(health):
    issued = health.run(health.access.issue_key(KeyWish("health", "ci", models=("small",))))
    principal = enter(health, issued.text)
    assert (principal.id, principal.tenant, principal.models) == (issued.key.id, "health", {"small"})
    assert keys.parse(issued.text) is Role.DEVELOPER
    kept = f"{health.store.access()}{health.events()}{health.published_path.read_text()}{issued}{health.log.records}"
    assert issued.text not in kept
    assert issued.text[:20] not in kept


def test_what_is_recorded_names_the_key_and_neither_text_nor_mac_nor_hint(health):
    issued = health.run(health.access.issue_key(KeyWish("health", "ci", Role.ADMIN, ttl_s=60, models=("a", "b"))))
    assert health.events()[-1] == (
        "key.issued",
        {
            "key": issued.key.id,
            "tenant": "health",
            "role": "admin",
            "expires_s": 1_800_000_060,
            "models": "a b",
            "clearance": None,
            "by": "local",
        },
    )


def test_a_revoked_key_is_published_before_the_command_returns(health):
    issued = health.run(health.access.issue_key(KeyWish("health", "ci")))
    health.run(health.access.revoke_key(issued.key.id))
    with pytest.raises(Refusal, match="revoked") as caught:
        enter(health, issued.text)
    assert caught.value.code == "revoked_api_key"
    assert health.events()[-1] == ("key.revoked", {"key": issued.key.id, "tenant": "health", "by": "local"})


def test_revoking_a_tenant_ends_all_of_its_keys(health):
    issued = health.run(health.access.issue_key(KeyWish("health", "ci")))
    health.run(health.access.revoke_tenant("health"))
    with pytest.raises(Refusal, match="tenant health"):
        enter(health, issued.text)
    with pytest.raises(Conflict, match="gets no keys"):
        health.run(health.access.issue_key(KeyWish("health", "ci")))


def test_a_share_is_recorded_before_it_is_given_and_published(health):
    health.run(health.access.set_share("health", 2.5))
    assert health.events()[-1] == ("tenant.changed", {"tenant": "health", "share": "2.5", "by": "local"})
    assert health.published().tenants[0].share == 2.5
    for share in (None, 0.0, 1e7, float("nan")):
        with pytest.raises(Problem):
            health.run(health.access.set_share("health", share))
    health.ledger.refusal = "disk full"
    with pytest.raises(LedgerUnavailable):
        health.run(health.access.set_share("health", 9.0))
    assert health.store.access().tenants[0].share == 2.5


def test_without_a_ledger_nothing_is_granted(health):
    health.ledger.refusal = "disk full"
    with pytest.raises(LedgerUnavailable):
        health.run(health.access.issue_key(KeyWish("health", "ci")))
    with pytest.raises(LedgerUnavailable):
        health.run(health.access.create_tenant(TenantWish("tax")))
    assert health.store.access().keys == ()
    assert [tenant.id for tenant in health.store.access().tenants] == ["health"]


def test_without_a_ledger_a_key_is_still_taken_away_and_recorded_when_asked_again(health):
    issued = health.run(health.access.issue_key(KeyWish("health", "ci")))
    health.ledger.refusal = "disk full"
    with pytest.raises(LedgerUnavailable):
        health.run(health.access.revoke_key(issued.key.id))
    with pytest.raises(Refusal, match="revoked"):
        enter(health, issued.text)
    health.ledger.refusal = None
    health.run(health.access.revoke_key(issued.key.id))
    assert health.events()[-1][0] == "key.revoked"


def test_the_first_admin_key_is_made_once(world):
    text = world.run(world.access.ensure_first_admin())
    assert keys.parse(text) is Role.ADMIN
    assert enter(world, text).tenant == "default"
    assert [kind for kind, _ in world.events()] == ["tenant.created", "key.issued"]
    assert world.run(world.access.ensure_first_admin()) is None
    assert world.run(world.new_access().ensure_first_admin()) is None


def test_a_crash_between_the_first_tenant_and_its_key_is_made_good(world):
    world.run(world.access.create_tenant(TenantWish("default")))
    assert enter(world, world.run(world.access.ensure_first_admin())).roles == {"admin"}


def test_a_revoked_first_admin_key_is_not_replaced_behind_the_operators_back(world):
    text = world.run(world.access.ensure_first_admin())
    world.run(world.access.revoke_key(enter(world, text).id))
    assert world.run(world.access.ensure_first_admin()) is None


def test_an_ephemeral_key_ends_by_itself_and_is_then_forgotten(world):
    world.run(world.access.ensure_first_admin())
    issued = world.run(world.access.issue_ephemeral_key())
    assert (issued.key.tenant, issued.key.name, issued.key.role) == ("default", "cli", Role.DEVELOPER)
    world.clock.now_s += EPHEMERAL_TTL_S
    with pytest.raises(Refusal) as caught:
        enter(world, issued.text)
    assert caught.value.code == "expired_api_key"
    world.clock.now_s += SHORT_ENDED_KEPT_S + 1
    fresh = world.run(world.access.issue_ephemeral_key())
    assert [key.id for key in world.store.access().keys][1:] == [fresh.key.id]
    assert issued.key.id not in world.published_path.read_text()


def test_a_key_that_was_made_to_last_stays_listed_for_ninety_days_after_its_end(health):
    issued = health.run(health.access.issue_key(KeyWish("health", "old", ttl_s=86_400)))
    health.run(health.access.revoke_key(issued.key.id))
    health.clock.now_s += ENDED_KEPT_S - 1
    health.run(health.access.issue_key(KeyWish("health", "new")))
    assert issued.key.id in {key.id for key in health.store.access().keys}
    health.clock.now_s += 3
    health.run(health.access.issue_key(KeyWish("health", "newer")))
    assert issued.key.id not in {key.id for key in health.store.access().keys}


def test_what_a_crash_left_unpublished_is_published_at_the_next_start(health):
    issued = health.run(health.access.issue_key(KeyWish("health", "ci")))
    health.store.revoke_key(issued.key.id, 5)  # and here the process dies
    assert enter(health, issued.text), "the gateways do not know yet"
    health.run(health.new_access().publish(always=True))
    with pytest.raises(Refusal, match="revoked"):
        enter(health, issued.text)


def test_a_change_by_another_process_is_noticed_by_its_version(health):
    health.run(health.access.publish())
    before = health.published_path.stat().st_mtime_ns
    health.run(health.access.publish())
    assert health.published_path.stat().st_mtime_ns == before, "nothing changed, nothing is written"
    health.store.revoke_tenant("health", 5)
    health.run(health.access.publish())
    assert health.published().tenants[0].revoked_s == 5


def test_a_publication_that_fails_says_so_and_heals_when_it_can(health, monkeypatch):
    def full(_path, _value):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("fastness.control.publication.write_snapshot", full)
    with pytest.raises(Problem, match="No space left") as caught:
        health.run(health.access.create_tenant(TenantWish("tax")))
    assert caught.value.code == "store_unavailable"
    monkeypatch.undo()
    health.run(health.access.publish())
    assert health.published() == health.store.access()


def test_without_a_place_to_publish_commands_work_all_the_same(health, tmp_path):
    local = access_module.Access(health.store, health.ledger, None, b"p" * 32, health.clock, health.entropy)
    before = health.published()
    health.run(local.create_tenant(TenantWish("tax")))
    assert health.published() == before
    assert len(health.store.access().tenants) == 2


def test_unknown_things_are_missing(health):
    with pytest.raises(Missing, match="nowhere"):
        health.run(health.access.issue_key(KeyWish("nowhere", "ci")))
    with pytest.raises(Missing, match="key_404"):
        health.run(health.access.revoke_key("key_404"))
    with pytest.raises(Missing, match="nobody"):
        health.run(health.access.revoke_tenant("nobody"))
    with pytest.raises(Conflict, match="exists"):
        health.run(health.access.create_tenant(TenantWish("health")))


def test_two_control_processes_publish_every_change_and_never_an_older_state(world, tmp_path):
    """Both write to one database and one access.json; a reader beside them never sees a version go back."""
    world.store = SqlStore.open(sqlite_url(tmp_path / "fastness.db"))
    other_store = SqlStore.open(sqlite_url(tmp_path / "fastness.db"))
    done, seen = threading.Event(), []

    def work(first, store):
        for number in range(first, first + 15):
            store.add_tenant(Tenant(f"t{number}", "T", 1))
            publish(world.published_path, store.access)

    def watch():
        reader = SnapshotReader(world.published_path, AccessSnapshot)
        while not done.is_set():
            if (value := reader.poll()) is not None:
                seen.append(value.version)

    writers = [
        threading.Thread(target=work, args=(100, world.store)),
        threading.Thread(target=work, args=(200, other_store)),
    ]
    watcher = threading.Thread(target=watch)
    for thread in (*writers, watcher):
        thread.start()
    for thread in writers:
        thread.join()
    done.set()
    watcher.join()
    assert world.published() == world.store.access() == other_store.access()
    assert world.published().version == 30
    assert seen == sorted(seen)
    world.store.close()
    other_store.close()
