"""What rules say of a denial: a closed vocabulary, checked before it is in force."""

from fastness.core.marking import Lattice
from fastness.policy.facts import Facts
from fastness.policy.templates import FACT_CHARACTERS_MAX, FACTS, TEMPLATE_CHARACTERS_MAX, fill, problem_of
from policy_examples import UK, adapter, infer


def test_a_template_may_only_name_facts_there_are():
    assert problem_of("node {node.name} of {deployment.name}") == ""
    assert "no {node.colour}; there are action, adapter.base" in problem_of("{node.colour}")
    assert problem_of("{label") == problem_of("label}") == problem_of("{{label}}") == "a brace without its partner"
    assert str(TEMPLATE_CHARACTERS_MAX) in problem_of("x" * (TEMPLATE_CHARACTERS_MAX + 1))
    assert problem_of("a\nb")


def test_every_fact_of_the_vocabulary_is_in_the_tree():
    tree = Facts(Lattice(UK)).tree(infer(choices=2, max_output_tokens=3, temperature_milli=4, top_p_milli=5), adapter())
    for path in FACTS:
        part = tree
        for step in path.split("."):
            assert step in part, path
            part = part[step]


def test_what_is_not_there_is_none_and_lists_are_spelt_out():
    tree = {"node": None, "principal": {"roles": ["a", "b"], "tenant": ""}, "parameters": {"choices": 0}}
    assert fill("{node.name} {principal.roles} {principal.tenant} {parameters.choices}", tree) == "none a, b none 0"


def test_a_fact_is_cut_and_never_read_as_a_template():
    tree = {"label": "x" * 1_000, "action": "{label}"}
    assert len(fill("{label}", tree)) == FACT_CHARACTERS_MAX
    assert fill("{action}", tree) == "{label}"
