"""`fastness apply`, `deploy`, `scale`, `roll`, `undeploy`, `nodes`, `shares`, `plan`, `events` and `why`."""

from __future__ import annotations

import json
import re
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastness.cli import following
from fastness.cli.deployment_file import parse_deployments, written
from fastness.core.model import ModelCard, ModelKind
from obedient_fleet import ObedientFleet, node

SMALL = ModelCard("small", ModelKind.CHAT, "a" * 64, 100_000_000, "Apache-2.0", 8_192, 0)
LARGE = ModelCard("large", ModelKind.CHAT, "b" * 64, 200_000_000, "Apache-2.0", 8_192, 0)
FILE = """\
[[deployment]]
name = "chat"
model = "small"

[deployment.scaling]
min = 2
max = 4
"""


@pytest.fixture
def fleet(fastness, monkeypatch):
    """An installation on which a reconciler runs, with two nodes of four devices."""
    monkeypatch.setattr(following, "POLL_S", 0.02)
    fastness.admitted = (SMALL, LARGE)
    fastness.fleet = ObedientFleet(node("bristol"), node("leeds"))
    with fastness.control():
        yield fastness


@pytest.fixture
def still(fastness):
    """An installation that does not run."""
    fastness.admitted = (SMALL, LARGE)
    return fastness


def fleet_wanted(fastness):
    return fastness.document("ps")["wanted"]


def file(fastness, text=FILE):
    path = fastness.root / "deployment.toml"
    path.write_text(text)
    return path


def test_apply_returns_when_it_is_true_and_tells_each_stage(fleet):
    said = fleet("apply", file(fleet))
    assert said.exit_code == 0
    assert re.search(r"chat +created +1", said.stdout)
    assert re.search(r"chat-1 on bristol/gpu-0 +load 0\.\d\d s   ready", said.stderr)
    assert re.search(r"done  in .* · 0 requests failed · \d+ served meanwhile · ledger entries \d+ to \d+", said.stderr)
    (one,) = fleet_wanted(fleet)
    assert (one["settled"], one["wanted"], one["ready"]) == (True, 2, 2)


def test_the_same_file_again_changes_nothing(fleet):
    fleet.ok("apply", file(fleet))
    before = fleet.document("events")
    again = fleet.document("apply", file(fleet))
    assert [one["outcome"] for one in again["applied"]] == ["unchanged"]
    assert fleet.document("events") == before


def test_what_is_exported_is_what_apply_takes(fleet):
    fleet.ok("apply", file(fleet))
    exported = fleet.ok("apply", "--export")
    assert f'model = "small@sha256:{"a" * 64}"' in exported
    again = fleet.document("apply", file(fleet, exported))
    assert [one["outcome"] for one in again["applied"]] == ["unchanged"]
    assert fleet.ok("apply", "--export") == exported


def test_a_dry_run_shows_what_differs_and_what_would_happen(fleet):
    fleet.ok("apply", file(fleet))
    changed = FILE.replace('"small"', '"large"').replace("max = 4", "max = 3")
    said = fleet.ok("apply", file(fleet, changed), "--dry-run")
    assert "chat  rolling to revision 2" in said
    assert re.search(r"scaling\.max +4 -> 3", said)
    assert re.search(r"model +small@sha256:a+ -> large@sha256:b+", said)
    assert fleet.document("plan")["steps"] == []
    assert [one["outcome"] for one in fleet.document("apply", file(fleet))["applied"]] == ["unchanged"]


def test_nobody_is_asked_off_a_terminal_before_replicas_are_replaced(fleet):
    fleet.ok("apply", file(fleet))
    said = fleet("apply", file(fleet, FILE.replace('"small"', '"large"')))
    assert said.exit_code == 2
    assert "rolling to revision 2" in said.stderr
    assert "Nobody can be asked here" in said.stderr


def test_it_is_deployed_scaled_and_undeployed_without_a_file(fleet):
    assert "created" in fleet.ok("deploy", "chat", "--model", "small", "--replicas", 1, "--slots", 4)
    assert "unchanged" in fleet.ok("deploy", "chat", "--slots", 4)
    assert "`--max`" not in fleet("scale", "chat", 3).stderr
    refused = fleet("scale", "chat", 3)
    assert (refused.exit_code, "fastness scale chat 3 --max 3" in refused.stderr) == (2, True)
    assert fleet.document("scale", "chat", 3, "--max", 3)["ready"] == 3
    said = fleet("scale", "chat", 1)
    assert "chat: 1 of 1 replicas ready, between 1 and 3 by itself" in said.stderr
    assert fleet("undeploy", "chat").exit_code == 2
    gone = fleet("undeploy", "chat", "--yes")
    assert "done  chat is gone in" in gone.stderr
    assert fleet("why", "chat").exit_code == 4


def test_a_wait_that_is_too_long_ends_with_the_reasons(fleet):
    fleet.ok("deploy", "chat", "--model", "small")
    said = fleet("deploy", "much", "--model", "small", "--replicas", 9, "--timeout", 0.2)
    assert said.exit_code == 1
    assert "much is not as wanted after 0.20 s: it is pending, 7 of 9 replicas are ready" in said.stderr
    assert re.search(r"bristol +", said.stderr)
    assert "fastness why much" in said.stderr


def test_no_wait_returns_at_once(fleet):
    fleet.fleet.loading_s = 60
    began_s = time.monotonic()
    assert fleet.document("deploy", "chat", "--model", "small", "--no-wait")["took"] is None
    assert time.monotonic() - began_s < 30


def test_why_says_what_is_needed_who_refuses_and_what_would_fit(fleet):
    fleet.ok("deploy", "chat", "--model", "small", "--replicas", 8)
    fleet.ok("nodes", "cordon", "leeds", "--reason", "firmware")
    fleet("deploy", "more", "--model", "small", "--timeout", 0.2)
    said = fleet.ok("why", "more")
    assert said.splitlines()[0].startswith("more wants 1 replica, has 0.   pending ")
    assert re.search(r"needs +1 × any device with 1\.7 GB on each, on one node, marking OFFICIAL", said)
    assert re.search(r"leeds +cordoned by local: firmware", said)
    assert "chat-1 of default holds 1" in said
    assert re.search(r"next +", said)
    document = fleet.document("why", "more")
    assert (document["wanted"], document["ready"], document["settled"]) == (1, 0, False)
    assert fleet("why", "nothing").exit_code == 4


def test_nodes_are_listed_cordoned_opened_labelled_and_drained(fleet):
    fleet.ok("deploy", "chat", "--model", "small")
    listed = fleet.ok("nodes")
    assert re.search(r"bristol +ready +3 +4 × h100 +400 GB +default", listed)
    assert [re.search(rf"{name} .* ([\w.-]+) +\S+ s", listed)[1] for name in ("bristol", "leeds")] == ["9.9.9", "-"], (
        listed
    )
    assert "cordoned by local: firmware" not in listed
    fleet.ok("nodes", "cordon", "leeds", "--reason", "firmware")
    assert "leeds  cordoned by local: firmware" in fleet.ok("nodes", "list")
    assert "leeds is open" in fleet("nodes", "uncordon", "leeds").stderr
    assert "gpu=h100 rack=b7 spot" in fleet("nodes", "label", "leeds", "rack=b7", "spot").stderr
    assert "leeds: rack=b7 spot" in fleet("nodes", "label", "leeds", "gpu-").stderr
    assert fleet("nodes", "drain", "york", "--yes").exit_code == 4
    assert "Nobody can be asked" in fleet("nodes", "drain", "bristol").stderr


def test_shares_are_set_shown_and_bounded(fleet):
    fleet.ok("tenants", "create", "health")
    fleet.ok("deploy", "chat", "--model", "small", "--owner", "health/triage", "--replicas", 2)
    said = fleet.ok("shares", "set", "health", 1)
    assert re.search(r"health +default +1 +0 +0 +0", said)
    assert re.search(r"health/triage +default +0 +2 +1", said)
    assert re.search(r"default +8 +6 +1", fleet.ok("shares"))
    refused = fleet("shares", "set", "health", 9)
    assert "8 are left for health" in refused.stderr
    assert fleet.document("shares", "show")["pools"][0]["devices"] == 8


def test_plan_shows_what_would_happen_and_changes_nothing(fleet):
    assert "Nothing would happen." in fleet.ok("plan")
    said = fleet.ok("plan", "--file", file(fleet))
    assert "chat  created" in said
    assert "replica chat-1 (revision 1) placed on bristol gpu-0" in said
    assert "Then all is as wanted." in said
    assert fleet.document("plan", "show", "--file", file(fleet))["complete"]
    assert fleet.document("events")["events"] == []
    fleet.ok("apply", file(fleet))
    assert "deployment chat removed" not in fleet.ok("events")
    assert "draining" in fleet.ok("plan", "--remove", "chat")


def test_events_say_when_what_and_who_asked(fleet):
    fleet.ok("deploy", "chat", "--model", "small")
    fleet.ok("nodes", "cordon", "leeds")
    lines = fleet.ok("events").splitlines()
    assert re.fullmatch(
        r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\dZ  deployment chat wanted: small, 1 replica, revision 1   by local   entry \d+",
        lines[0],
    )
    assert "placed on bristol gpu-0" in lines[1]
    assert "by control" not in lines[1]
    (cordoned,) = fleet.document("events", "--node", "leeds")["events"]
    assert cordoned["type"] == "node.cordoned"
    since = fleet.document("events", "--deployment", "chat", "--since", cordoned["index"])["events"]
    assert since == []
    assert len(fleet.document("events", "--limit", 1)["events"]) == 1


def test_what_is_recorded_while_nothing_runs_takes_effect_at_the_next_start(still):
    said = still("apply", file(still))
    assert said.exit_code == 0
    assert "takes effect at the next start (fastness up)" in said.stderr
    assert "nothing runs here" in still.ok("why", "chat")
    assert still.ok("apply", "--export").startswith('[[deployment]]\nname = "chat"\n')
    still.ok("scale", "chat", 3)
    still.ok("roll", "chat", "--parameters", "slots=2", "--yes")
    still.ok("undeploy", "chat", "--yes")
    assert "No node has reported yet" in still("nodes").stderr
    assert "Nobody is guaranteed" in still("shares").stderr


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[[deployments]]\nname = 'a'", "did you mean [[deployment]]?"),
        ("[deployment]\nname = 'a'", "single brackets"),
        ("", "has no [[deployment]]"),
        ("name = ", "is not TOML"),
        ("[[deployment]]\nname = 2026-01-01", "which no field here takes"),
        ("[[deployment]]\nname = 'a'\nmodel = 'small'\nscaling.busy_part = inf", "which no field here takes"),
        ("[[deployment]]\nname = 'a'\nmodel = 'small'\nscalign.min = 2", "Did you mean `scaling`?"),
        ("[[deployment]]\nname = 'a'", "model"),
    ],
)
def test_a_file_that_cannot_be_read_says_where_and_what_was_meant(still, text, said):
    result = still("apply", file(still, text))
    assert result.exit_code == 2
    assert said in result.stderr


def test_apply_needs_a_file_or_export(still):
    assert still("apply").exit_code == 2
    assert still("apply", "nowhere.toml").exit_code == 2
    assert still("apply", file(still), "--export").exit_code == 2


def test_a_file_may_come_on_standard_input(still):
    assert still("apply", "-", stdin=FILE).exit_code == 0
    assert still.document("plan")["changes"] == []


TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
VALUES = st.one_of(
    TEXTS, st.booleans(), st.integers(-(2**53), 2**53), st.floats(allow_nan=False, allow_infinity=False),
    st.lists(TEXTS, max_size=3),
)  # fmt: skip
NAMES = st.from_regex(r"[a-z_]{1,12}", fullmatch=True)
SECTIONS = st.dictionaries(NAMES, VALUES, max_size=4)
DEPLOYMENTS = st.lists(st.dictionaries(NAMES, st.one_of(VALUES, SECTIONS), max_size=6), min_size=1, max_size=3)


@settings(max_examples=60, deadline=None)
@given(DEPLOYMENTS)
def test_what_is_written_reads_back_as_it_was(deployments):
    assert parse_deployments(written(deployments).encode(), "file") == deployments


def test_json_is_one_document_everywhere(fleet):
    for words in (("apply", file(fleet)), ("scale", "chat", 2), ("why", "chat"), ("events",), ("plan",), ("nodes",)):
        assert json.dumps(fleet.document(*words))


def test_a_counter_that_begins_anew_is_no_answer_less():
    follow = following.Following(None, None, 0)
    for answered, failed in ((5, 1), (8, 1), (2, 0), (3, 2)):
        follow._count("chat", answered, failed)
    assert (follow.answered, follow.failed) == (4, 2)
