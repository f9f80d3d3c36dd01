"""Which nodes may take a request, and what its caller is told when none may."""

from dataclasses import replace

from fastness.core.policy import Decision, Parameters, Query
from fastness.policy.cedar import CedarEngine
from fastness.policy.clearance import ALTERNATIVES_MAX, cleared, refusal
from policy_examples import BRISTOL, CLOUD, DUBLIN, NURSE, OFFICIAL, SECRET, SECURE, SENSITIVE, SHIPPED, SMALL, infer

ENGINE = CedarEngine(SHIPPED)
NOTHING = Parameters()


def clear(label, deployment, *nodes):
    return cleared(ENGINE.decide, NURSE, label, NOTHING, deployment, nodes)


def test_only_the_nodes_that_are_cleared_may_take_it():
    clearance = clear(SENSITIVE, SECURE, DUBLIN, BRISTOL, CLOUD)
    assert clearance.nodes == {"bristol-07"}
    assert clearance.decision == Decision(True, "roles/1")
    assert clear(OFFICIAL, SECURE, DUBLIN, BRISTOL, CLOUD).nodes == {"dublin-01", "bristol-07", "cloud-03"}


def test_when_none_may_the_reason_is_a_nodes_own():
    clearance = clear(SENSITIVE, SECURE, CLOUD, DUBLIN)
    assert clearance.nodes == frozenset()
    assert clearance.decision.rule == "places/2"


def test_the_denial_that_says_most_is_told():
    def decide(query: Query) -> Decision:
        code = {"dublin-01": "permission_denied", "cloud-03": "marking_not_cleared"}.get(query.node.name, "x")
        return Decision(False, query.node.name, code, "needed", "had")

    clearance = cleared(decide, NURSE, SENSITIVE, NOTHING, SECURE, (BRISTOL, DUBLIN, CLOUD))
    assert clearance.decision.rule == "cloud-03"


def test_of_two_nodes_with_one_name_the_one_that_is_denied_decides():
    twin = replace(CLOUD, name=BRISTOL.name)
    assert clear(SENSITIVE, SECURE, BRISTOL, twin).nodes == clear(SENSITIVE, SECURE, twin, BRISTOL).nodes == frozenset()
    assert clear(SENSITIVE, SECURE, BRISTOL, twin).decision.rule == "places/2"


def test_without_a_node_the_deployment_itself_is_asked_about_and_nothing_may_take_it():
    assert clear(SENSITIVE, SECURE) == clear(SENSITIVE, SECURE)
    assert clear(SENSITIVE, SECURE).decision.allowed
    assert clear(SENSITIVE, SECURE).nodes == frozenset()
    assert clear(SENSITIVE, SMALL).decision.rule == "ceilings/3"


def test_a_refusal_says_what_was_asked_what_there_is_by_which_rule_and_what_to_use():
    query = infer(label=SENSITIVE, deployment=SMALL)
    told = refusal(query, ENGINE.decide(query), ["chat-secure"])
    assert (told.code, told.status) == ("marking_not_cleared", 403)
    assert told.message == (
        "OFFICIAL-SENSITIVE asked; deployment chat-small is cleared to OFFICIAL (policy rule ceilings/3). "
        "Cleared for you: chat-secure."
    )


def test_a_refusal_without_an_alternative_says_that_there_is_none():
    query = infer(label=SECRET)
    assert refusal(query, ENGINE.decide(query), []).message == (
        "SECRET asked; tenant health is cleared to OFFICIAL-SENSITIVE (policy rule ceilings/1). "
        "No other deployment here is cleared for you and that marking."
    )


def test_other_refusals_say_what_is_needed():
    query = infer(choices=2_000)
    told = refusal(query, ENGINE.decide(query), ["chat-secure"])
    assert told.code == "parameter_not_allowed"
    assert told.message == "Needed: at most 1024 choices; 2000 asked (policy rule bounds/1)."


def test_alternatives_are_sorted_and_bounded():
    query = infer(label=SENSITIVE, deployment=SMALL)
    names = [f"chat-{number}" for number in reversed(range(ALTERNATIVES_MAX + 3))]
    message = refusal(query, ENGINE.decide(query), names).message
    assert "Cleared for you: chat-0, chat-1" in message
    assert message.endswith(" and 3 more.")
