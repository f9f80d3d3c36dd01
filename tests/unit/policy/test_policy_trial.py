"""Trials: cases that an accreditor writes, held against what the rules decide."""

import pytest

from fastness.policy.bundle import make_bundle
from fastness.policy.port import PolicyProblem
from fastness.policy.trial import CASES_BYTES_MAX, CASES_MAX, read_cases, try_bundle
from policy_examples import SHIPPED, UK

CASES = """
[principals.nurse]
tenant = "health"
roles = ["developer"]
tenant_clearance = "official-sensitive; personal"

[deployments.chat]
ceiling = "SECRET; PERSONAL"

[nodes.bristol]
jurisdiction = "GB"
operator = "crown"
ceiling = "SECRET; PERSONAL"

[nodes.cloud]
jurisdiction = "GB"
operator = "example-cloud-uk"
ceiling = "SECRET; PERSONAL"

[[case]]
name = "a nurse's notes are answered on a Crown machine"
principal = "nurse"
action = "infer"
label = "OFFICIAL-SENSITIVE; PERSONAL"
deployment = "chat"
node = "bristol"
expect = "allowed"

[[case]]
name = "and never on a foreign-owned one"
principal = "nurse"
action = "infer"
label = "OFFICIAL-SENSITIVE; PERSONAL"
deployment = "chat"
node = "cloud"
expect = "denied"
rule = "places/2"

[[case]]
name = "a nurse cannot ask for two thousand answers"
principal = "nurse"
action = "infer"
deployment = "chat"
expect = "denied"
rule = "bounds/1"
parameters = { choices = 2000 }

[[case]]
name = "a nurse manages no keys"
principal = "nurse"
action = "manage_access"
expect = "denied"
"""


def trial(text: str = CASES, bundle=SHIPPED):
    return try_bundle(bundle, read_cases(text, "cases.toml", UK))


def problem(text: str) -> str:
    with pytest.raises(PolicyProblem) as caught:
        read_cases(text, "cases.toml", UK)
    assert str(caught.value).startswith("cases.toml: ")
    return str(caught.value)


def test_cases_that_come_out_as_expected_have_no_problem():
    outcomes = trial()
    assert [outcome.problem for outcome in outcomes] == [""] * 4
    assert outcomes[1].case.name == "and never on a foreign-owned one"
    assert outcomes[1].decision.rule == "places/2"


def test_a_case_that_comes_out_otherwise_says_how():
    assert trial(CASES.replace('expect = "allowed"', 'expect = "denied"'))[0].problem == (
        "expected denied; allowed by rule roles/1"
    )
    without_roles = make_bundle(UK, ())
    assert trial(bundle=without_roles)[0].problem == (
        "expected allowed; denied by rule default-deny: needed a rule that permits infer; "
        "none permits it to nurse, tenant health, roles developer"
    )


def test_denied_by_another_rule_than_expected_is_not_as_expected():
    assert trial(CASES.replace('rule = "places/2"', 'rule = "places/1"'))[1].problem == (
        "denied as expected, but by rule places/2, not places/1"
    )


@pytest.mark.parametrize(
    ("was", "becomes", "said"),
    [
        ('principal = "nurse"', 'principal = "doctor"', "there is no [principals.doctor]; there are nurse"),
        ('node = "bristol"', 'node = "leeds"', "no [nodes.leeds]; there are bristol, cloud"),
        ('deployment = "chat"', 'deployment = "x"', "no [deployments.x]"),
        ('expect = "allowed"', 'expect = "maybe"', "'maybe'"),
        ('expect = "allowed"', "", "`expect`"),
        ('action = "infer"', 'action = "fly"', "'fly'"),
        ('label = "OFFICIAL-SENSITIVE; PERSONAL"', 'label = "GEHEIM"', "'GEHEIM'"),
        ('ceiling = "SECRET; PERSONAL"', 'ceiling = "GEHEIM"', "'GEHEIM'"),
        ('rule = "bounds/1"', 'rules = "bounds/1"', "`rules`"),
        ("choices = 2000", "choises = 2000", "`choises`"),
        ('roles = ["developer"]', 'roles = ["developer"]\nage = 3', "`age`"),
        ("[[case]]", "[[case", "Expected"),
    ],
)
def test_what_a_file_of_cases_gets_wrong_is_named(was, becomes, said):
    assert was in CASES
    assert said in problem(CASES.replace(was, becomes, 1))


def test_a_file_of_cases_is_bounded():
    assert str(CASES_BYTES_MAX) in problem("#" * (CASES_BYTES_MAX + 1))
    short = '[[case]]\nname=""\nprincipal="n"\naction="read"\nexpect="denied"\n'
    assert f"there may be {CASES_MAX}" in problem("[principals.n]\nroles=[]\n" + short * (CASES_MAX + 1))
