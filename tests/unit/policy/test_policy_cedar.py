"""The engine: every rule of the package decides, a department's own come on top, and whatever is amiss is denied."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from fastness.core.marking import Label
from fastness.core.policy import Action, Decision, Query
from fastness.core.tenant import Credential
from fastness.policy.bundle import mandatory_policies, shipped_bundle
from fastness.policy.cedar import ADAPTERS_MAX, RESERVED, CedarEngine
from fastness.policy.port import PolicyEngine, PolicyProblem
from fastness.policy.profile import shipped_profile
from policy_examples import (
    BRISTOL,
    CLOUD,
    DUBLIN,
    HIGHEST,
    LOCAL,
    NURSE,
    OFFICIAL,
    PERSONAL,
    SECRET,
    SECURE,
    SENSITIVE,
    SHIPPED,
    SMALL,
    UK,
    adapter,
    cleared_to,
    denied,
    engine_with,
    infer,
    with_role,
)

ENGINE = CedarEngine(SHIPPED)
PERMIT_ALL = '@id("department/1") permit (principal, action, resource);'


def ask(query: Query) -> Decision:
    return ENGINE.decide(query)


def test_it_is_a_policy_engine():
    engine: PolicyEngine = ENGINE
    assert engine.digest == SHIPPED.digest
    assert engine.lattice.profile == UK


def test_what_is_cleared_everywhere_is_allowed_by_a_named_rule():
    assert ask(infer()) == Decision(True, "roles/1")
    assert ask(infer(cleared_to(HIGHEST), HIGHEST)) == Decision(True, "roles/1")


@pytest.mark.parametrize(
    ("query", "rule", "had"),
    [
        (infer(label=SECRET), "ceilings/1", "tenant health is cleared to OFFICIAL-SENSITIVE"),
        (infer(replace(NURSE, tenant_clearance=None), SENSITIVE), "ceilings/1", "tenant health is cleared to OFFICIAL"),
        (infer(replace(NURSE, clearance=OFFICIAL), SENSITIVE), "ceilings/2", "key_nurse is cleared to OFFICIAL"),
        (infer(label=PERSONAL), "ceilings/1", "tenant health is cleared to OFFICIAL-SENSITIVE"),
        (infer(label=SENSITIVE, deployment=SMALL), "ceilings/3", "deployment chat-small is cleared to OFFICIAL"),
        (
            infer(label=SENSITIVE, deployment=replace(SECURE, model_ceiling=OFFICIAL)),
            "ceilings/4",
            "model smollm2 of deployment chat-secure was admitted to OFFICIAL",
        ),
        (
            infer(label=SENSITIVE, deployment=replace(SECURE, adapters=(adapter(ceiling=OFFICIAL),))),
            "ceilings/5",
            "adapter tone of deployment chat-secure was admitted to OFFICIAL",
        ),
        (
            infer(label=SENSITIVE, node=replace(BRISTOL, ceiling=OFFICIAL)),
            "ceilings/6",
            "node bristol-07 is cleared to OFFICIAL",
        ),
        (infer(label=SENSITIVE, node=DUBLIN), "places/1", "node dublin-01 stands under IE, and it asks for GB"),
        (
            infer(label=SENSITIVE, node=CLOUD),
            "places/2",
            "node cloud-03 is run by example-cloud-uk, owner US, and it asks for GB",
        ),
    ],
)
def test_what_is_not_cleared_says_what_there_is(query, rule, had):
    decision = ask(query)
    assert denied(decision, rule), decision
    assert decision.had == had


@pytest.mark.parametrize(
    ("query", "rule", "had"),
    [
        (
            infer(deployment=replace(SECURE, tenants=("justice",))),
            "grants/1",
            "key_nurse is of tenant health, which it is not for",
        ),
        (infer(replace(NURSE, models=frozenset({"chat-small"}))), "grants/2", "key_nurse is for chat-small"),
        (
            infer(deployment=replace(SECURE, adapters=(adapter(), adapter("c" * 64)))),
            "grants/3",
            f"the adapter tone was admitted for {'c' * 64}",
        ),
        (
            infer(with_role("operator")),
            "grants/4",
            "key_nurse came with the credential api_key",
        ),
        (infer(with_role("auditor")), "default-deny", "none permits it to key_nurse, tenant health, roles auditor"),
    ],
)
def test_what_is_not_granted_says_why(query, rule, had):
    decision = ask(query)
    assert denied(decision, rule, "permission_denied"), decision
    assert decision.had == had


def test_a_tenant_that_a_deployment_is_for_may_use_it():
    assert ask(infer(deployment=replace(SECURE, tenants=("health", "justice")))).allowed
    assert ask(infer(replace(NURSE, models=frozenset({"chat-secure"})))).allowed
    assert ask(infer(deployment=replace(SECURE, adapters=(adapter(), adapter())))).allowed


@pytest.mark.parametrize(
    ("operator", "owner", "allowed"),
    [
        ("crown", "GB", True),
        ("crown", "", True),
        ("crown", "US", False),
        ("example-cloud-uk", "GB", False),
        ("example-cloud-uk", "", False),
        ("", "GB", False),
        ("somebody", "GB", False),
    ],
)
def test_only_the_profile_says_who_owns_an_operator(operator, owner, allowed):
    decision = ask(infer(label=SENSITIVE, node=replace(BRISTOL, operator=operator, owner=owner)))
    assert decision.allowed is allowed or denied(decision, "places/2")
    assert ask(infer(node=replace(BRISTOL, operator=operator, owner=owner))).allowed, "OFFICIAL asks for no owner"


def test_a_caveat_asks_for_a_place_as_a_marking_does():
    personal = Label("OFFICIAL", ("PERSONAL",))
    assert ask(infer(cleared_to(PERSONAL), personal, node=CLOUD)).allowed, "it asks for the place alone"
    assert denied(ask(infer(cleared_to(PERSONAL), personal, node=DUBLIN)), "places/1")


@pytest.mark.parametrize(
    ("parameters", "rule"),
    [
        ({"choices": 1_025}, "bounds/1"),
        ({"max_output_tokens": 100_000_001}, "bounds/2"),
        ({"tools": 4_097}, "bounds/3"),
        ({"temperature_milli": 2_001}, "bounds/4"),
        ({"temperature_milli": -1}, "bounds/4"),
    ],
)
def test_parameters_are_bounded_as_widely_as_the_api(parameters, rule):
    assert denied(ask(infer(**parameters)), rule, "parameter_not_allowed")
    assert ask(
        infer(choices=1_024, max_output_tokens=100_000_000, tools=4_096, temperature_milli=2_000, top_p_milli=1_000)
    ).allowed


@pytest.mark.parametrize(
    ("action", "roles"),
    [
        (Action.READ, {"admin", "approver", "auditor"}),
        (Action.DEPLOY, {"admin"}),
        (Action.ADMIT, {"admin", "approver"}),
        (Action.MANAGE_ACCESS, {"admin"}),
        (Action.APPLY_POLICY, {"admin"}),
        (Action.OPEN_SEALED, {"auditor"}),
        (Action.BATCH, {"developer", "admin"}),
        (Action.MANAGE_FLEET, {"admin"}),
        (Action.HEDGE, set()),
        (Action.BREAK_GLASS, set()),
        (Action.SHRED_SEALED, {"admin", "auditor"}),
    ],
)
def test_each_role_has_its_rights_on_the_installation_and_no_others(action, roles):
    everybody = ("developer", "admin", "approver", "auditor", "visitor", "")
    assert {role for role in everybody if ask(Query(with_role(role), action, OFFICIAL)).allowed} == roles
    assert ask(Query(LOCAL, action, OFFICIAL)).allowed is (
        action not in (Action.OPEN_SEALED, Action.BREAK_GLASS, Action.BATCH, Action.HEDGE)
    )


def test_a_developer_reads_the_deployments_of_their_own_tenant():
    assert ask(Query(NURSE, Action.READ, OFFICIAL, SECURE)).allowed
    assert not ask(Query(NURSE, Action.READ, OFFICIAL, replace(SECURE, tenants=("justice",)))).allowed


def test_an_approver_admits_up_to_their_own_clearance_and_the_local_operator_beyond_it():
    approver = with_role("approver")
    assert ask(Query(approver, Action.ADMIT, SENSITIVE)).allowed
    assert denied(ask(Query(approver, Action.ADMIT, SECRET)), "ceilings/1")
    assert ask(Query(LOCAL, Action.ADMIT, SECRET)).allowed


def test_sealed_content_is_opened_up_to_ones_clearance_and_by_nobody_for_running_the_machine():
    assert ask(Query(with_role("auditor"), Action.OPEN_SEALED, SENSITIVE)).allowed
    assert denied(ask(Query(with_role("auditor"), Action.OPEN_SEALED, SECRET)), "ceilings/1")
    assert not ask(Query(LOCAL, Action.OPEN_SEALED, OFFICIAL)).allowed
    assert not ask(Query(with_role("admin"), Action.OPEN_SEALED, OFFICIAL)).allowed


def test_the_glass_is_broken_by_auditors_of_the_installation_alone_up_to_their_clearance():
    ours = with_role("auditor", tenant="default")
    assert ask(Query(ours, Action.BREAK_GLASS, SENSITIVE)).allowed
    assert denied(ask(Query(ours, Action.BREAK_GLASS, SECRET)), "ceilings/1")
    assert not ask(Query(with_role("auditor"), Action.BREAK_GLASS, OFFICIAL)).allowed
    assert not ask(Query(with_role("admin", tenant="default"), Action.BREAK_GLASS, OFFICIAL)).allowed


@pytest.mark.parametrize("credential", [one for one in Credential if one is not Credential.LOCAL])
def test_nobody_is_the_local_operator_by_role_alone(credential):
    pretender = with_role("operator", credential=credential)
    assert denied(ask(Query(pretender, Action.APPLY_POLICY, OFFICIAL)), "grants/4", "permission_denied")


def test_a_departments_permit_cannot_open_secret():
    engine = engine_with(PERMIT_ALL, shipped=False)
    assert engine.decide(Query(NURSE, Action.DEPLOY, OFFICIAL)) == Decision(True, "department/1")
    assert denied(engine.decide(infer(label=SECRET)), "ceilings/1")
    assert denied(engine.decide(infer(cleared_to(HIGHEST), SECRET, SMALL)), "ceilings/3")
    assert denied(engine.decide(infer(cleared_to(HIGHEST), SECRET, node=CLOUD)), "places/2")
    assert denied(engine.decide(infer(with_role("operator"))), "grants/4", "permission_denied")


def test_what_no_rule_permits_is_denied_but_the_machine_keeps_its_lifeline():
    engine = engine_with(shipped=False)
    assert denied(engine.decide(infer()), "default-deny", "permission_denied")
    assert denied(engine.decide(Query(LOCAL, Action.DEPLOY, OFFICIAL)), "default-deny", "permission_denied")
    assert engine.decide(Query(LOCAL, Action.APPLY_POLICY, OFFICIAL)) == Decision(True, "lifeline/1")


def test_a_departments_forbid_narrows_and_says_so_in_its_own_words_or_in_ours():
    worded = '@id("health/1") @code("parameter_not_allowed") @needed("no {parameters.tools}") @had("{label}")'
    forbid = 'forbid (principal in Tenant::"health", action, resource);'
    assert engine_with(f"{worded} {forbid}").decide(infer(tools=3)) == Decision(
        False, "health/1", "parameter_not_allowed", "no 3", "OFFICIAL"
    )
    assert engine_with(f'// Not {{yet}}.\n@id("health/1")\n{forbid}').decide(infer()) == Decision(
        False,
        "health/1",
        "permission_denied",
        "that no rule forbids infer",
        "department-0.cedar, line 2, forbids it: Not {yet}.",
    )


def test_a_forbid_that_fails_denies_although_cedar_would_skip_it():
    fails = """@id("health/1") forbid (principal, action == Action::"infer", resource)
        when { context.parameters.choices * 9223372036854775807 > 5 };"""
    engine = engine_with(fails)
    assert engine.decide(infer(choices=1)).rule == "health/1"
    decision = engine.decide(infer(choices=2))
    assert denied(decision, "error", "permission_denied")
    assert "overflow" in decision.had


def test_a_permit_that_fails_denies_as_well():
    fails = """@id("health/1") permit (principal, action == Action::"infer", resource)
        when { context.parameters.choices * 9223372036854775807 > 5 };"""
    assert denied(engine_with(fails).decide(infer(choices=2)), "error", "permission_denied")


@pytest.mark.parametrize(
    "label",
    [Label("STRENG GEHEIM"), Label("official"), Label("OFFICIAL", ("EYES",)), Label("OFFICIAL", ("UK EYES ONLY",))],
)
def test_a_label_that_the_profile_does_not_know_is_denied(label):
    assert denied(ask(infer(cleared_to(HIGHEST), label)), "unknown-label", "unknown_marking")


def test_ceilings_of_another_profile_permit_nothing():
    foreign = Label("GEHEIM")
    assert denied(ask(infer(cleared_to(foreign))), "ceilings/1")
    assert denied(ask(infer(deployment=replace(SECURE, ceiling=foreign))), "ceilings/3")
    assert denied(ask(infer(node=replace(BRISTOL, ceiling=foreign))), "ceilings/6")


def test_another_states_policy_is_its_profile():
    engine = CedarEngine(shipped_bundle(shipped_profile("de")))
    secret = Label("GEHEIM")
    deployment = replace(SECURE, ceiling=secret, model_ceiling=secret)
    berlin = replace(BRISTOL, name="berlin", jurisdiction="DE", operator="bund", owner="DE", ceiling=secret)
    assert engine.decide(infer(cleared_to(secret), Label("RESTREINT UE"), deployment, berlin)).allowed
    assert denied(
        engine.decide(infer(cleared_to(Label("VS-NfD")), Label("RESTREINT UE"), deployment, berlin)), "ceilings/1"
    )


@pytest.mark.parametrize(
    "query",
    [
        infer(choices=2**63),
        infer(choices=-(2**63) - 1),
        infer(choices="many"),
        infer(uses=(1,)),
        infer(deployment=None),
        infer(replace(NURSE, roles=None)),
        infer(replace(NURSE, id="\ud800")),
        infer(replace(NURSE, tenant_clearance="SECRET")),
        infer(node=replace(BRISTOL, jurisdiction=7)),
        infer(deployment=replace(SECURE, adapters=tuple(adapter() for _ in range(ADAPTERS_MAX + 1)))),
        None,
    ],
)
def test_what_cannot_be_asked_is_denied_and_never_raises(query):
    assert denied(ask(query), "error", "permission_denied")


class Panic(BaseException):
    """As Cedar's binding raises for a defect of its own: no `Exception`."""


def test_a_panic_of_cedar_denies(monkeypatch):
    def panic(*_: object) -> None:
        raise Panic

    engine = CedarEngine(SHIPPED)
    monkeypatch.setattr("cedarpy.is_authorized", panic)
    assert denied(engine.decide(infer()), "error", "permission_denied")


def test_names_may_hold_anything():
    odd = 'a"\\\n::{x}\x00é'
    query = infer(replace(NURSE, id=odd, tenant=odd), SENSITIVE, replace(SMALL, name=odd, tenants=(odd,)))
    decision = ask(query)
    assert denied(decision, "ceilings/3")
    assert odd in decision.had


@pytest.mark.parametrize("name", [*RESERVED, "ceilings/9", "places/1", "grants/x", "lifeline/2", "ceilings"])
def test_a_bundle_cannot_take_the_name_of_a_mandatory_rule(name):
    with pytest.raises(PolicyProblem, match=r"department-0\.cedar:1: rule"):
        engine_with(f'@id("{name}") permit (principal, action, resource);')


def test_two_rules_cannot_have_one_name():
    with pytest.raises(PolicyProblem, match=r"department-1\.cedar:2: .* at department-0\.cedar:1"):
        engine_with(PERMIT_ALL, f"\n{PERMIT_ALL}")


@pytest.mark.parametrize(
    "annotation", ['@code("internal_error")', '@needed("{node.colour}")', '@had("{")', '@had("a\\nb")']
)
def test_annotations_are_checked_before_they_are_in_force(annotation):
    with pytest.raises(PolicyProblem, match="rule department/1"):
        engine_with(f"{annotation} {PERMIT_ALL.replace('permit', 'forbid')}")


def test_a_rule_nested_too_deeply_for_cedar_is_a_problem_and_not_a_crash():
    chain = " || ".join(f'resource.name == "{number}"' for number in range(300))
    with pytest.raises(PolicyProblem, match=r"department-1\.cedar:2: rule x/1: too long a chain"):
        engine_with(
            PERMIT_ALL, f'\n@id("x/1") permit (principal, action == Action::"infer", resource) when {{ {chain} }};'
        )


def test_a_bundle_whose_digest_is_not_its_own_is_refused():
    with pytest.raises(PolicyProblem, match="digest"):
        CedarEngine(replace(SHIPPED, digest="0" * 64))


def test_every_mandatory_rule_is_in_every_policy_and_has_its_words():
    mandatory = [rule for rule in engine_with(shipped=False).rules.values() if rule.mandatory]
    assert {rule.file for rule in mandatory} == {text.name for text in mandatory_policies()}
    assert all(rule.comment for rule in ENGINE.rules.values() if rule.effect == "permit" and not rule.mandatory)
    assert all(rule.code and rule.needed and rule.had for rule in ENGINE.rules.values() if rule.effect == "forbid")


def test_an_engine_made_in_one_thread_decides_in_another():
    with ThreadPoolExecutor(1) as thread:
        assert thread.submit(CedarEngine, SHIPPED).result().decide(infer()).allowed
        assert thread.submit(ENGINE.decide, infer()).result().allowed
