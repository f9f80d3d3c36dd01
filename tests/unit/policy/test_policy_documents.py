"""The pages on policy say what the rules, the schema and the code say, and their examples work."""

import re
from pathlib import Path

import pytest

from fastness.core.policy import Action, PolicyText
from fastness.policy import bundle, cedar, difference, profile, statements, templates, trial
from fastness.policy.bundle import make_bundle, schema_text
from fastness.policy.cedar import CedarEngine
from fastness.policy.trial import read_cases, try_bundle
from policy_examples import SHIPPED, UK

DOCS = Path(__file__).parents[3] / "docs"
REFERENCE = (DOCS / "reference" / "policy-rules.md").read_text()
HOW_TO = (DOCS / "how-to" / "write-a-policy.md").read_text()


def block(page: str, language: str) -> str:
    return re.search(rf"```{language}\n(.*?)```", page, re.DOTALL)[1]


def test_every_shipped_rule_is_in_the_table_in_the_order_in_which_it_is_told():
    rows = re.findall(r"^\| `(\w+/\d+)` \| (\w+) \| (yes|no) \|", REFERENCE, re.MULTILINE)
    rules = CedarEngine(SHIPPED).rules.values()
    assert rows == [(rule.id, rule.effect, "yes" if rule.mandatory else "no") for rule in rules]


def test_every_entity_attribute_and_action_of_the_schema_is_documented():
    schema = re.sub(r"//.*", "", schema_text())
    named = set(re.findall(r"`(\w+)\??`", REFERENCE))
    entities = set(re.findall(r"^entity (\w+)", schema, re.MULTILINE))
    attributes = set(re.findall(r"(\w+)\??: ", schema.partition("\naction ")[0]))
    assert {"Principal", "Node"} <= entities
    assert {"tenant_clearance", "jurisdictions", "top_p_milli"} <= attributes
    assert (entities | attributes) - named == set()
    actions = re.findall(r"^action ([\w, ]+?)\s+appliesTo", schema, re.MULTILINE)
    assert set(", ".join(actions).split(", ")) == {action.value for action in Action} <= named


def test_everything_that_a_refusal_may_tell_is_documented():
    section = REFERENCE.partition("## What a refusal may tell")[2].partition("\n## ")[0]
    assert set(re.findall(r"`\{([\w.]+)\}`", section)) == templates.FACTS
    assert set(re.findall(r"`([a-z_]+)`", section)) == set(templates.CODES)


@pytest.mark.parametrize("name", cedar.RESERVED)
def test_every_name_in_the_place_of_a_rule_is_documented(name):
    assert f"`{name}`" in REFERENCE


def test_the_bounds_on_the_page_are_those_of_the_code():
    section = REFERENCE.partition("## Bounds")[2]
    rooms = (bundle, cedar, difference, profile, statements, trial)
    unsaid = {"FILE_NAME_CHARACTERS_MAX", "TEXT_CHARACTERS_MAX", "DETAIL_CHARACTERS_MAX"}
    named = {name: value for room in rooms for name, value in vars(room).items() if name.endswith("_MAX")}
    assert named
    assert [name for name, value in named.items() if name not in unsaid and str(value) not in section] == []


def test_the_example_of_a_policy_does_what_its_cases_say():
    rules = PolicyText("health.cedar", block(HOW_TO, "cedar"))
    outcomes = try_bundle(
        make_bundle(UK, (*SHIPPED.policies, rules)), read_cases(block(HOW_TO, "text"), "cases.toml", UK)
    )
    assert [outcome.problem for outcome in outcomes] == ["", "", ""]
