"""`fastness policy`, and acting as somebody, on the real store, ledger, engine and management API."""

import json

import msgspec
import pytest

from fastness.cli.policy_files import profile_toml
from fastness.cli.policy_text import changed_rows
from fastness.core.model import ModelCard, ModelKind
from fastness.policy.bundle import shipped_bundle
from fastness.policy.profile import read_profile, shipped_profile

CHAT = ModelCard("small", ModelKind.CHAT, "d" * 64, 98, "Apache-2.0", 2048, 1)
CASES = """
[principals.nurse]
tenant = "health"
roles = ["developer"]

[[case]]
name = "a nurse makes no keys"
principal = "nurse"
action = "manage_access"
expect = "denied"
"""


@pytest.fixture(params=["in-process", "socket"])
def installed(request, fastness):
    """The same verbs, while nothing runs and while control answers."""
    fastness.admitted = (CHAT,)
    if request.param == "in-process":
        yield fastness
    else:
        with fastness.control():
            yield fastness


@pytest.fixture
def edited(installed, tmp_path):
    """A directory with the policy in force, and one rule more."""
    directory = tmp_path / "mine"
    installed.ok("policy", "show", "--output", directory)
    rule = '@id("night/1") forbid (principal in Tenant::"health", action == Action::"infer", resource);\n'
    (directory / "night.cedar").write_text(rule)
    return directory


@pytest.mark.parametrize("name", ["uk", "de"])
def test_a_profile_is_written_as_it_is_read(name):
    profile = shipped_profile(name)
    shown = json.loads(msgspec.json.encode(profile))
    assert read_profile(profile_toml(shown), "again") == profile


def test_the_policy_in_force_is_shown_for_people_and_as_json(installed):
    said = installed.ok("policy")
    for word in ("OFFICIAL-SENSITIVE", "UK EYES ONLY", "crown", "roles.cedar", "permit (principal"):
        assert word in said
    assert installed.document("policy", "show")["digest"] == shipped_bundle(shipped_profile("uk")).digest


def test_what_is_written_out_is_the_policy_in_force(installed, tmp_path):
    installed.ok("policy", "show", "--output", tmp_path / "out")
    assert "That is the policy in force" in installed("policy", "diff", tmp_path / "out").stderr
    result = installed("policy", "show", "--output", tmp_path / "out")
    assert (result.exit_code, "is not empty" in result.stderr) == (2, True)


def test_a_policy_that_a_bundle_carried_is_a_file(installed, tmp_path):
    carried = tmp_path / "carried.json"
    carried.write_bytes(msgspec.json.encode(shipped_bundle(shipped_profile("uk"))))
    assert "That is the policy in force" in installed("policy", "diff", carried).stderr
    for content in ("[]", "{}", '{"profile": {}, "policies": []}', "permit (principal)"):
        carried.write_text(content)
        result = installed("policy", "apply", carried)
        assert (result.exit_code, "is no policy of a bundle" in result.stderr) == (2, True)


def test_a_policy_is_compared_applied_listed_and_rolled_back(installed, edited):
    installed.ok("tenants", "create", "health")
    installed.ok("keys", "create", "--tenant", "health")
    said = installed.ok("policy", "diff", edited).splitlines()
    assert said[0].split() == ["CHANGE", "WHO", "TENANT", "ACTION", "MODEL", "NODE", "MARKINGS", "RULE", "WHY"]
    assert said[1].split()[0] == "loses"
    assert "night/1" in said[1]
    assert len(said) == 2, "parameters go without saying"

    refused = installed("policy", "apply", edited)
    assert (refused.exit_code, "--yes" in refused.stderr) == (2, True)
    applied = installed("policy", "apply", edited, "--yes")
    assert "Policy 2 is in force" in applied.stderr
    assert "fastness policy apply --version 1" in applied.stderr
    assert "nothing changed" in installed("policy", "apply", edited, "--yes").stderr
    assert installed.document("policy", "apply", "--version", 1, "--yes")["version"] == 3
    assert [line.split()[0] for line in installed.ok("policy", "history").splitlines()] == ["VERSION", "3", "2", "1"]
    assert len(installed.document("policy", "history", "-n", 1)["policies"]) == 1


def test_a_decision_is_explained_in_full(installed):
    installed.ok("tenants", "create", "health", "--clearance", "official-sensitive", "--marking", "OFFICIAL")
    words = ("policy", "explain", "--tenant", "health", "--model", "small", "--marking", "OFFICIAL-SENSITIVE")
    said = installed.ok(*words)
    assert said.startswith("denied  a key of health of tenant health (developer): infer with small")
    for word in ("by rule ceilings/3", "needed  ", "had  ", "and by  ceilings/4", "node.owner", "not declared"):
        assert word in said
    document = installed.document(*words)
    assert (document["allowed"], document["decisions"][0]["rule"]) == (False, "ceilings/3")
    assert installed.ok("policy", "explain", "--action", "manage_access").startswith("allowed  local (operator)")


def test_a_profile_that_does_not_know_what_this_machine_was_declared_as_takes_force(installed, edited):
    text = (edited / "profile.toml").read_text().replace("OFFICIAL", "PUBLIC")
    (edited / "profile.toml").write_text(text)
    result = installed("policy", "apply", edited, "--yes")
    assert result.exit_code == 2
    assert "nothing would be cleared on this machine: node.ceiling is 'OFFICIAL'" in result.stderr
    assert installed.document("policy", "show")["version"] == 1
    assert installed.document("policy", "apply", edited, "--yes", "--force")["version"] == 2


def test_cases_decide_the_exit_code(installed, edited, tmp_path):
    cases = tmp_path / "cases.toml"
    cases.write_text(CASES)
    assert "1 of 1 cases came out as expected" in installed.ok("policy", "test", cases)
    cases.write_text(CASES.replace('"denied"', '"allowed"'))
    result = installed("policy", "test", cases, "--policy", edited)
    assert result.exit_code == 1
    assert "FAIL  a nurse makes no keys" in result.stdout
    assert "default-deny" in result.stdout
    cases.write_text("[[case]]")
    result = installed("policy", "test", cases)
    assert (result.exit_code, "cases.toml" in result.stderr) == (2, True)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("apply",), "one of the two"),
        (("diff", "somewhere", "--version", "1"), "one of the two"),
        (("diff", "/nonexistent"), "has no profile.toml"),
        (("apply", "--version", "9", "--yes"), "There is no policy 9"),
        (("explain", "--key", "a", "--tenant", "b"), "Both --key and --tenant"),
        (("explain",), "`model` is needed"),
        (("test", "/nonexistent"), "cannot be read"),
    ],
)
def test_what_cannot_be_done_says_what_is_needed(fastness, words, says):
    result = fastness("policy", *words)
    assert result.exit_code in (2, 4)
    assert says in result.stderr


def test_a_policy_that_is_wrong_names_file_and_line_and_changes_nothing(installed, edited):
    (edited / "night.cedar").write_text('@id("a/1") permit (principal, action, resource) when { principal.shoe == 5 };')
    result = installed("policy", "apply", edited, "--yes")
    assert result.exit_code == 2
    assert "night.cedar:1" in result.stderr
    assert installed.document("policy", "show")["version"] == 1


def test_one_acts_as_the_principal_of_the_key_in_the_environment(installed):
    installed.ok("tenants", "create", "health")
    developer = installed.ok("keys", "create", "--tenant", "health").strip()
    made = installed.document("keys", "create", "--tenant", "health", "--role", "admin")
    installed.environ["FASTNESS_KEY"] = developer
    result = installed("tenants", "create", "tax")
    assert result.exit_code == 3
    assert "a rule that permits manage_access" in result.stderr
    installed.environ["FASTNESS_KEY"] = f"{made['key']}\n"
    installed.ok("tenants", "create", "tax")
    assert installed.document("ledger", "tail", "--count", 1)["entries"][0]["fields"]["by"] == made["id"]


@pytest.mark.parametrize("key", ["", " ", "\u00e9", "a\nb", "fst_nonsense"])
def test_a_key_that_is_none_is_refused_and_not_left_out(installed, key):
    installed.environ["FASTNESS_KEY"] = key
    result = installed("tenants")
    assert result.exit_code == 3
    assert "FASTNESS_KEY" in result.stderr


def test_those_who_share_a_change_stand_on_one_line():
    change = {
        "change": "loses", "tenant": "t", "action": "infer", "deployment": "d", "node": "n", "labels": ["OFFICIAL"],
        "rule": "a/1", "why": "x", "parameters": "",
    }  # fmt: skip
    rows = changed_rows([change | {"principal": f"key_{number}"} for number in range(5)])
    assert rows == [("loses", "key_0, key_1, key_2 and 2 more", "t", "infer", "d", "n", "OFFICIAL", "a/1", "x")]
    turned = change | {"principal": "key_0", "parameters": "choices 5"}
    assert changed_rows([turned])[0][3] == "infer (choices 5)"
    assert len(changed_rows([turned, change | {"principal": "key_0"}])) == 1
