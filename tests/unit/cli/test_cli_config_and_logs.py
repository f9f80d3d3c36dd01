"""`fastness config` and `fastness logs`."""

import json
import re
import tomllib

import pytest

from fastness.cli.logs import Tail


def test_settings_are_shown_as_a_file_that_would_set_them_so(fastness, tmp_path):
    fastness.environ["FASTNESS__ENGINE__SLOTS"] = "4"
    shown = fastness.ok("config")
    assert "slots = 4  # $FASTNESS__ENGINE__SLOTS; default 8" in shown
    file = tmp_path / "config.toml"
    file.write_text(shown)
    del fastness.environ["FASTNESS__ENGINE__SLOTS"]
    again = fastness.document("config", "show", "--config", file)
    assert again["engine.slots"] == 4
    assert again == {
        f"{section}.{name}": value
        for section, values in tomllib.loads(shown).items()
        for name, value in values.items()
    }  # fmt: skip


def test_one_setting_is_explained(fastness):
    (fastness.home / "config.toml").write_text("[gateway]\nport = 9000\n")
    facts = dict(line.split(None, 1) for line in fastness.ok("config", "explain", "gateway.port").splitlines())
    assert facts["value"] == "9000"
    assert facts["source"] == str(fastness.home / "config.toml")
    assert facts["default"] == "8080"
    assert "FASTNESS__GATEWAY__PORT" in facts["set"]
    assert fastness.document("config", "explain", "gateway.port")["variable"] == "FASTNESS__GATEWAY__PORT"


def test_all_settings_are_explained(fastness):
    lines = fastness.ok("config", "explain").splitlines()
    rows = fastness.document("config", "explain")
    assert len(lines) == len(rows) + 1
    assert lines[0].split() == ["SETTING", "VALUE", "SOURCE", "MEANING"]
    assert all(row["source"] == "default" and row["meaning"] for row in rows)


def test_an_unknown_setting_is_told_what_was_meant(fastness):
    result = fastness("config", "explain", "gateway.prot")
    assert result.exit_code == 4
    assert "gateway.prot is not a setting. Did you mean gateway.port?" in result.stderr


def test_a_setting_that_cannot_be_used_is_a_usage_error_of_every_verb(fastness):
    fastness.environ["FASTNESS__GATEWAY__PORT"] = "many"
    for verb in (["up"], ["ps"], ["config"], ["doctor"]):
        result = fastness(*verb)
        assert result.exit_code == 2
        assert "gateway.port (from $FASTNESS__GATEWAY__PORT) is 'many'" in result.stderr


def test_what_runs_with_other_settings_is_told(fastness):
    fastness.environ["FASTNESS__GATEWAY__PORT"] = "9000"
    with fastness.control():
        del fastness.environ["FASTNESS__GATEWAY__PORT"]
        result = fastness("config", "explain", "gateway.port")
    assert "What runs here was started with gateway.port = 9000 ($FASTNESS__GATEWAY__PORT)." in result.stderr


def log(fastness, process, *records, name=None):
    lines = [json.dumps({"time": time, "level": "info", "process": process, "event": event, **rest}) for time, event, rest in records]  # fmt: skip  # noqa: E501
    path = fastness.home / "logs" / (name or f"{process}.jsonl")
    path.write_text("".join(f"{line}\n" for line in lines))
    return path


def test_logs_of_all_processes_are_shown_together_by_time(fastness):
    log(fastness, "control", (1_800_000_000.25, "ready", {}), (1_800_000_002, "access.published", {"version": 3}))
    log(fastness, "gateway-0", (1_800_000_001.5, "request", {"status": 200, "code": None}))
    assert fastness.ok("logs").splitlines() == [
        "01-15 08:00:00.250  info     control     ready",
        "01-15 08:00:01.500  info     gateway-0   request                 status=200",
        "01-15 08:00:02.000  info     control     access.published        version=3",
    ]
    assert len(fastness.ok("logs", "-n", "2").splitlines()) == 2
    assert fastness.ok("logs", "gateway-0").count("\n") == 1


def test_logs_as_json_are_the_records_as_written(fastness):
    path = log(fastness, "control", (1.0, "one", {}), (2.0, "two", {"reason": "ünï"}))
    with path.open("a") as file:
        file.write("Traceback: not a record\n")
    lines = fastness.ok("logs", "--json").splitlines()
    assert [json.loads(line)["event"] for line in lines] == ["one", "two"]
    assert "Traceback: not a record" in fastness.ok("logs")


def test_log_lines_cannot_drive_the_terminal(fastness):
    log(fastness, "control", (1.0, "x\x1b[2Jy", {}))
    assert "\x1b" not in fastness.ok("logs")


def test_a_process_that_never_logged_is_not_found(fastness):
    log(fastness, "control", (1.0, "ready", {}))
    result = fastness("logs", "contol")
    assert result.exit_code == 4
    assert "No process 'contol' has logged here. Did you mean control?" in result.stderr
    assert "there are logs of: control" in result.stderr


def test_no_logs_at_all_is_no_failure(fastness):
    result = fastness("logs")
    assert result.exit_code == 0
    assert re.match(r"No logs yet in ", result.stderr)


def test_the_last_lines_reach_into_the_rotated_file(fastness):
    log(fastness, "control", (1.0, "a", {}), (2.0, "b", {}), name="control.1.jsonl")
    log(fastness, "control", (3.0, "c", {}))
    assert [line.split()[-1] for line in fastness.ok("logs", "-n", "2").splitlines()] == ["b", "c"]


@pytest.fixture
def tail(tmp_path):
    tail = Tail(tmp_path / "x.jsonl")
    yield tail, tmp_path / "x.jsonl"
    tail.close()


def test_following_yields_whole_lines_once_through_a_rotation(tail):
    follower, path = tail
    assert follower.more() == []
    path.write_bytes(b"one\ntw")
    assert follower.more() == [b"one"]
    with path.open("ab") as file:
        file.write(b"o\nthree\n")
    path.rename(path.with_suffix(".1.jsonl"))
    path.write_bytes(b"four\n")
    assert follower.more() == [b"two", b"three", b"four"]
    assert follower.more() == []
