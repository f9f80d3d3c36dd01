"""The policy in force: how it comes to be, what is recorded and published of it, and when it is refused."""

from dataclasses import replace

import pytest

from fastness.control.problem import Problem
from fastness.control.routes import LOCAL
from fastness.core.error import Refusal
from fastness.core.policy import Action, PolicyText
from fastness.core.tenant import Principal
from fastness.ledger.port import LedgerUnavailable
from fastness.policy.bundle import make_bundle, shipped_bundle
from fastness.policy.cedar import CedarEngine
from fastness.policy.port import PolicyProblem
from fastness.policy.profile import shipped_profile
from fastness.store.memory import MemoryPolicyStore
from fastness.store.port import Conflict, Unavailable

UK = shipped_bundle(shipped_profile("uk"))
ADMIN = Principal("key_1", "health", frozenset({"admin"}))
LOCKED = '@id("shut/1") forbid (principal in Role::"operator", action == Action::"apply_policy", resource);'


def with_rule(text, name="more.cedar"):
    """The shipped policy, and one file more."""
    return make_bundle(UK.profile, (*UK.policies, PolicyText(name, text)))


SHUT = with_rule('@id("shut/1") forbid (principal, action == Action::"manage_access", resource);')


def test_the_first_policy_is_the_shipped_one_recorded_stored_and_published(world):
    first = world.policies.in_force.snapshot
    assert (first.version, first.bundle, first.applied_by) == (1, UK, "local")
    assert world.published_policy() == first == world.policy_store.policy()
    entry = world.ledger.entries()[0]
    assert (entry.type, entry.fields) == (
        "policy.applied",
        {"policy": UK.digest, "before": None, "version": 1, "by": "local"},
    )


def test_an_applied_policy_is_recorded_with_who_and_what_was_before_and_published_when_the_command_returns(world):
    applied = world.run(world.policies.apply(SHUT, "key_7"))
    assert (applied.version, applied.bundle.digest, applied.applied_by) == (2, SHUT.digest, "key_7")
    assert world.events() == [
        ("policy.applied", {"policy": SHUT.digest, "before": UK.digest, "version": 2, "by": "key_7"})
    ]
    assert world.published_policy() == applied
    assert not world.policies.decide(ADMIN, Action.MANAGE_ACCESS).allowed


def test_applying_what_is_in_force_changes_nothing(world):
    before = world.policy_path.stat().st_mtime_ns
    assert world.run(world.policies.apply(UK, "key_7")).version == 1
    assert (world.events(), world.policy_path.stat().st_mtime_ns) == ([], before)


def test_applying_what_the_store_has_already_puts_it_in_force_here(world):
    other = world.new_policies()
    world.policy_path.unlink()
    assert world.run(other.apply(UK, "local")).version == 1
    assert other.in_force.snapshot == world.published_policy()


def test_an_earlier_policy_is_applied_again_under_a_new_version(world):
    world.run(world.policies.apply(SHUT, "key_7"))
    earlier = world.run(world.policies.earlier(1))
    assert world.run(world.policies.apply(earlier.bundle, "local")).version == 3
    assert world.policies.decide(ADMIN, Action.MANAGE_ACCESS).allowed
    assert [one.version for one in world.run(world.policies.history(10))] == [3, 2, 1]


def test_a_policy_that_cannot_be_built_changes_nothing_and_says_where(world):
    with pytest.raises(Problem, match=r"more\.cedar:1") as caught:
        world.run(world.policies.apply(with_rule("permit (principal, action, resource) when { nonsense };"), "local"))
    assert caught.value.code == "policy_invalid"
    assert world.published_policy().version == 1
    assert world.events() == []


def test_a_bundle_whose_digest_is_not_its_own_is_refused(world):
    with pytest.raises(Problem, match="digest"):
        world.run(world.policies.apply(replace(SHUT, digest="0" * 64), "local"))


def test_nobody_locks_themselves_out_without_meaning_to(world):
    locked = with_rule(LOCKED)
    with pytest.raises(Problem, match=r"lock yourself out.*shut/1") as caught:
        world.run(world.policies.apply(locked, "local"))
    assert caught.value.code == "policy_invalid"
    assert "--force" in caught.value.hint
    assert world.policies.in_force.snapshot.version == 1
    assert world.run(world.policies.apply(locked, "local", force=True)).version == 2
    with pytest.raises(Problem, match="shut/1"):
        world.policies.permit(LOCAL, Action.APPLY_POLICY)


def test_without_a_ledger_no_policy_is_applied(world):
    world.ledger.refusal = "disk full"
    with pytest.raises(LedgerUnavailable):
        world.run(world.policies.apply(SHUT, "local"))
    assert world.policy_store.policy_version() == 1
    assert world.policies.in_force.snapshot.bundle == UK


def test_a_policy_file_that_is_gone_is_published_again(world):
    world.policy_path.unlink()
    world.run(world.policies.publish())
    assert world.published_policy().version == 1


def test_what_a_crash_left_unpublished_is_published_at_the_next_start(world):
    stored = replace(world.policy_store.policy(), version=2, bundle=SHUT)
    world.policy_store.add_policy(stored)  # and here the process dies
    assert world.published_policy().version == 1
    world.run(world.new_policies().publish(always=True))
    assert world.published_policy() == stored


def test_what_another_process_applied_is_in_force_here_after_the_next_look(world):
    other = world.new_policies()
    world.run(other.publish())
    world.run(other.apply(SHUT, "key_9"))
    assert world.policies.in_force.snapshot.version == 1
    world.run(world.policies.publish())
    assert world.policies.in_force.snapshot == other.in_force.snapshot


def test_of_two_processes_that_apply_at_once_one_is_told_of_the_conflict(world):
    class Late(MemoryPolicyStore):
        """A store in which somebody else is always first."""

        def add_policy(self, snapshot):
            raise Conflict("policy 2 does not follow policy 2")

    late = Late()
    late._policies.append(world.policy_store.policy())
    with pytest.raises(Conflict):
        world.run(world.new_policies(late).apply(SHUT, "local"))


def test_a_store_that_cannot_be_read_publishes_nothing_new_and_what_is_there_stays(world):
    class Broken(MemoryPolicyStore):
        def policy_version(self):
            raise Unavailable("the disk is gone")

    before = world.policy_path.read_bytes()
    policies = world.new_policies(Broken())
    with pytest.raises(Unavailable):
        world.run(policies.publish(always=True))
    assert world.policy_path.read_bytes() == before
    with pytest.raises(Problem) as caught:
        policies.permit(ADMIN, Action.READ)
    assert caught.value.code == "policy_unavailable"


def test_a_stored_policy_that_this_version_cannot_build_is_not_published_and_permits_nothing(world):
    def newer(_bundle):
        raise PolicyProblem("roles.cedar:1: there is no attribute `colour`")

    before = world.policy_path.read_bytes()
    policies = type(world.policies)(world.policy_store, world.ledger, world.policy_path, lambda: UK, world.clock, newer)
    with pytest.raises(Problem, match="colour"):
        world.run(policies.publish(always=True))
    assert world.policy_path.read_bytes() == before
    with pytest.raises(Refusal):
        policies.permit(LOCAL, Action.READ)
    policies.permit(LOCAL, Action.APPLY_POLICY)  # that is how it is recovered


def test_a_first_policy_that_is_none_leaves_everything_shut(world):
    def broken():
        raise PolicyProblem("mine.toml: there is no marking")

    policies = world.new_policies(MemoryPolicyStore(), broken)
    world.policy_path.unlink()
    with pytest.raises(Problem, match="no marking"):
        world.run(policies.publish())
    assert not world.policy_path.exists()
    with pytest.raises(Problem, match="No policy is in force"):
        policies.permit(LOCAL, Action.MANAGE_ACCESS)


def test_without_a_place_to_publish_a_policy_is_in_force_all_the_same(world):
    policies = type(world.policies)(MemoryPolicyStore(), world.ledger, None, lambda: UK, world.clock, CedarEngine)
    world.run(policies.publish())
    assert policies.in_force.snapshot.version == 1


def test_a_denial_names_rule_needed_and_had(world):
    developer = Principal("key_2", "health", frozenset({"developer"}))
    with pytest.raises(Problem) as caught:
        world.policies.permit(developer, Action.MANAGE_ACCESS)
    assert caught.value.status == 403
    assert "key_2" in caught.value.message
    assert "manage access" in caught.value.message
    assert "a rule that permits manage_access" in caught.value.message
    assert "(policy rule default-deny)" in caught.value.message


def test_labels_are_read_by_the_policy_in_force(world):
    assert str(world.policies.read_label("official-sensitive; personal", "clearance")) == "OFFICIAL-SENSITIVE; PERSONAL"
    assert world.policies.read_label(None, "clearance") is None
    with pytest.raises(Problem, match="COSMIC") as caught:
        world.policies.read_label("COSMIC", "clearance")
    assert (caught.value.code, caught.value.param) == ("unknown_marking", "clearance")
