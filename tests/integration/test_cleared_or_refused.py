"""Law 4, cleared or refused: over generated worlds nothing reaches a replica that a plain second reading refuses.

Each world is made from its number. When one fails, `judge(number)` is that world again.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import pytest

from fastness.core.error import ERROR_CODES
from fastness.core.marking import Node
from fastness.core.policy import Action, Decision, PolicyText, Query
from fastness.policy.bundle import make_bundle, shipped_bundle
from fastness.policy.cedar import CedarEngine
from fastness.policy.clearance import cleared, refusal
from fastness.policy.decisions import Clearances
from reference_policy import Reference, World, make_profile, make_world

WORLDS, PARTS = 100_000, 2
PROFILES = 100
REMEMBERED = 32
"""Few, so that what is remembered is forgotten, and objects come and go at the same addresses."""

TOO_MUCH = (
    "permit (principal, action, resource);",
    'permit (principal in Tenant::"health", action, resource);',
    'permit (principal, action == Action::"infer", resource) when { context.parameters.choices < 1025 };',
    'permit (principal in Role::"visitor", action, resource) when { context.label.caveats.contains("C0") };',
)
"""What a department might write that would open everything, if its rules could."""


@dataclass(frozen=True)
class Policy:
    """A policy in force, its reference, and whether the reference says exactly what it permits."""

    clearances: Clearances
    reference: Reference
    infer: Callable[[World, Node | None], bool]
    other: Callable[[World, bool], bool]
    exact: bool


@cache
def policies(number: int) -> tuple[Policy, ...]:
    """The shipped policy under a profile; one that permits everything; one with a permission too many."""
    profile = make_profile(number)
    reference = Reference(profile)
    shipped = shipped_bundle(profile)
    widened = PolicyText("department.cedar", f'@id("department/1")\n{TOO_MUCH[number % len(TOO_MUCH)]}')
    everything = PolicyText("all.cedar", f'@id("all/1")\n{TOO_MUCH[0]}')
    bundles = (shipped, make_bundle(profile, (everything,)), make_bundle(profile, (*shipped.policies, widened)))
    clearances = [Clearances(CedarEngine(bundle), REMEMBERED) for bundle in bundles]
    return (
        Policy(clearances[0], reference, reference.shipped_infer, reference.shipped_other, exact=True),
        Policy(clearances[1], reference, reference.mandatory_infer, reference.mandatory_other, exact=True),
        Policy(clearances[2], reference, reference.mandatory_infer, reference.mandatory_other, exact=False),
    )


def judge(number: int) -> list[Decision]:
    """Make a world, ask, and hold every answer against the reference; return all decisions."""
    of_profile = policies(number % PROFILES)
    policy = of_profile[number // PROFILES % len(of_profile)]
    world = make_world(number, policy.reference.profile)
    return [_judge_clearance(number, policy, world), _judge_other(number, policy, world)]


def _judge_clearance(number: int, policy: Policy, world: World) -> Decision:
    asked = (world.principal, world.label, world.parameters, world.deployment, world.nodes)
    clearance = policy.clearances.of(*asked)
    expected = {node.name for node in world.nodes if policy.infer(world, node)}
    assert clearance.nodes <= expected, f"world {number}: {clearance} for {asked}"
    if policy.exact:
        assert clearance.nodes == expected, f"world {number}: {clearance}, expected {expected} for {asked}"
        allowed = bool(expected) if world.nodes else policy.infer(world, None)
        assert clearance.decision.allowed == allowed, f"world {number}: {clearance} for {asked}"
    if number % 7 == 0:
        unremembered = cleared(policy.clearances.engine.decide, *asked)
        assert unremembered == clearance, f"world {number}: {unremembered}, remembered {clearance}"
    query = Query(world.principal, Action.INFER, world.label, world.deployment, None, world.parameters)
    _says_why(number, query, clearance.decision)
    return clearance.decision


def _judge_other(number: int, policy: Policy, world: World) -> Decision:
    deployment = world.deployment if number % 2 else None
    query = Query(world.principal, world.action, world.label, deployment)
    decision = policy.clearances.decide(query)
    expected = policy.other(world, deployment is not None)
    assert decision.allowed <= expected, f"world {number}: {decision} for {query}"
    assert decision.allowed == expected or not policy.exact, f"world {number}: {decision} for {query}"
    _says_why(number, query, decision)
    return decision


def _says_why(number: int, query: Query, decision: Decision) -> None:
    assert decision.rule, f"world {number}: {decision}"
    if not decision.allowed:
        assert decision.code in ERROR_CODES, f"world {number}: {decision}"
        assert decision.needed, f"world {number}: {decision}"
        assert decision.had, f"world {number}: {decision}"
        assert f"(policy rule {decision.rule})" in refusal(query, decision, []).message


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("part", range(PARTS))
def test_over_a_hundred_thousand_worlds_nobody_is_cleared_whom_the_reference_refuses_and_every_denial_says_why(
    part: int,
) -> None:
    rules: Counter[str] = Counter()
    allowed = 0
    for number in range(part, WORLDS, PARTS):
        for decision in judge(number):
            rules[decision.rule] += 1
            allowed += decision.allowed
    policies.cache_clear()  # a gigabyte of decisions
    print(f"{WORLDS // PARTS} worlds, {allowed} allowed; decided by {dict(sorted(rules.items()))}")
    assert rules["error"] == 0
    assert allowed > WORLDS // PARTS // 5, "the worlds are too strict to prove anything"
    mandatory = {rule for rule, one in policies(0)[0].clearances.engine.rules.items() if one.mandatory}
    assert not [rule for rule in mandatory if rules[rule] < 20], "a rule that hardly ever decided was not tried"


def test_a_few_hundred_worlds_agree_with_the_reference() -> None:
    for profile in range(10):  # making its policies takes longer than judging its worlds
        for each in range(50):
            judge(profile + PROFILES * each)
