"""An explanation: every rule that determined a decision, and the facts they saw."""

from dataclasses import replace

import msgspec

from fastness.core.marking import Label
from fastness.core.policy import Action, Query
from fastness.policy.cedar import CedarEngine
from fastness.policy.explanation import explain
from policy_examples import CLOUD, NURSE, OFFICIAL, SECRET, SECURE, SENSITIVE, SHIPPED, adapter, engine_with, infer

ENGINE = CedarEngine(SHIPPED)


def test_every_rule_that_forbids_is_told_the_deciding_one_first():
    query = infer(label=SECRET, node=CLOUD)
    explanation = explain(ENGINE, query)
    assert explanation.decision == ENGINE.decide(query)
    assert [rule.id for rule in explanation.rules] == ["ceilings/1", "ceilings/2", "places/2"]
    first = explanation.rules[0]
    assert (first.effect, first.mandatory, first.file) == ("forbid", True, "ceilings.cedar")
    assert first.comment.startswith("The tenant's clearance.")
    assert first.text.startswith('@id("ceilings/1")')
    assert first.line > 1


def test_what_permits_is_told_too():
    engine = engine_with('@id("health/1") permit (principal, action, resource);')
    explanation = explain(engine, infer())
    assert {rule.id for rule in explanation.rules} == {"roles/1", "health/1"}


def test_default_deny_has_no_rules_but_its_facts():
    explanation = explain(ENGINE, Query(NURSE, Action.DEPLOY, OFFICIAL))
    assert explanation.rules == ()
    assert explanation.decision.rule == "default-deny"
    assert explanation.facts["principal"]["roles"] == ["developer"]
    assert explanation.facts["deployment"] is None


def test_the_facts_are_a_plain_tree_of_what_rules_saw():
    facts = explain(ENGINE, infer(label=SENSITIVE, node=CLOUD, max_output_tokens=5)).facts
    assert msgspec.json.decode(msgspec.json.encode(facts)) == facts
    assert facts["needs"] == {"jurisdictions": ["GB"], "owners": ["GB"]}
    assert facts["node"]["owner"] == "US"
    assert facts["principal"]["tenant_clearance"] == "OFFICIAL-SENSITIVE"
    assert facts["parameters"] == {"uses": [], "choices": 1, "tools": 0, "max_output_tokens": 5}


def test_the_adapter_that_decided_is_the_one_in_the_facts():
    query = infer(deployment=replace(SECURE, adapters=(adapter(), adapter("c" * 64))))
    explanation = explain(ENGINE, query)
    assert explanation.decision.rule == "grants/3"
    assert explanation.facts["adapter"]["base"] == "c" * 64


def test_an_unknown_label_has_no_facts():
    explanation = explain(ENGINE, infer(label=Label("STRENG GEHEIM")))
    assert explanation.decision.rule == "unknown-label"
    assert explanation.facts == {}


def test_what_cannot_be_asked_is_explained_without_raising():
    explanation = explain(ENGINE, infer(replace(NURSE, roles=None)))
    assert (explanation.decision.rule, explanation.facts) == ("error", {})
