"""The log: closed fields, bounded memory, bounded disk, and never in the way of an answer."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest

from fastness.telemetry import log as log_module
from fastness.telemetry.log import JsonLog
from fastness.telemetry.names import LOG_FIELDS


def log_at(path: Path, **options: Any) -> JsonLog:
    return JsonLog(path, "gateway-0", lambda: 1_700_000_000.1234567, **options)


def records(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_a_record_says_when_how_bad_who_and_what(tmp_path: Path) -> None:
    log = log_at(tmp_path / "gateway.jsonl")
    log.record("info", "request", status=200, model="small")
    log.flush()
    assert records(tmp_path / "gateway.jsonl") == [
        {
            "time": 1_700_000_000.123,
            "level": "info",
            "process": "gateway-0",
            "event": "request",
            "status": 200,
            "model": "small",
        }
    ]


def test_every_field_of_the_closed_set_may_be_recorded(tmp_path: Path) -> None:
    log = log_at(tmp_path / "gateway.jsonl")
    fields = dict.fromkeys(LOG_FIELDS - {"level", "event"}, 1)
    log.record("info", "all", **fields)
    log.flush()
    assert set(records(tmp_path / "gateway.jsonl")[0]) == LOG_FIELDS


@pytest.mark.parametrize("field", ["prompt", "message", "content", "body", "authorization"])
def test_a_field_outside_the_closed_set_is_a_defect(tmp_path: Path, field: str) -> None:
    log = log_at(tmp_path / "gateway.jsonl")
    with pytest.raises(ValueError, match=field):
        log.record("info", "request", **{field: "tell nobody"})
    log.flush()
    assert not (tmp_path / "gateway.jsonl").exists()


def test_below_its_level_nothing_is_kept(tmp_path: Path) -> None:
    log = log_at(tmp_path / "gateway.jsonl", level="warning")
    for level in ("debug", "info", "warning", "error"):
        log.record(level, "tried")
    log.flush()
    assert [one["level"] for one in records(tmp_path / "gateway.jsonl")] == ["warning", "error"]


def test_nothing_is_written_before_flush_and_nothing_twice(tmp_path: Path) -> None:
    path = tmp_path / "gateway.jsonl"
    log = log_at(path)
    log.record("info", "one")
    assert not path.exists()
    log.flush()
    log.flush()
    log.record("info", "two")
    log.flush()
    assert [one["event"] for one in records(path)] == ["one", "two"]


def test_a_line_break_in_a_value_does_not_break_the_line(tmp_path: Path) -> None:
    log = log_at(tmp_path / "gateway.jsonl")
    log.record("info", "odd", reason='one\ntwo\r\n{"level": "error"}')
    log.flush()
    (one,) = records(tmp_path / "gateway.jsonl")
    assert one["reason"] == 'one\ntwo\r\n{"level": "error"}'


def test_the_buffer_is_bounded_and_the_file_says_how_many_records_were_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log_module, "BUFFERED_RECORDS_MAX", 3)
    log = log_at(tmp_path / "gateway.jsonl")
    for number in range(8):
        log.record("info", "burst", count=number)
    log.flush()
    log.record("info", "after")
    log.flush()
    kept = [(one["event"], one.get("count")) for one in records(tmp_path / "gateway.jsonl")]
    assert [one for one in kept if one[0] == "burst"] == [("burst", 0), ("burst", 1), ("burst", 2)]
    assert kept.count(("log.overflowed", 5)) == 1
    assert ("after", None) in kept


def test_even_a_log_of_errors_only_says_what_it_lost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_module, "BUFFERED_RECORDS_MAX", 1)
    log = log_at(tmp_path / "gateway.jsonl", level="error")
    log.record("error", "one")
    log.record("error", "two")
    log.flush()
    assert [one["event"] for one in records(tmp_path / "gateway.jsonl")][-1] == "log.overflowed"


def test_a_file_that_would_grow_beyond_its_bound_is_rotated_and_only_so_many_are_kept(tmp_path: Path) -> None:
    path = tmp_path / "gateway.jsonl"
    log = log_at(path, bytes_max=200, files_max=2)
    for number in range(40):
        log.record("info", "line", count=number)
        log.flush()
    assert sorted(one.name for one in tmp_path.iterdir()) == ["gateway.1.jsonl", "gateway.2.jsonl", "gateway.jsonl"]
    assert all(one.stat().st_size <= 200 for one in tmp_path.iterdir())
    oldest, older, newest = (records(tmp_path / f"gateway{suffix}.jsonl") for suffix in (".2", ".1", ""))
    numbers = [one["count"] for one in (*oldest, *older, *newest)]
    assert numbers == list(range(numbers[0], 40)), "newest last, nothing missing between"


def test_one_rotated_file_may_be_enough(tmp_path: Path) -> None:
    log = log_at(tmp_path / "gateway.jsonl", bytes_max=100, files_max=1)
    for number in range(9):
        log.record("info", "line", count=number)
        log.flush()
    assert sorted(one.name for one in tmp_path.iterdir()) == ["gateway.1.jsonl", "gateway.jsonl"]


def test_a_log_that_was_there_before_is_continued(tmp_path: Path) -> None:
    path = tmp_path / "gateway.jsonl"
    for event in ("before", "after"):
        log = log_at(path)
        log.record("info", event)
        log.flush()
    assert [one["event"] for one in records(path)] == ["before", "after"]


def test_a_disk_that_refuses_loses_records_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "gateway.jsonl"
    log = log_at(path)
    path.mkdir()
    log.record("info", "one")
    log.record("info", "two")
    log.flush()
    path.rmdir()
    log.record("info", "three")
    log.flush()
    found = records(path)
    assert [one["event"] for one in found if one["event"] != "log.overflowed"] == ["three"]
    assert [one["count"] for one in found if one["event"] == "log.overflowed"] == [2]


def test_an_echo_sees_the_same_lines(tmp_path: Path) -> None:
    echo = io.StringIO()
    log = log_at(tmp_path / "gateway.jsonl", echo=echo)
    log.record("info", "heard")
    log.flush()
    assert echo.getvalue() == (tmp_path / "gateway.jsonl").read_text()


def test_the_directory_is_made_for_its_owner_only(tmp_path: Path) -> None:
    log_at(tmp_path / "logs" / "gateway.jsonl")
    assert (tmp_path / "logs").stat().st_mode & 0o777 == 0o700
