"""The routes of policy, asked as the CLI asks them."""

from importlib import resources

import pytest

from fastness.control.declaration import declare
from fastness.core.model import ModelCard, ModelKind
from fastness.core.replica import Replica, ReplicaState, RoutingSnapshot
from fastness.policy.bundle import shipped_bundle
from fastness.policy.profile import shipped_profile
from fastness.store.snapshot_file import write_snapshot

UK_TOML = (resources.files("fastness.policy") / "profiles/uk.toml").read_text()
UK = shipped_bundle(shipped_profile("uk"))
CHAT = ModelCard("small", ModelKind.CHAT, "d" * 64, 98, "Apache-2.0", 2048, 1)
CASES = """
[principals.clerk]
tenant = "health"
roles = ["developer"]

[deployments.chat]
ceiling = "OFFICIAL"

[[case]]
name = "a clerk asks"
principal = "clerk"
action = "infer"
deployment = "chat"
expect = "allowed"

[[case]]
name = "a clerk makes keys"
principal = "clerk"
action = "manage_access"
expect = "{expect}"
"""


def given(*more, without=()):
    """The shipped policy as it is sent, with more rules, or without some files."""
    texts = {one.name: one.text for one in UK.policies if one.name not in without}
    return {"profile": UK_TOML, "policies": texts | {f"{number}.cedar": rule for number, rule in enumerate(more)}}


NO_INFER = '@id("shut/1") forbid (principal, action == Action::"infer", resource) when { principal in Role::"admin" };'


def serve(world, *nodes):
    """Leave in the run directory what a supervisor does that serves `small` on these nodes."""
    from fastness.config import load

    settings = load({"FASTNESS_HOME": str(world.root), "FASTNESS__ENGINE__CEILING": "OFFICIAL-SENSITIVE"})[0]
    declaration = declare(settings, world.policies.lattice)
    replicas = tuple(
        Replica(f"small-{one}", "small", "fake", ReplicaState.READY, f"/run/{one}", 1, 1, 1, True, node="local")
        for one in range(1)
    )
    routing = RoutingSnapshot(1, (CHAT,), replicas, (declaration.deployment(CHAT),), (declaration.node, *nodes))
    write_snapshot(world.run_directory / "routing.json", routing)


@pytest.fixture
def health(world):
    serve(world)
    world.post("/tenants", {"id": "health", "clearance": "OFFICIAL-SENSITIVE; PERSONAL", "marking": "OFFICIAL"})
    world.key = world.post("/keys", {"tenant": "health", "name": "ci"})["id"]
    return world


def test_the_policy_in_force_is_shown_whole(world):
    shown = world.get("/policy")
    assert (shown["version"], shown["digest"], shown["applied_by"]) == (1, UK.digest, "local")
    assert shown["profile"]["default"] == "OFFICIAL"
    assert [one["name"] for one in shown["policies"]] == [one.name for one in UK.policies]


def test_a_policy_is_applied_listed_shown_again_and_rolled_back(world):
    applied = world.post("/policy/apply", given(NO_INFER))
    assert applied["version"] == 2
    assert [one["version"] for one in world.get("/policy/history")["policies"]] == [2, 1]
    assert len(world.get("/policy/history", count=1)["policies"]) == 1
    assert world.get("/policy", version=1)["digest"] == UK.digest
    assert world.get("/policy", version=2)["digest"] == applied["digest"]
    back = world.post("/policy/apply", {"version": 1})
    assert (back["version"], back["digest"]) == (3, UK.digest)
    assert world.published_policy().version == 3


@pytest.mark.parametrize(
    ("body", "code", "param"),
    [
        ({}, "missing_field", "profile"),
        ({"profile": UK_TOML}, "missing_field", "policies"),
        ({"policies": {}}, "missing_field", "profile"),
        ({"profile": UK_TOML, "policies": {}, "version": 1}, "missing_field", "policies"),
        ({"version": 9}, "not_found", "version"),
        ({"version": -1}, "invalid_value", "version"),
        ({"profile": "default = [", "policies": {}}, "policy_invalid", None),
        ({"profile": UK_TOML, "policies": {"a.cedar": "permit("}}, "policy_invalid", None),
        ({"profile": UK_TOML, "policies": {"a.cedar": 5}}, "invalid_type", None),
        ({"profile": UK_TOML, "policies": {"../a.cedar": ""}}, "invalid_value", "policies"),
        ({"profile": UK_TOML, "policies": {"night": ""}}, "invalid_value", "policies"),
    ],
)
def test_what_is_no_policy_is_refused_and_the_one_in_force_stays(world, body, code, param):
    for path in ("/policy/apply", "/policy/diff"):
        problem = world.ask("POST", path, json=body).json()
        assert problem["code"] == code, problem
        assert problem["param"] == param or param is None
    assert world.get("/policy")["version"] == 1


def test_a_policy_may_be_larger_than_other_bodies_but_not_boundless(world):
    comment = "// " + "x" * 100_000 + "\n"
    assert world.post("/policy/apply", given(comment + NO_INFER))["version"] == 2
    content = b'{"profile": "' + b"x" * 5_000_000 + b'"}'
    assert world.ask("POST", "/policy/apply", content=content).json()["code"] == "body_too_large"


def test_locking_oneself_out_takes_force(world):
    locked = given('@id("shut/2") forbid (principal, action == Action::"apply_policy", resource);')
    assert world.ask("POST", "/policy/apply", json=locked).json()["code"] == "policy_invalid"
    assert world.post("/policy/apply", locked | {"force": True})["version"] == 2
    assert world.ask("POST", "/policy/apply", json={"version": 1}).status_code == 403


def test_cases_are_tried_on_the_policy_in_force_or_on_one_that_is_sent(world):
    tried = world.post("/policy/test", {"cases": CASES.replace("{expect}", "denied")})
    assert (tried["passed"], tried["policy"]) == (True, UK.digest)
    assert [(one["name"], one["allowed"]) for one in tried["outcomes"]] == [
        ("a clerk asks", True),
        ("a clerk makes keys", False),
    ]
    failed = world.post("/policy/test", {"cases": CASES.replace("{expect}", "allowed")})
    assert not failed["passed"]
    assert "default-deny" in failed["outcomes"][1]["problem"]
    sent = world.post("/policy/test", {"cases": CASES.replace("{expect}", "denied")} | given(without=("roles.cedar",)))
    assert [one["passed"] for one in sent["outcomes"]] == [False, True]
    assert world.get("/policy")["version"] == 1


def test_cases_that_cannot_be_read_name_the_file(world):
    problem = world.ask("POST", "/policy/test", json={"cases": "[[case]]", "name": "mine.toml"}).json()
    assert problem["code"] == "policy_invalid"
    assert "mine.toml" in problem["detail"]


def test_a_decision_is_explained_with_rule_needed_had_and_every_attribute(health):
    said = health.post("/policy/explain", {"key": health.key, "model": "small", "marking": "official-sensitive"})
    assert (said["allowed"], said["marking"], said["policy"]) == (False, "OFFICIAL-SENSITIVE", UK.digest)
    assert said["principal"] == {
        "id": health.key,
        "tenant": "health",
        "roles": ["developer"],
        "credential": "api_key",
        "models": None,
        "clearance": None,
        "tenant_clearance": "OFFICIAL-SENSITIVE; PERSONAL",
        "marking": "OFFICIAL",
    }
    (decision,) = said["decisions"]
    assert (decision["node"], decision["code"]) == ("local", "marking_not_cleared")
    assert decision["rule"] == "ceilings/4"
    assert "small" in decision["had"]
    assert {"ceilings/4", "ceilings/6", "places/2"} <= {rule["id"] for rule in decision["rules"]}
    assert decision["facts"]["node"]["jurisdiction"] == "GB"
    assert health.post("/policy/explain", {"key": health.key, "model": "small"})["allowed"]


def test_a_tenant_is_explained_before_it_has_a_key(health):
    said = health.post("/policy/explain", {"tenant": "health", "model": "small"})
    assert (said["allowed"], said["principal"]["roles"]) == (True, ["developer"])
    said = health.post("/policy/explain", {"tenant": "health", "role": "auditor", "model": "small"})
    assert said["decisions"][0]["rule"] == "default-deny"


def test_without_a_key_or_tenant_it_is_about_whoever_asks(health):
    said = health.post("/policy/explain", {"action": "manage_access"})
    assert (said["allowed"], said["principal"]["id"], said["decisions"][0]["node"]) == (True, "local", "")
    assert health.post("/policy/explain", {"key": "local", "action": "apply_policy"})["allowed"]


def test_parameters_are_part_of_the_question(health):
    said = health.post("/policy/explain", {"key": health.key, "model": "small", "parameters": {"temperature": 5}})
    assert said["decisions"][0]["code"] == "parameter_not_allowed"


@pytest.mark.parametrize(
    ("body", "code", "param"),
    [
        ({"key": "key_404", "model": "small"}, "not_found", "key"),
        ({"tenant": "nobody", "model": "small"}, "not_found", "tenant"),
        ({"model": "large"}, "not_found", "model"),
        ({}, "missing_field", "model"),
        ({"model": "small", "marking": "COSMIC"}, "unknown_marking", "marking"),
        ({"action": "fly"}, "invalid_value", "action"),
        ({"model": "small", "parameters": {"top_k": 5}}, "unknown_field", "parameters.top_k"),
    ],
)
def test_what_cannot_be_explained_says_why(health, body, code, param):
    problem = health.ask("POST", "/policy/explain", json=body).json()
    assert (problem["code"], problem["param"]) == (code, param)


def test_a_difference_names_who_loses_what_by_which_rule(health):
    admin = health.post("/keys", {"tenant": "health", "name": "ops", "role": "admin"})["id"]
    health.post(f"/keys/{health.post('/keys', {'tenant': 'health', 'name': 'x', 'role': 'admin'})['id']}/revoke")
    said = health.post("/policy/diff", given(NO_INFER))
    assert (said["before"], said["principals"]) == (UK.digest, 3)
    assert {(one["principal"], one["change"], one["action"], one["rule"]) for one in said["changes"]} == {
        (admin, "loses", "infer", "shut/1")
    }
    assert health.post("/policy/diff", {"version": 1})["changes"] == []
    assert health.get("/policy")["version"] == 1


def test_clearances_are_read_by_the_policy_and_a_key_stays_below_its_tenant(health):
    made = health.post("/keys", {"tenant": "health", "name": "low", "clearance": "official"})
    assert made["clearance"] == "OFFICIAL"
    assert health.events()[-1][1]["clearance"] == "OFFICIAL"
    tenant = health.get("/tenants")["tenants"][0]
    assert (tenant["clearance"], tenant["marking"]) == ("OFFICIAL-SENSITIVE; PERSONAL", "OFFICIAL")
    assert health.published().tenants[0].clearance.caveats == ("PERSONAL",)
    for path, body, code, param in (
        ("/keys", {"tenant": "health", "name": "high", "clearance": "SECRET"}, "invalid_value", "clearance"),
        ("/keys", {"tenant": "health", "name": "high", "clearance": "NATO"}, "unknown_marking", "clearance"),
        ("/tenants", {"id": "a", "clearance": "OFFICIAL; NOPE"}, "unknown_marking", "clearance"),
        ("/tenants", {"id": "a", "marking": "SECRET"}, "invalid_value", "marking"),
        ("/tenants", {"id": "a", "clearance": "SECRET", "marking": "TOP SECRET"}, "invalid_value", "marking"),
    ):
        problem = health.ask("POST", path, json=body).json()
        assert (problem["code"], problem["param"]) == (code, param), problem


def test_a_key_of_a_tenant_without_a_clearance_is_for_the_default_marking_at_most(health):
    health.post("/tenants", {"id": "tax"})
    assert health.post("/keys", {"tenant": "tax", "name": "a", "clearance": "OFFICIAL"})["clearance"] == "OFFICIAL"
    problem = health.ask("POST", "/keys", json={"tenant": "tax", "name": "b", "clearance": "SECRET"}).json()
    assert "the clearance of tenant tax is OFFICIAL" in problem["detail"]
