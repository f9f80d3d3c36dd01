"""What every policy store does, whatever it keeps its policies in."""

import threading

import pytest

from fastness.core.marking import Caveat, Marking, Operator, Profile
from fastness.core.policy import PolicyBundle, PolicySnapshot, PolicyText
from fastness.core.tenant import Tenant
from fastness.store.database import sqlite_url
from fastness.store.memory import MemoryPolicyStore
from fastness.store.policies import SqlPolicyStore
from fastness.store.port import AppliedPolicy, Conflict, Missing, PolicyStore
from fastness.store.sql import SqlStore

PROFILE = Profile(
    "demo",
    "Démonstration \U0001f3f0",
    (Marking("OPEN", "everyone"), Marking("CLOSED", "few", above=("OPEN",), jurisdictions=("GB",), owners=("GB",))),
    (Caveat("EYES ONLY", "named people", "CLOSED", ("GB",)),),
    (("GB", "United Kingdom"),),
    (Operator("crown", "The Crown", "GB"),),
    "OPEN",
)


def applied(version: int, digest: str | None = None, by: str = "local") -> PolicySnapshot:
    """A policy as it might be: text with everything in it that SQL or JSON could stumble over."""
    texts = (PolicyText("infer.cedar", "permit(principal, action, resource); // ' \" \\ \u2028 é\n"),)
    return PolicySnapshot(version, PolicyBundle(digest or f"{version:064x}", PROFILE, texts), 1_800_000_000, by)


@pytest.fixture(params=["memory", "sqlite", "postgresql"])
def store(request, url_in):
    if request.param == "memory":
        yield MemoryPolicyStore()
        return
    opened = SqlStore.open(url_in(request.param))
    yield SqlPolicyStore(opened.database)
    opened.close()


def test_a_new_store_has_no_policy(store: PolicyStore):
    assert store.policy_version() == 0
    assert store.policy_history(10) == ()
    with pytest.raises(Missing):
        store.policy()


def test_the_newest_policy_comes_back_as_it_was(store: PolicyStore):
    store.add_policy(applied(1))
    store.add_policy(applied(2, by="key_1"))
    assert store.policy() == applied(2, by="key_1")
    assert store.policy_version() == 2


def test_every_policy_that_was_in_force_can_be_had_again(store: PolicyStore):
    for version in (1, 2, 3):
        store.add_policy(applied(version))
    assert store.policy(1) == applied(1)
    for unknown in (0, 4, -1):
        with pytest.raises(Missing, match=str(unknown)):
            store.policy(unknown)


def test_one_policy_may_be_applied_twice(store: PolicyStore):
    store.add_policy(applied(1, "a" * 64))
    store.add_policy(applied(2, "b" * 64))
    store.add_policy(applied(3, "a" * 64))
    assert store.policy().bundle == applied(1, "a" * 64).bundle


def test_the_history_is_newest_first_and_no_longer_than_asked_for(store: PolicyStore):
    for version in range(1, 6):
        store.add_policy(applied(version, by=f"key_{version}"))
    assert store.policy_history(2) == (
        AppliedPolicy(5, f"{5:064x}", 1_800_000_000, "key_5"),
        AppliedPolicy(4, f"{4:064x}", 1_800_000_000, "key_4"),
    )
    assert len(store.policy_history(100)) == 5


@pytest.mark.parametrize("version", [0, 1, 3])
def test_a_version_that_does_not_follow_is_a_conflict_and_changes_nothing(store: PolicyStore, version):
    store.add_policy(applied(1, "a" * 64))
    with pytest.raises(Conflict):
        store.add_policy(applied(version))
    assert store.policy() == applied(1, "a" * 64)


def test_of_several_who_apply_at_once_one_wins(store: PolicyStore):
    start, won, lost = threading.Barrier(4), [], []

    def apply(number: int) -> None:
        start.wait()
        try:
            store.add_policy(applied(1, f"{number:064x}"))
            won.append(number)
        except Conflict:
            lost.append(number)

    threads = [threading.Thread(target=apply, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(won), len(lost)) == (1, 3)
    assert store.policy().bundle.digest == f"{won[0]:064x}"


def test_a_policy_leaves_the_version_of_tenants_and_keys_alone(tmp_path):
    access = SqlStore.open(sqlite_url(tmp_path / "fastness.db"))
    access.add_tenant(Tenant("health", "Health", 1))
    SqlPolicyStore(access.database).add_policy(applied(1))
    assert access.version() == 1
    access.close()
