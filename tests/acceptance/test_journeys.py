"""What an operator does with an installation, from its first start to its last, with what they see each time."""

from __future__ import annotations

import json
import os
import random
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from installation import CHAT, EMBEDDING, FASTNESS, Installation, eventually, start, stop
from killing import QUICK, bury, forget, on_this_machine, processes_of, start_again
from traffic import Together, chat, headers

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]
NARROW = """
[engine]
slots = 1
threads = 1
[traffic]
engine_queue = 0
"""
NO_END = {"0": -100, "2": -100}
"""The starter model's two ways to end an answer: without them it writes for as long as it may."""


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path
    forget(tmp_path)


@pytest.fixture(scope="module")
def narrow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """An installation with one slot and room for one more: settings of a file, and of the environment above it."""
    home = tmp_path_factory.mktemp("narrow")
    (home / "config.toml").write_text(NARROW + "queue_max = 7\n")
    running = start(home, environ={"FASTNESS__TRAFFIC__QUEUE_MAX": "1"})
    try:
        yield running
        assert stop(running) == 0
    finally:
        forget(home)


def up(home: Path, *arguments: str, **environ: str) -> subprocess.Popen[str]:
    """Start an installation that may well not become ready."""
    return subprocess.Popen(
        [FASTNESS, "up", "--json", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | QUICK | {"FASTNESS_HOME": str(home)} | environ,
    )


def refusal(process: subprocess.Popen[str]) -> tuple[int, str]:
    """The exit code and the words of a start that was refused; nothing went to stdout."""
    said, words = process.communicate(timeout=90)
    assert said == "", "a script would take this for ready"
    assert "Traceback" not in words
    return process.returncode, words


def document(installation: Installation, *verb: str) -> Any:
    done = installation.run(*verb, "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


# ---- starting and stopping


def test_stopping_lets_a_stream_finish_and_takes_nothing_new_and_the_next_start_is_quick(home):
    running, second_s = start(home, environ=QUICK), on_this_machine(1)
    try:
        with httpx.Client(base_url=running.base_url, headers=headers(running), timeout=60) as kept_alive:
            assert kept_alive.get("/models").status_code == 200
            path, body = chat(random.Random(), True, 400)
            stream = Together(running, [(path, body | {"logit_bias": NO_END})])
            eventually(lambda: running.busy_slots() == 1, "the stream is under way")
            running.process.send_signal(signal.SIGTERM)
            eventually(lambda: not_served(running, kept_alive), "nothing new is taken")
            (heard,) = stream.heard()
        assert heard.whole, f"the stream under way was cut: {heard}"
        assert running.process.wait(30) == 0
    finally:
        bury(running)
    assert processes_of(home) == {}
    began_s = time.monotonic()
    again = start(home, environ=QUICK)
    took_s = time.monotonic() - began_s
    try:
        assert again.admin_key is None, "the key is shown once"
        assert httpx.get(f"{again.base_url}/models", headers=headers(running)).status_code == 200, "old keys still work"
        assert took_s < 5 * second_s
        stopped = document(again, "ledger", "find", "--type", "stopped")["entries"]
        assert {entry["fields"]["process"] for entry in stopped} == {"supervisor", "control"}
        assert document(again, "ledger", "verify")["sound"] is True
        assert document(again, "stop")["stopped"] is True
        assert again.process.wait(30) == 0
    finally:
        bury(again)


def not_served(running: Installation, kept_alive: httpx.Client) -> bool:
    """Whether both a new connection and an open one are refused."""
    try:
        httpx.get(f"{running.base_url}/models", headers=headers(running), timeout=5)
    except httpx.TransportError:
        pass
    else:
        return False
    try:
        body = {"model": CHAT, "messages": [{"role": "user", "content": "hi"}], "max_tokens": 1}
        return kept_alive.post("/chat/completions", json=body).json()["error"]["code"] == "draining"
    except httpx.TransportError:
        return True


@pytest.mark.parametrize("after_s", [0.3, 1.0])
def test_a_start_may_be_called_off(home, after_s):
    process = up(home, "--port", "0")
    time.sleep(after_s)  # the moment is the test's subject
    process.send_signal(signal.SIGTERM)
    said, words = process.communicate(timeout=30)
    assert (process.returncode, said) in ((0, ""), (-signal.SIGTERM, "")), words
    eventually(lambda: not processes_of(home), "nothing is left")


def test_a_second_start_on_the_same_home_is_refused_and_says_where_the_first_is(narrow):
    code, words = refusal(up(narrow.home, "--port", "0"))
    assert code == 1
    assert narrow.base_url in words
    assert str(narrow.process.pid) in words
    assert "fastness stop" in words
    assert document(narrow, "ps")["replicas"][0]["state"] == "ready"


def test_of_two_starts_at_the_same_time_one_serves(home):
    both = [up(home, "--port", "0"), up(home, "--port", "0")]
    try:
        eventually(lambda: any(one.poll() is not None for one in both), "one gives up", 60)
        loser, winner = sorted(both, key=lambda one: one.poll() is None)
        code, words = refusal(loser)
        assert code == 1
        assert "another process" in words or "already runs" in words, words
        assert winner.stdout
        ready = json.loads(winner.stdout.readline())
        running = Installation(home, winner, ready["base_url"], ready["admin_key"])
        (heard,) = Together(running, [chat(random.Random(), False, 2)]).heard()
        assert heard.whole, heard
        assert len(document(running, "ps")["replicas"]) == 1
        winner.send_signal(signal.SIGTERM)
        winner.communicate(timeout=30)
        assert winner.returncode == 0
    finally:
        for one in both:
            one.kill()
            one.communicate()


def test_a_port_in_use_is_refused_and_leaves_nothing(home):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        code, words = refusal(up(home, "--port", port))
    assert code == 1
    assert f"127.0.0.1:{port}" in words
    assert "--port 0" in words
    eventually(lambda: not processes_of(home), "nothing is left")


@pytest.mark.parametrize(
    ("environ", "code", "says"),
    [
        ({"FASTNESS__ENGINE__SLOT": "3"}, 2, "engine.slots"),
        ({"FASTNESS__ENGINE__SLOTS": "many"}, 2, "engine.slots"),
        ({"FASTNESS__ENGINE__SLOTS": "0"}, 2, "from 1 to 256"),
        ({"FASTNESS__ENGINE__CHAT_MODEL": "smollm2-135m"}, 1, CHAT),
        ({"FASTNESS__GATEWAY__TLS_CERTIFICATE": "/nowhere.pem"}, 2, "tls_key"),
    ],
)  # fmt: skip
def test_a_setting_that_cannot_be_used_is_refused_by_name(home, environ, code, says):
    refused, words = refusal(up(home, "--port", "0", **environ))
    assert says in words
    assert refused == code, words
    eventually(lambda: not processes_of(home), "nothing is left")


# ---- settings, limits and verbs


def test_settings_of_file_and_environment_work_and_are_explained(narrow):
    assert document(narrow, "ps")["replicas"][0]["slots"] == 1
    shown = narrow.run("config", "explain", "--json").stdout
    assert str(narrow.home / "config.toml") in shown


def test_more_requests_than_may_wait_are_429_with_the_time_to_try_again(narrow):
    path, body = chat(random.Random(), True, 400)
    running = Together(narrow, [(path, body | {"logit_bias": NO_END})])
    eventually(lambda: narrow.busy_slots() == 1, "the slot works")
    heard = Together(narrow, [chat(random.Random(), False, 1) for _ in range(5)]).heard()
    refused = [one for one in heard if not one.whole]
    assert len(refused) == 4, "one may wait"
    assert {(one.status, one.code) for one in refused} == {(429, "queue_full")}
    assert all(1 <= int(one.retry_after or "") <= 600 for one in refused)
    assert running.heard()[0].whole


def test_every_verb_prints_json_when_asked(narrow):
    said = document(narrow, "run", CHAT, "Name a colour.", "--max-tokens", "6", "--temperature", "0")
    assert said["content"].strip()
    assert said["usage"]["completion_tokens"] == 6
    assert said["request_id"].startswith("req_")
    assert {one["model"] for one in document(narrow, "ps")["replicas"]} == {CHAT, EMBEDDING}
    assert {one["name"] for one in document(narrow, "models")["models"]} == {CHAT, EMBEDDING}
    assert document(narrow, "tenants", "list")
    assert document(narrow, "keys", "list")
    assert document(narrow, "config", "show")
    (entry,) = document(narrow, "ledger", "find", said["request_id"])["entries"]
    assert entry["fields"]["output_tokens"] == 6
    logs = narrow.run("logs", "--json")
    assert logs.returncode == 0
    assert all(isinstance(json.loads(line), dict) for line in logs.stdout.splitlines())
    doctor = narrow.run("doctor", "--json")
    found = {one["subject"]: one for one in json.loads(doctor.stdout)["findings"]}
    assert found["seal"]["verdict"] == "ok", found["seal"]
    assert doctor.returncode == (0 if json.loads(doctor.stdout)["ok"] else 1)


def test_verbs_say_what_to_do_when_nothing_runs(home):
    environ = os.environ | {"FASTNESS_HOME": str(home)}
    for verb in (["ps"], ["run", CHAT, "hi"], ["stop"]):
        done = subprocess.run([FASTNESS, *verb], capture_output=True, text=True, env=environ, timeout=30, check=False)
        assert done.returncode == 5, done
        assert "fastness up" in done.stderr


# ---- without a seal


def test_unsealed_works_warns_and_is_recorded(home):
    running = start(home, "--unsealed", environ=QUICK)
    try:
        assert "UNSEALED" in (home / "up.stderr").read_text()
        (heard,) = Together(running, [chat(random.Random(), False, 2)]).heard()
        assert heard.whole
        assert document(running, "ps")["replicas"][0]["sealed"] is False
        assert document(running, "ledger", "find", "--type", "perimeter.unsealed")["entries"]
        (boot,) = document(running, "ledger", "find", "--type", "boot", "--log", "node")["entries"]
        assert boot["fields"]["sealed"] is False
        (entry,) = document(running, "ledger", "find", str(heard.request_id))["entries"]
        assert entry["fields"]["sealed"] is False
        network = Path(f"/proc/{running.engine_pid()}/ns/net").readlink()
        assert network == Path("/proc/self/ns/net").readlink(), "or this test shows nothing"
        assert stop(running) == 0
        sealed = start_again(running, QUICK)
        assert document(sealed, "ps")["replicas"][0]["sealed"] is True, "it was allowed once, not for ever"
        assert stop(sealed) == 0
    finally:
        bury(running)
