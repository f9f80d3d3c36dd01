"""`fastness ledger`, on a real ledger."""

import json
import re
import shutil

import pytest

from fastness.cli.client import management


@pytest.fixture
def recorded(fastness):
    """A ledger with four entries: the first policy, a tenant and two keys."""
    with management(fastness.composition, fastness.settings) as api:
        api.post("/tenants", {"id": "health"})
        fastness.keys = [api.post("/keys", {"tenant": "health", "name": "trial"})["id"] for _ in range(2)]
    return fastness


def test_the_last_entries_are_shown_oldest_first(recorded):
    lines = recorded.ok("ledger", "tail", "-n", "2").splitlines()
    assert lines[0].split() == ["TIME", "LOG", "INDEX", "TYPE", "FIELDS"]
    assert len(lines) == 3
    for line, index, key in zip(lines[1:], (2, 3), recorded.keys, strict=True):
        assert re.match(rf"\d{{4}}-\d\d-\d\d \d\d:\d\d:\d\d\.\d\d\dZ +control +{index} +key\.issued ", line)
        assert f" key={key} " in line


def test_the_noun_alone_shows_the_tail(recorded):
    assert recorded.ok("ledger") == recorded.ok("ledger", "tail")
    assert recorded.document("ledger") == recorded.document("ledger", "tail")


def test_one_entry_is_shown_in_full(recorded):
    shown = dict(line.split(None, 1) for line in recorded.ok("ledger", "show", "control", "2").splitlines())
    entry = recorded.document("ledger", "show", "control", "2")
    assert shown["chain"] == entry["chain"]
    assert shown["prev"] == recorded.document("ledger", "show", "control", "1")["chain"]
    assert shown["key"] == recorded.keys[0]
    assert shown["role"] == "developer"


def test_entries_are_found_by_their_values(recorded):
    assert len(recorded.document("ledger", "find", "--tenant", "health", "--type", "key.issued")["entries"]) == 2
    assert f"key={recorded.keys[1]}" in recorded.ok("ledger", "find", "--key", recorded.keys[1])


@pytest.mark.parametrize(
    ("words", "exit_code", "said"),
    [
        (("find", "req_unknown"), 4, "No entry has these values."),
        (("find",), 2, "Nothing to look for was given."),
        (("find", "--type", "gossip"), 2, "There is no event type 'gossip'."),
        (("show", "control", "99"), 4, "The log control has no entry 99."),
        (("show", "attic", "0"), 4, "There is no log 'attic'; there are control."),
        (("tail", "--log", "attic"), 4, "There is no log 'attic'"),
        (("tail", "-n", "0"), 2, "Invalid value for '-n'"),
    ],
)
def test_what_is_not_there_is_told(recorded, words, exit_code, said):
    result = recorded("ledger", *words)
    assert result.exit_code == exit_code
    assert said in result.stderr


def test_a_sound_ledger_is_verified(recorded):
    out = recorded.ok("ledger", "verify")
    lines = out.splitlines()
    assert lines[0].split() == ["LOG", "ENTRIES", "SIGNED", "FILES", "SIZE", "CHAIN", "VERDICT"]
    assert re.match(r"control +4 +4 +1 +[\d.]+ k?B +[0-9a-f]{12}… +ok$", lines[1])
    assert lines[-2] == "Every entry is in its place and unchanged."
    assert lines[-1].startswith("Whose keys signed is not shown: they were found beside the logs.")
    report = recorded.document("ledger", "verify")
    assert report["sound"] is True
    assert report["logs"][0]["entries"] == 4


def test_a_changed_entry_is_found_and_a_copy_can_be_verified_elsewhere(recorded, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(recorded.home / "ledger/control", copy)
    assert recorded.document("ledger", "verify", copy)["sound"] is True

    segment = copy / "00000000.jsonl"
    segment.write_text(segment.read_text().replace('"developer"', '"admin"', 1))
    result = recorded("ledger", "verify", copy)
    assert result.exit_code == 1
    assert "BROKEN" in result.stdout
    assert f"entry 2 was changed: entry 3 follows another one ({segment}, line 3)" in result.stdout
    assert "it is evidence" in result.stderr
    report = json.loads(recorded("ledger", "verify", copy, "--json").stdout)
    assert report["sound"] is False
    assert report["logs"][0]["fault"]["index"] == 2
    assert recorded.document("ledger", "verify")["sound"] is True


def test_a_checkpoint_kept_elsewhere_shows_later_what_was_cut(recorded, tmp_path):
    kept, keys = tmp_path / "kept.txt", tmp_path / "keys.txt"
    kept.write_text(recorded.ok("ledger", "checkpoint"))
    keys.write_text(recorded.ok("ledger", "checkpoint", "--keys"))
    assert kept.read_text().startswith("health.example/control\n4\n")
    assert recorded.document("ledger", "checkpoint")["checkpoints"] == [kept.read_text()]
    with management(recorded.composition, recorded.settings) as api:
        api.post("/tenants", {"id": "justice"})
    kept.write_text(kept.read_text() + recorded.ok("ledger", "checkpoint", "--log", "control"))

    given = ("--key", keys, "--checkpoint", kept)
    out = recorded.ok("ledger", "verify", *given)
    assert out.splitlines()[-1] == "Every entry is in its place and unchanged."
    segment = recorded.home / "ledger/control/00000000.jsonl"
    segment.write_bytes(b"".join(segment.read_bytes().splitlines(keepends=True)[:2]))
    for name in ("head.json", "checkpoint", "keys"):
        (recorded.home / "ledger/control" / name).unlink()
    assert recorded("ledger", "verify").exit_code == 0
    result = recorded("ledger", "verify", *given)
    assert result.exit_code == 1
    assert "it is missing, and this log was signed before" in result.stdout


@pytest.mark.parametrize(
    ("words", "exit_code", "said"),
    [
        (("checkpoint", "--log", "attic"), 4, "There is no signed log attic in "),
        (("verify", "--key", "/nowhere"), 2, "The keys cannot be read: "),
        (("verify", "--checkpoint", "/nowhere"), 2, "Kept checkpoints cannot be read: "),
        (("verify", "--key", "/etc/hostname"), 2, "is not a key; it needs to be name+id+base64"),
        (("verify", "--checkpoint", "/etc/hostname"), 2, "a note is a text, an empty line, and signature lines"),
    ],
)
def test_what_does_not_help_to_verify_is_told(recorded, words, exit_code, said):
    result = recorded("ledger", *words)
    assert result.exit_code == exit_code
    assert said in result.stderr


def test_a_ledger_too_damaged_to_be_written_can_still_be_verified(recorded):
    segment = recorded.home / "ledger/control/00000000.jsonl"
    segment.write_bytes(segment.read_bytes()[:-40] + b"x" * 39 + b"\n")
    writing = recorded("tenants", "create", "other")
    assert writing.exit_code == 1
    assert "fastness ledger verify" in writing.stderr
    verifying = recorded("ledger", "verify")
    assert verifying.exit_code == 1
    assert "BROKEN" in verifying.stdout


def test_where_there_is_no_ledger_that_is_said(fastness):
    result = fastness("ledger", "verify")
    assert result.exit_code == 4
    assert "There is no log in" in result.stderr
