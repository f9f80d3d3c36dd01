"""What changes: who gains and who loses what between two policies."""

from dataclasses import replace

import pytest

from fastness.core.policy import PolicyText
from fastness.policy import difference as room
from fastness.policy.bundle import make_bundle, shipped_bundle
from fastness.policy.difference import difference
from fastness.policy.port import PolicyProblem
from fastness.policy.profile import shipped_profile
from policy_examples import (
    BRISTOL,
    CLOUD,
    HIGHEST,
    LOCAL,
    NURSE,
    SECURE,
    SENSITIVE,
    SHIPPED,
    SMALL,
    UK,
    cleared_to,
    with_role,
)

JUDGE = replace(NURSE, id="key_judge", tenant="justice")
EVERYBODY = (NURSE, JUDGE, with_role("admin", id="key_admin"), LOCAL)


def with_rules(*texts: str):
    return make_bundle(
        UK, (*SHIPPED.policies, *(PolicyText(f"{number}.cedar", text) for number, text in enumerate(texts)))
    )


def changes(before, after, principals=EVERYBODY, deployments=(SMALL, SECURE), nodes=(BRISTOL,)):
    return difference(before, after, principals, deployments, nodes)


def test_the_same_policy_changes_nothing():
    assert changes(SHIPPED, SHIPPED) == []
    assert changes(SHIPPED, with_rules("// only words")) == []


def test_who_loses_what_is_told_with_the_rule_that_takes_it():
    forbid = '@id("j/1") @code("marking_not_cleared") @needed("n") @had("h")\n' + (
        'forbid (principal in Tenant::"justice", action == Action::"infer", resource)'
        ' when { context.label.marking == Marking::"OFFICIAL-SENSITIVE" };'
    )
    (change,) = changes(SHIPPED, with_rules(forbid))
    assert (change.principal, change.tenant, change.change, change.action) == ("key_judge", "justice", "loses", "infer")
    assert (change.deployment, change.node, change.labels) == ("chat-secure", "bristol-07", ("OFFICIAL-SENSITIVE",))
    assert (change.rule, change.why, change.parameters) == ("j/1", "needed: n; h", "")


def test_who_gains_what_is_told_with_the_rule_that_kept_it():
    permit = '@id("h/1") permit (principal in Tenant::"health", action == Action::"manage_access", resource);'
    gained = changes(SHIPPED, with_rules(permit))
    assert {(one.principal, one.change, one.action, one.rule) for one in gained} == {
        ("key_nurse", "gains", "manage_access", "default-deny")
    }
    assert {one.deployment for one in gained} == {"", "chat-small", "chat-secure"}
    assert "key_nurse" in gained[0].why


def test_a_bound_that_moves_is_found_by_asking_on_both_sides_of_it():
    bounds = next(one for one in SHIPPED.policies if one.name == "bounds.cedar")
    narrowed = replace(bounds, text=bounds.text.replace("> 1024", "> 4"))
    after = make_bundle(UK, (*(one for one in SHIPPED.policies if one.name != "bounds.cedar"), narrowed))
    lost = changes(SHIPPED, after, [NURSE], [SMALL])
    assert {one.parameters for one in lost} == {"choices 5", "choices 1023", "choices 1024"}
    assert {(one.change, one.rule) for one in lost} == {("loses", "bounds/1")}


def test_another_profile_takes_what_it_does_not_know():
    lost = changes(SHIPPED, shipped_bundle(shipped_profile("de")), [NURSE], [SMALL])
    assert {one.change for one in lost} >= {"loses"}
    assert ("infer", ("OFFICIAL",)) in {(one.action, one.labels) for one in lost}


def test_a_place_is_part_of_the_answer():
    opened = UK.operators[1]
    british = replace(UK, operators=(UK.operators[0], replace(opened, owner="GB")))
    gained = changes(
        SHIPPED, make_bundle(british, SHIPPED.policies), [NURSE], [SECURE], [BRISTOL, replace(CLOUD, owner="")]
    )
    assert [(one.node, one.labels, one.rule) for one in gained] == [("cloud-03", ("OFFICIAL-SENSITIVE",), "places/2")]


def test_caveats_that_a_principal_is_cleared_for_are_asked_about():
    forbid = '@id("h/1") forbid (principal, action, resource) when { context.label.caveats.contains("LEGAL") };'
    (change,) = changes(SHIPPED, with_rules(forbid), [cleared_to(replace(HIGHEST, marking="OFFICIAL"))], [SECURE])
    assert change.labels[0] == "OFFICIAL; LEGAL"
    assert len(change.labels) == 2, "with each caveat alone, and with all of them"


def test_a_rule_that_names_one_principal_changes_that_one():
    forbid = '@id("h/1") forbid (principal == Principal::"key_twin", action == Action::"infer", resource);'
    lost = changes(SHIPPED, with_rules(forbid), [NURSE, replace(NURSE, id="key_twin")], [SECURE])
    assert {one.principal for one in lost} == {"key_twin"}


def test_principals_that_no_rule_tells_apart_are_asked_about_once_and_told_each():
    forbid = '@id("h/1") forbid (principal, action == Action::"infer", resource);'
    twins = [replace(NURSE, id=f"key_{number}", tenant_clearance=SENSITIVE) for number in range(40)]
    lost = changes(SHIPPED, with_rules(forbid), twins, [SECURE])
    assert {one.principal for one in lost} == {one.id for one in twins}


def test_too_much_to_ask_is_refused(monkeypatch):
    monkeypatch.setattr(room, "QUESTIONS_MAX", 10)
    with pytest.raises(PolicyProblem, match="more than 10 questions"):
        changes(SHIPPED, SHIPPED)


def test_a_policy_that_cannot_be_in_force_is_not_compared():
    with pytest.raises(PolicyProblem, match=r"0\.cedar:1"):
        changes(SHIPPED, with_rules("permit (principal, action, resource);"))
