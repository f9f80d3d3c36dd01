"""The command line on a real installation: real engines, sealed, from `up` to `stop`."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

FASTNESS = str(Path(sys.executable).with_name("fastness"))
MODEL = "smollm2-135m-instruct"


class Shell:
    """`fastness` as a shell would run it, on one home."""

    def __init__(self, home):
        self.environ = {**os.environ, "FASTNESS_HOME": str(home)}
        for name in ("FASTNESS_API_KEY", "FASTNESS_KEY"):
            self.environ.pop(name, None)

    def __call__(self, *words, **options):
        argv = [FASTNESS, *words]
        return subprocess.run(argv, env=self.environ, capture_output=True, text=True, timeout=120, **options)

    def document(self, *words):
        result = self(*words, "--json")
        assert result.returncode == 0, result.stderr
        return json.loads(result.stdout)


@pytest.fixture(scope="module")
def shell(tmp_path_factory):
    shell = Shell(tmp_path_factory.mktemp("home"))
    argv = [FASTNESS, "up", "--json", "--port", "0"]
    with subprocess.Popen(argv, env=shell.environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as up:
        try:
            line = up.stdout.readline()
            assert line, up.stderr.read()
            shell.ready = json.loads(line)
            yield shell
            stopped = shell("stop")
            assert stopped.returncode == 0, stopped.stderr
            rest, _ = up.communicate(timeout=60)
            assert (up.returncode, rest) == (0, ""), "SIGTERM drains and exits 0, and stdout had the one line only"
        finally:
            up.kill()
    assert shell("ps").returncode == 5


def test_ps_and_models_agree_with_what_up_said(shell):
    replicas = shell.document("ps")["replicas"]
    assert {replica["model"] for replica in replicas} == set(shell.ready["models"])
    assert all(replica["state"] == "ready" and replica["sealed"] for replica in replicas)
    assert [model["name"] for model in shell.document("models")["models"]] == sorted(shell.ready["models"])


def test_run_streams_a_real_answer_with_a_key_made_for_it(shell):
    result = shell("run", MODEL, "What is a fastness?", "--max-tokens", "16", "--temperature", "0")
    assert result.returncode == 0, result.stderr
    assert len(result.stdout.split()) >= 3
    assert " 16 out, first token " in result.stderr
    document = shell.document("run", MODEL, "What is a fastness?", "--max-tokens", "16", "--temperature", "0")
    assert document["content"] == result.stdout.removesuffix("\n")
    assert document["usage"]["completion_tokens"] == 16
    found = shell.document("ledger", "find", document["request_id"])["entries"]
    assert [entry["type"] for entry in found] == ["inference.completed"]


def test_a_prompt_that_is_too_long_is_refused_with_needed_and_limit(shell):
    result = shell("run", MODEL, "-", input="word " * 5_000)
    assert result.returncode == 3
    assert "context_length_exceeded" in result.stderr


def test_a_model_that_is_not_there_is_not_found(shell):
    result = shell("run", "smolm2", "Hi")
    assert result.returncode == 4
    assert f"Did you mean {MODEL}?" in result.stderr


def test_a_key_made_here_is_known_and_a_revoked_one_is_not(shell):
    made = shell.document("keys", "create", "--tenant", "default", "--name", "trial")
    shell.environ["FASTNESS_API_KEY"] = made["key"]
    try:
        assert shell("run", MODEL, "Hi", "--max-tokens", "1").returncode == 0
        assert shell("keys", "revoke", made["id"], "--yes").returncode == 0
        refused = shell("run", MODEL, "Hi", "--max-tokens", "1")
        assert refused.returncode == 3
        assert "revoked_api_key" in refused.stderr
    finally:
        del shell.environ["FASTNESS_API_KEY"]


def test_what_runs_says_what_it_may_be_used_for_and_who_declared_what(shell):
    served = shell.document("ps")
    assert {one["name"] for one in served["deployments"]} == set(shell.ready["models"])
    assert served["nodes"] == [
        {"name": "local", "jurisdiction": "GB", "operator": None, "owner": None, "ceiling": "OFFICIAL"}
    ]
    said = shell("ps").stdout
    assert "OFFICIAL" in said
    assert "its operator is not declared" in said


def test_a_policy_applied_is_in_force_in_the_gateway_soon_and_so_is_the_way_back(shell, tmp_path):
    assert shell("policy", "show", "--output", str(tmp_path / "mine")).returncode == 0
    rule = '@id("shut/1") @code("permission_denied") forbid (principal, action == Action::"infer", resource);'
    (tmp_path / "mine/shut.cedar").write_text(rule)
    key = shell.document("keys", "create", "--tenant", "default", "--name", "policy")["key"]
    before = shell.document("policy", "show")
    assert asked(shell, key).status_code == 200
    shut = shell.document("policy", "apply", str(tmp_path / "mine"), "--yes")
    try:
        refused = until(shell, key, 403)
        assert "shut/1" in refused.json()["error"]["message"]
        said = shell.document("policy", "explain", "--tenant", "default", "--model", MODEL)
        assert (said["allowed"], said["decisions"][0]["rule"], said["policy"]) == (False, "shut/1", shut["digest"])
    finally:
        back = shell.document("policy", "apply", "--version", str(before["version"]), "--yes")
    assert back["digest"] == before["digest"]
    until(shell, key, 200)
    applied = shell.document("ledger", "find", "--type", "policy.applied")["entries"]
    assert [entry["fields"]["policy"] for entry in applied][-2:] == [shut["digest"], before["digest"]]


def until(shell, key, status):
    """Ask until the answer has this status, and return it."""
    deadline = time.monotonic() + 60
    while (answer := asked(shell, key)).status_code != status:
        assert time.monotonic() < deadline, answer.text
        time.sleep(0.1)
    return answer


def asked(shell, key):
    """Ask the gateway for one token."""
    body = {"model": MODEL, "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 1}
    return httpx.post(
        f"{shell.ready['base_url']}/chat/completions",
        json=body,
        headers={"authorization": f"Bearer {key}"},
        timeout=60,
        trust_env=False,
    )


@pytest.mark.parametrize(
    ("variable", "value", "names"),
    [
        ("FASTNESS__NODE__CEILING", "COSMIC", "node.ceiling"),
        ("FASTNESS__ENGINE__CEILING", "OFFICIAL; NOPE", "engine.ceiling"),
        ("FASTNESS__NODE__OPERATOR", "stranger", "node.operator"),
        ("FASTNESS__POLICY__PROFILE", "nowhere", "policy.profile"),
    ],
)
def test_a_declaration_that_the_profile_cannot_read_stops_the_start_before_anything_runs(
    tmp_path, variable, value, names
):
    shell = Shell(tmp_path / "home")
    shell.environ[variable] = value
    result = shell("up", "--port", "0")
    assert result.returncode == 2
    assert names in result.stderr
    assert not (tmp_path / "home/fastness.db").exists()


def test_doctor_finds_this_machine_well_while_it_serves(shell):
    document = shell.document("doctor")
    assert {finding["subject"]: finding["verdict"] for finding in document["findings"]}["seal"] == "ok"


def test_the_ledger_is_sound_and_logs_can_be_read(shell):
    assert shell.document("ledger", "verify")["sound"] is True
    assert shell("logs", "-n", "5").returncode == 0


def test_a_second_up_is_refused(shell):
    result = shell("up")
    assert result.returncode == 1
    assert shell.ready["base_url"] in result.stderr
