"""What verbs say on a host that was joined to a cluster: what runs there, who orders it, and where to ask instead."""

from __future__ import annotations

import re
import time

import pytest

from fastness.core.own_process import OwnProcess
from fastness.core.replica import Diagnosis, Replica, ReplicaState

AT = {"node": "bristol-07", "sealed": True, "epoch": 3, "slots": 4, "context_tokens": 2_048}
READY = Replica(
    "plans-2", "town-hall", "llamacpp", ReplicaState.READY, "/run/x.sock", **AT, pid=4_711, since_s=time.time() - 7_300,
    memory_bytes=412_000_000, deployment="plans", revision=2,
)  # fmt: skip
DAMAGED = Diagnosis("model_damaged", "the model file is damaged", "fastness doctor", ("invalid magic",))
BROKEN = Replica(
    "maps-1", "town-hall", "llamacpp", ReplicaState.BACKING_OFF, "", **AT, deployment="maps", diagnosis=DAMAGED
)


def test_ps_shows_the_engines_of_this_host_and_who_orders_them(fastness):
    with fastness.joined(replicas=(READY, BROKEN)) as process:
        lines = fastness.ok("ps").splitlines()
        document = fastness.document("ps")
    assert "CEILING" not in lines[0].split() and {"DEPLOYMENT", "NODE", "PID", "SEALED"} <= set(lines[0].split())
    assert re.fullmatch(r"plans +1/1 +ready +2 +bristol-07 +llamacpp +4711 +412 MB +2,048 +4 +0 +2 h +yes", lines[1])
    assert lines[3:] == [
        "",
        "node bristol-07  runs what head-01 orders; it answers by Ray",
        "",
        "maps-1  the model file is damaged (model_damaged)",
        "  engine said  invalid magic",
        "  try          fastness doctor",
    ]
    told = {name: document[name] for name in ("node", "head", "leased", "way", "pid")}
    assert told == {"node": "bristol-07", "head": "head-01", "leased": True, "way": "ray", "pid": process.pid}
    assert [(one["id"], one["state"]) for one in document["replicas"]] == [
        ("plans-2", "ready"),
        ("maps-1", "backing_off"),
    ]
    assert "socket" not in document["replicas"][0]


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ({"way": "door"}, "it answers by the doors of both hosts, since Ray brings nothing new"),
        ({"leased": False}, "head-01 does not answer: no engine runs here until it does (fastness logs outside)"),
        ({"processes": (OwnProcess("outside", None, ReplicaState.STOPPED, 0, 0.0),)}, "no other host is reached"),
    ],
)
def test_ps_says_what_is_amiss_between_this_host_and_the_head(fastness, said, told):
    with fastness.joined(**said):
        shown = fastness("ps")
    assert shown.exit_code == 0 and told in " ".join(shown.stdout.split())
    assert "No engine runs here. On head-01: fastness ps" in shown.stdout + shown.stderr


def test_verbs_that_need_a_gateway_or_control_say_where_these_are(fastness):
    with fastness.joined():
        for words in (("explain", "req_1"), ("run", "plans", "Hello"), ("nodes",), ("tenants", "create", "health")):
            shown = fastness(*words)
            assert shown.exit_code == 5
            assert "bristol-07 runs what head-01 orders: its gateways and control are there." in shown.stderr


def test_nothing_is_started_beside_it(fastness):
    with fastness.joined() as process:
        for words in (("up",), ("node", "join")):
            shown = fastness(*words)
            assert shown.exit_code == 1
            assert f"bristol-07 already runs for {fastness.home}, as head-01 orders (pid {process.pid})" in shown.stderr


def test_verbs_about_the_logs_of_this_host_work(fastness):
    with fastness.joined():
        assert fastness("ledger", "tail").exit_code == 0


def test_stop_ends_the_supervisor_of_this_host(fastness):
    with fastness.joined() as process:
        shown = fastness("stop")
        assert process.wait(60) == 0
    assert shown.stderr.startswith(f"Stopped (pid {process.pid}) after ")


def test_stop_waits_for_engines_and_for_no_answers(fastness, monkeypatch):
    monkeypatch.setattr("fastness.cli.stop.TELL_EVERY_S", 0.1)
    with fastness.joined(ends=False):
        shown = fastness("stop", "--timeout", "0.3")
    assert shown.exit_code == 1 and "Waiting for the engines (at most" in shown.stderr


def test_a_host_that_ended_is_nothing_running(fastness):
    with fastness.joined() as process:
        kept = (fastness.run_directory / "host.json").read_bytes()
    process.wait(60)
    for left in (kept, b"{", b"[]"):
        (fastness.run_directory / "host.json").write_bytes(left)
        assert fastness("ps").exit_code == 5 and "Nothing is running" in fastness("ps").stderr
