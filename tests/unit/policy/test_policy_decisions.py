"""What is remembered: bounded, never another's answer, never another value's words."""

from collections import Counter
from dataclasses import replace

import pytest

from fastness.core.marking import Node
from fastness.core.policy import Decision, Parameters, Query
from fastness.policy.cedar import CedarEngine
from fastness.policy.decisions import Clearances, Decisions
from policy_examples import (
    BRISTOL,
    DUBLIN,
    NURSE,
    OFFICIAL,
    SECRET,
    SECURE,
    SENSITIVE,
    SHIPPED,
    SMALL,
    engine_with,
    infer,
)


class CountingEngine(CedarEngine):
    """Counts what it is asked."""

    def __init__(self) -> None:
        super().__init__(SHIPPED)
        self.asked: Counter[Query] = Counter()

    def decide(self, query: Query) -> Decision:
        self.asked[query] += 1
        return super().decide(query)


class OtherEngine:
    """A policy that is no Cedar engine: nothing is known of what it can tell apart."""

    digest = "0" * 64
    lattice = CedarEngine(SHIPPED).lattice

    def __init__(self) -> None:
        self.asked = 0

    def decide(self, query: Query) -> Decision:
        self.asked += 1
        return Decision(query.parameters.choices == 1, "x", "permission_denied", "one", "not one")


def test_the_same_question_is_worked_out_once():
    engine = CountingEngine()
    decisions = Decisions(engine, 100)
    for query in (infer(), infer(label=SECRET), infer(), infer(label=SECRET)):
        assert decisions.decide(query) == CedarEngine(SHIPPED).decide(query)
    assert sum(engine.asked.values()) == 2


def test_parameters_that_no_rule_tells_apart_are_one_question_when_permitted():
    engine = CountingEngine()
    decisions = Decisions(engine, 100)
    assert all(decisions.decide(infer(max_output_tokens=number)).allowed for number in range(1, 500))
    assert sum(engine.asked.values()) == 1


def test_a_denial_tells_the_value_that_was_asked_this_time():
    decisions = Decisions(CedarEngine(SHIPPED), 100)
    assert [decisions.decide(infer(choices=number)).had for number in (2_000, 3_000, 2_000)] == [
        "2000 asked",
        "3000 asked",
        "2000 asked",
    ]


def test_an_unknown_engine_is_asked_about_each_value():
    engine = OtherEngine()
    decisions = Decisions(engine, 10)
    assert [decisions.decide(infer(choices=number)).allowed for number in (1, 2, 1, 2)] == [True, False, True, False]
    assert engine.asked == 2


def test_the_oldest_is_forgotten_first():
    engine = CountingEngine()
    decisions = Decisions(engine, 2)
    first, second, third = (infer(node=replace(BRISTOL, name=name)) for name in "abc")
    for query in (first, second, third, second, first):
        decisions.decide(query)
    assert engine.asked[first] == 2
    assert engine.asked[second] == 1


@pytest.mark.parametrize("memory", [Decisions, Clearances])
def test_a_memory_for_nothing_is_refused(memory):
    with pytest.raises(ValueError, match="at least 1"):
        memory(CedarEngine(SHIPPED), 0)


def test_what_cannot_be_remembered_is_denied_and_never_raises():
    clearances = Clearances(CedarEngine(SHIPPED), 10)
    odd = infer(replace(NURSE, roles={"developer"}), choices="many")
    assert clearances.decide(odd).rule == "error"
    cleared = clearances.of(odd.principal, OFFICIAL, odd.parameters, SECURE, (BRISTOL,))
    assert (cleared.nodes, cleared.decision.rule) == (frozenset(), "error")
    assert clearances.of(NURSE, OFFICIAL, Parameters(choices=2**70), SECURE, (BRISTOL,)).nodes == frozenset()


def test_a_clearance_is_found_again_and_says_the_same():
    engine = CountingEngine()
    clearances = Clearances(engine, 10)
    nodes = (BRISTOL, DUBLIN)
    answers = [clearances.of(NURSE, SENSITIVE, Parameters(choices=n), SECURE, nodes) for n in (1, 2, 3)]
    assert {answer.nodes for answer in answers} == {frozenset({"bristol-07"})}
    assert engine.asked.total() <= 2 + 2 + 2


def test_objects_that_come_and_go_at_one_address_are_never_taken_for_each_other():
    clearances = Clearances(CedarEngine(SHIPPED), 8)
    for number in range(800):
        ceiling = (OFFICIAL, SENSITIVE)[number % 2]
        nodes = (Node(f"node-{number % 5}", "GB", "crown", "GB", ceiling),)
        principal = replace(NURSE, tenant_clearance=(OFFICIAL, SENSITIVE)[number // 2 % 2])
        cleared = clearances.of(principal, SENSITIVE, Parameters(), SECURE, nodes)
        assert bool(cleared.nodes) is (number % 4 == 3)


def test_another_label_or_deployment_is_another_question():
    clearances = Clearances(CedarEngine(SHIPPED), 10)
    nodes = (BRISTOL,)
    assert clearances.of(NURSE, OFFICIAL, Parameters(), SMALL, nodes).nodes
    assert not clearances.of(NURSE, SENSITIVE, Parameters(), SMALL, nodes).nodes
    assert clearances.of(NURSE, SENSITIVE, Parameters(), SECURE, nodes).nodes
    assert not clearances.of(NURSE, SECRET, Parameters(), SECURE, nodes).nodes


def test_nodes_in_a_list_may_change_and_are_not_remembered():
    clearances = Clearances(CedarEngine(SHIPPED), 10)
    nodes = [BRISTOL]
    assert clearances.of(NURSE, SENSITIVE, Parameters(), SECURE, nodes).nodes
    nodes[0] = DUBLIN
    assert not clearances.of(NURSE, SENSITIVE, Parameters(), SECURE, nodes).nodes


def test_a_bound_that_a_department_sets_holds_for_remembered_requests():
    engine = engine_with(
        '@id("health/1") forbid (principal, action == Action::"infer", resource)'
        " when { context.parameters has max_output_tokens && context.parameters.max_output_tokens > 500 };"
    )
    clearances = Clearances(engine, 100)
    nodes = (BRISTOL,)
    for tokens in (1, 500, 501, 499, 502, 500):
        cleared = clearances.of(NURSE, OFFICIAL, Parameters(("max_tokens",), 1, tokens), SECURE, nodes)
        assert bool(cleared.nodes) is (tokens <= 500)
