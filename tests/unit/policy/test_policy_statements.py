"""Rules read: every problem names file and line, and nothing reaches Cedar that would end the process."""

import cedarpy
import pytest

from fastness.core.policy import PolicyText
from fastness.policy.bundle import schema_text
from fastness.policy.port import PolicyProblem
from fastness.policy.statements import NESTING_MAX, RULE_BYTES_MAX, RULES_MAX, TEXT_BYTES_MAX, read_rules

SCHEMA = cedarpy.Schema.from_str(schema_text())
RULE = '@id("x/1") permit (principal, action, resource);'


def rules(text: str):
    return [rule for rule, _ in read_rules(PolicyText("x.cedar", text), SCHEMA, mandatory=False)]


def problem(text: str) -> str:
    with pytest.raises(PolicyProblem) as caught:
        rules(text)
    return str(caught.value)


def when(condition: str) -> str:
    return f'@id("x/1") permit (principal, action == Action::"infer", resource) when {{ {condition} }};'


def test_a_rule_knows_its_place_and_what_stands_above_it():
    text = '// The file.\n\n// What the rule\n// is for.\n@id("x/1")\npermit (principal, action, resource);\n\n' + (
        '@id("x/2") @code("permission_denied") @needed("n") @had("h")\nforbid (principal, action, resource);\n// end\n'
    )
    first, second = rules(text)
    assert (first.id, first.file, first.line, first.effect) == ("x/1", "x.cedar", 5, "permit")
    assert first.comment == "What the rule is for."
    assert first.text == '@id("x/1")\npermit (principal, action, resource);'
    assert (second.line, second.comment, second.code, second.needed, second.had) == (
        8,
        "",
        "permission_denied",
        "n",
        "h",
    )


def test_semicolons_and_brackets_in_strings_and_comments_end_nothing():
    (rule,) = rules(f'// a; ( {{ "\n{when("""context.parameters.uses.contains("a;)}") // ; "({[""" + chr(10))}')
    assert rule.id == "x/1"


def test_nothing_is_no_rule():
    assert rules("") == []
    assert rules("// only words\n\n") == []


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (f"{RULE}\n\nforbid (principal action, resource);", "x.cedar:3: unexpected token"),
        (f"{RULE}\npermit (principal, action, resource)", "x.cedar:2: a rule that does not end with a semicolon"),
        (f"{RULE}\n ;", "x.cedar:2: "),
        ('\n@id("x/1', "x.cedar:2: a string that does not end"),
        ("permit (principal, action, resource);", "x.cedar:1: each rule needs a name"),
        ('@id("") permit (principal, action, resource);', "none came"),
        ('@id("A b") permit (principal, action, resource);', "'A b' came"),
        ('@id("x/1") permit (principal == ?principal, action, resource);', "without ?principal"),
        (when("context.mood == 1"), "mood"),
        (when("resource.ceiling > 3"), "x.cedar:1: rule x/1: "),
        (when("principal.colour == 1"), "colour"),
        (when("context.node.name == 1"), "rule x/1"),
        (when("context.parameters.max_output_tokens > 1"), "max_output_tokens"),
        (when('principal in Country::"GB"'), "Country"),
        ('@id("x/1") permit (principal, action == Action::"fly", resource);', "fly"),
        (when(" && ".join(["true"] * 2_000)), "x.cedar:1: "),
    ],
)
def test_what_cedar_or_the_schema_refuses_is_told_with_its_line(text, said):
    assert said in problem(text)


def test_where_one_rule_is_wrong_its_own_line_is_told():
    good = "\n".join(RULE.replace("x/1", f"x/{number}") for number in range(20))
    assert problem(f"{good}\n\n{when('context.mood == 1')}").startswith("x.cedar:22: rule x/1: ")


@pytest.mark.parametrize("hidden", ["\r", "\u2028", "\u202e", "\u200b", "\x00", "\u00a0", "\x0b"])
def test_nothing_hides_in_a_comment(hidden):
    text = f"\n// All is well. {hidden}{RULE}\n"
    assert problem(text) == f"x.cedar:2: the invisible character U+{ord(hidden):04X}"


def test_lines_may_end_as_they_do_on_windows():
    (rule,) = rules(f"// Why.\r\n{RULE}\r\n")
    assert (rule.line, rule.comment) == (2, "Why.")


@pytest.mark.parametrize("pair", ["()", "[]", "{}"])
@pytest.mark.parametrize("depth", [NESTING_MAX + 1, 4_000])
def test_deep_nesting_is_refused_before_it_overflows_cedars_stack(pair, depth):
    assert f"more than {NESTING_MAX} deep" in problem(when(pair[0] * depth + "1" + pair[1] * depth + " == 1"))


def test_rules_are_bounded():
    assert str(TEXT_BYTES_MAX) in problem("/" * (TEXT_BYTES_MAX + 1))
    names = ", ".join(f'"{number:05}"' for number in range(3_000))
    assert str(RULE_BYTES_MAX) in problem(when(f"context.parameters.uses.containsAny([{names}])"))
    many = "\n".join(RULE.replace("x/1", f"x/{number}") for number in range(RULES_MAX + 1))
    assert f"{RULES_MAX} rules at most" in problem(many)
