"""Parameters of one kind are permitted alike: read off the rules, never guessed."""

from itertools import product
from random import Random

import pytest

from fastness.core.policy import Parameters
from policy_examples import engine_with, infer


def kinds(condition: str):
    rule = f'@id("x/1") forbid (principal, action == Action::"infer", resource) when {{ {condition} }};'
    return engine_with(rule, shipped=False).kinds


def test_what_no_rule_mentions_is_not_told_apart():
    of = kinds("context.parameters.choices > 3").of
    assert of(Parameters(("a",), 1, 5, 700)) == of(Parameters(("b",), 2, 9, 0))
    assert of(Parameters(choices=3)) != of(Parameters(choices=4))
    assert of(Parameters()) != of(Parameters(max_output_tokens=1)), "whether it is set is always told apart"


@pytest.mark.parametrize("operator", ["<", "<=", ">", ">=", "==", "!="])
@pytest.mark.parametrize("turned", [False, True])
def test_a_comparison_tells_below_at_and_above_apart(operator, turned):
    sides = ("7", "context.parameters.choices") if turned else ("context.parameters.choices", "7")
    of = kinds(f"{sides[0]} {operator} {sides[1]}").of
    assert len({of(Parameters(choices=number)) for number in (6, 7, 8)}) == 3
    assert of(Parameters(choices=8)) == of(Parameters(choices=800))
    assert of(Parameters(choices=-8)) == of(Parameters(choices=6))


@pytest.mark.parametrize(
    "condition",
    [
        "context.parameters.choices * 2 > 6",
        "context.parameters.choices > context.parameters.tools",
        "[1, 2].contains(context.parameters.choices)",
        "{a: context.parameters}.a.choices > 3",
        "{a: context}.a.parameters.choices > 3",
        '(if principal.credential == "oidc" then context else context).parameters.choices > 3',
        "(if context.parameters.choices == 3 then 1 else context.parameters.choices) > 2",
    ],
)
def test_a_parameter_used_in_any_other_way_keeps_its_value(condition):
    of = kinds(condition).of
    assert len({of(Parameters(choices=number)) for number in range(10)}) == 10


def test_names_in_use_are_told_apart_only_where_a_rule_looks_at_them():
    of = kinds('context.parameters.uses.contains("seed")').of
    assert of(Parameters(("seed",))) != of(Parameters(("stop",)))


def test_other_parts_of_the_context_leave_parameters_alone():
    of = kinds('context has node && context.node.name == "a" && context.label.caveats.contains("PERSONAL")').of
    assert of(Parameters(("a",), 1)) == of(Parameters(("b",), 9))


def test_what_cedar_cannot_count_is_a_kind_of_its_own():
    of = kinds("context.parameters.tools > 3").of
    assert len({of(Parameters(choices=number)) for number in (1, 2**63 - 1, 2**63, -(2**63), -(2**63) - 1)}) == 5


CONDITIONS = [
    f"context.parameters has {name} && context.parameters.{name} {operator} {number}"
    for name, operator, number in product(("max_output_tokens", "temperature_milli"), ("<", ">=", "=="), (2, 5))
] + ["context.parameters.choices - context.parameters.tools == 1", 'context.parameters.uses.contains("a")']


@pytest.mark.parametrize("seed", range(6))
def test_equal_kinds_have_equal_decisions(seed):
    chance = Random(seed)
    conditions = chance.sample(CONDITIONS, 3)
    engine = engine_with(
        *(
            f'@id("x/{place}") forbid (principal, action == Action::"infer", resource) when {{ {one} }};'
            for place, one in enumerate(conditions)
        ),
        '@id("y/1") permit (principal, action, resource);',
        shipped=False,
    )
    seen = {}
    for _ in range(150):
        query = infer(
            uses=chance.choice(((), ("a",), ("b",))),
            choices=chance.randint(1, 3),
            tools=chance.randint(0, 2),
            max_output_tokens=chance.choice((None, *range(1, 8))),
            temperature_milli=chance.choice((None, *range(1, 8))),
        )
        decision = engine.decide(query)
        assert seen.setdefault(engine.kinds.of(query.parameters), decision.rule) == decision.rule, conditions
