"""The files of an index as they are on disk: their form, what is taken up again and what is removed."""

from __future__ import annotations

import json
import sys
from array import array
from hashlib import sha256
from pathlib import Path

import pytest

from fastness.core.event import Event, EventType
from fastness.ledger.entry import draft
from fastness.ledger.receipts import index as index_module
from fastness.ledger.receipts import runs as runs_module
from fastness.ledger.receipts.index import LogIndex
from fastness.ledger.receipts.runs import Run, Runs, key_of
from fastness.ledger.segments import Segments
from receipt_world import Unsynced, request_id


@pytest.fixture
def small(monkeypatch) -> None:
    """Runs of 2 entries, 3 of which make a larger one."""
    for module in (runs_module, index_module):
        monkeypatch.setattr(module, "RUN_ENTRIES", 2)
    monkeypatch.setattr(runs_module, "GROWTH", 3)


def stored(path: Path, keys: list[int], indexes: list[int]) -> Path:
    words = array("Q", keys).tobytes() + array("Q", indexes).tobytes()
    path.write_bytes(words + sha256(sys.byteorder.encode() + words).digest())
    return path


def names(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


def test_a_run_is_keys_then_indexes_then_a_digest(tmp_path) -> None:
    runs = Runs(tmp_path / "deep/index")
    runs.add(7, {9: [3], 2: [5, 1], 2**64 - 1: [6]})
    (path,) = (tmp_path / "deep/index").iterdir()
    assert path.name == "0000000000000000-0000000000000007.run"
    other = stored(tmp_path / path.name, [2, 2, 9, 2**64 - 1], [1, 5, 3, 6])
    assert path.read_bytes() == other.read_bytes()
    assert (tmp_path / "deep/index").stat().st_mode & 0o777 == 0o700
    read = Run(path)
    assert (read.path, read.first, read.end) == (path, 0, 7)
    assert list(read.pairs()) == [(2, 1), (2, 5), (9, 3), (2**64 - 1, 6)]
    assert [list(read.find(key)) for key in (1, 2, 3, 9, 2**64 - 1)] == [[], [1, 5], [], [3], [6]]
    assert (runs.find(2), runs.end) == ([1, 5], 7)


def test_an_empty_run_covers_entries_that_are_of_no_request(tmp_path) -> None:
    runs = Runs(tmp_path)
    runs.add(4, {})
    assert (runs.end, runs.find(0), Runs(tmp_path).end) == (4, [], 4)


@pytest.mark.parametrize(
    "name", ["0-7.run", "0000000000000000-0000000000000007", "x000000000000000-0000000000000007.run", "a.run"]
)
def test_a_file_of_another_name_is_no_run(tmp_path, name) -> None:
    with pytest.raises(ValueError, match=f"^{name} is not the name of a run$"):
        Run(stored(tmp_path / name, [1], [1]))


def test_a_damaged_run_is_none(tmp_path) -> None:
    path = stored(tmp_path / f"{0:016d}-{7:016d}.run", [1, 2], [3, 4])
    whole = path.read_bytes()
    words = whole[:-32]
    for bad in (
        whole[:-1],
        bytes([whole[0] ^ 1]) + whole[1:],
        whole[:-1] + bytes([whole[-1] ^ 1]),
        words + sha256(words).digest(),
        words[:24] + sha256(sys.byteorder.encode() + words[:24]).digest(),  # a key without its index
        b"0",
    ):
        path.write_bytes(bad)
        with pytest.raises(ValueError, match=f"^{path} is damaged$"):
            Run(path)


def test_runs_are_taken_up_from_the_first_entry_on_without_a_gap(tmp_path) -> None:
    for first, end in ((0, 4), (4, 8), (12, 16), (2, 4), (0, 2)):
        stored(tmp_path / f"{first:016d}-{end:016d}.run", [first], [first])
    (tmp_path / f"{8:016d}-{12:016d}.run").write_bytes(b"damaged")
    (tmp_path / "somebody-put-this-here-for-a-while.run").write_bytes(b"no run")
    (tmp_path / "marks.json").write_text("[]")
    runs = Runs(tmp_path)
    assert (runs.end, runs.find(0), runs.find(4), runs.find(12), runs.find(2)) == (8, [0], [4], [], [])
    left = [f"{0:016d}-{4:016d}.run", f"{4:016d}-{8:016d}.run"]
    assert names(tmp_path) == [*left, "marks.json"]
    runs.clear()
    assert (runs.end, runs.find(0), names(tmp_path)) == (0, [], ["marks.json"])


def test_the_newest_is_found_first(tmp_path) -> None:
    runs = Runs(tmp_path)
    for end, at in ((4, 1), (8, 5), (12, 9)):
        runs.add(end, {7: [at]})
    assert runs.find(7) == [9, 5, 1]


@pytest.mark.usefixtures("small")
def test_small_runs_become_larger_ones_up_to_the_third_size(tmp_path) -> None:
    runs, sizes = Runs(tmp_path), []
    for number in range(30):
        runs.add(2 * number + 2, {number: [2 * number], 99: [2 * number + 1]})
        sizes.append([run.end - run.first for run in map(Run, sorted(tmp_path.glob("*.run")))])
    assert sizes[:6] == [[2], [2, 2], [6], [6, 2], [6, 2, 2], [6, 6]]
    assert (sizes[8], sizes[26], sizes[29]) == ([18], [18, 18, 18], [18, 18, 18, 6])
    assert runs.end == 60 and names(tmp_path) == sorted(path.name for path in tmp_path.glob("*.run"))
    assert [runs.find(number) for number in range(30)] == [[2 * number] for number in range(30)]
    assert sorted(runs.find(99)) == [2 * number + 1 for number in range(30)]


def test_a_key_is_the_first_half_of_the_digits() -> None:
    assert key_of("req_" + "00000000000000ff" + "1" * 16) == key_of("00000000000000ff") == 255
    assert key_of("req_" + "f" * 15) is key_of("req_" + "x" * 16) is None


def written(directory: Path, *events: Event) -> Path:
    segments = Segments(directory, "log", 20_000, lambda: 0, Unsynced())
    for one in events:
        segments.append([draft(one.type, one.time_ms, one.fields)])
    segments.close()
    return directory


def asked(number: int, kind: EventType = EventType.INFERENCE_COMPLETED) -> Event:
    return Event(kind, number, {"request_id": request_id(number)})


def applied(policy: str, time_ms: int = 1) -> Event:
    return Event(EventType.POLICY_APPLIED, time_ms, {"policy": policy, "by": "ann"})


def caught_up(log: Path, directory: Path) -> LogIndex:
    index = LogIndex(log, directory)
    while index.catch_up():
        pass
    return index


def test_requests_are_found_however_they_ended_and_marks_where_they_were_last_said(tmp_path) -> None:
    log = written(
        tmp_path / "log", asked(0), asked(1, EventType.INFERENCE_REFUSED), applied("p1"), applied("p2"), applied("p1")
    )
    index = caught_up(log, tmp_path / "index")
    assert [index.of_request(request_id(number)) for number in range(3)] == [[0], [1], []]
    assert [index.of_mark("policy.applied", one) for one in ("p1", "p2", "p3")] == [4, 3, None]
    assert index.of_request("nonsense") == [] and index.of_mark("policy.applied") is None and index.entries == 5


def test_it_takes_so_many_entries_at_a_time_and_tells_whether_there_may_be_more(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(index_module, "STEP_ENTRIES", 2)
    log = written(tmp_path / "log", *map(asked, range(3)))
    index = LogIndex(log, tmp_path / "index")
    assert [(index.catch_up(), index.entries) for _ in range(3)] == [(True, 2), (False, 3), (False, 3)]


@pytest.mark.usefixtures("small")
def test_marks_are_kept_beside_the_runs_that_cover_them(tmp_path) -> None:
    log = written(tmp_path / "log", applied("p1"), asked(1), applied("p2"), asked(3), applied("p3"))
    caught_up(log, tmp_path / "index")
    kept = tmp_path / "index/marks.json"
    marks = [["policy.applied", "p1", 1, 0], ["policy.applied", "p2", 1, 2]]
    assert json.loads(kept.read_text()) == {"v": 2, "marks": marks}
    again = LogIndex(log, tmp_path / "index")
    assert [again.of_mark("policy.applied", one) for one in ("p1", "p2", "p3")] == [0, 2, None]
    assert again.entries == 4 and again.of_request(request_id(3)) == [3]


ODD_MARKS = [
    *(None, b"{", b"7", b"[7]", b"{}", b"\xff", b'[["policy.applied", "p1", 0]]', b'{"v": 2}'),
    *(
        b'{"v": 2, "marks": [%s]}' % one
        for one in (b"7", b"[]", b'["policy.applied", "p1", 1, "x"]', b'[[], "p1", 1, 0]')
    ),
    b'{"v": 3, "marks": []}',
]
"""Among them what a release before wrote, which had no times."""


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("content", ODD_MARKS)
def test_without_marks_all_is_read_anew(tmp_path, content) -> None:
    log = written(tmp_path / "log", applied("p1"), asked(1), asked(2))
    caught_up(log, tmp_path / "index")
    kept = tmp_path / "index/marks.json"
    kept.unlink() if content is None else kept.write_bytes(content)
    assert LogIndex(log, tmp_path / "index").entries == 0
    index = caught_up(log, tmp_path / "index")
    assert index.of_mark("policy.applied", "p1") == 0 and index.of_request(request_id(1)) == [1]


@pytest.mark.usefixtures("small")
def test_of_what_is_said_again_that_of_a_time_is_found_also_by_whoever_reads_the_marks(tmp_path) -> None:
    said = (applied("p1", 10), asked(1), applied("p1", 30), asked(3), applied("p1", 50))
    log = written(tmp_path / "log", *said)
    first, again = caught_up(log, tmp_path / "index"), caught_up(log, tmp_path / "index")
    for index in (first, again):
        found = [index.of_mark("policy.applied", "p1", by_ms=time_ms) for time_ms in (9, 10, 29, 30, 49, 50, 99)]
        assert found == [None, 0, 0, 2, 2, 4, 4] and index.of_mark("policy.applied", "p1") == 4


def test_what_is_said_ever_again_is_known_so_often_and_no_more(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(index_module, "MARKS_MAX", 2)
    index = caught_up(written(tmp_path / "log", *(applied("p1", at) for at in range(4))), tmp_path / "index")
    assert [index.of_mark("policy.applied", "p1", by_ms=at) for at in range(4)] == [None, None, 2, 3]


def test_marks_are_bounded_and_the_one_that_was_longest_unsaid_goes(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(index_module, "MARKS_MAX", 2)
    log = written(tmp_path / "log", applied("p1"), applied("p2"), applied("p1"), applied("p3"))
    index = caught_up(log, tmp_path / "index")
    assert [index.of_mark("policy.applied", one) for one in ("p1", "p2", "p3")] == [2, None, 3]


def test_an_entry_of_no_request_is_left_out(tmp_path) -> None:
    odd = Event(EventType.INFERENCE_COMPLETED, 1, {"request_id": None})
    index = caught_up(written(tmp_path / "log", odd, asked(1)), tmp_path / "index")
    assert index.entries == 2 and index.of_request(request_id(1)) == [1]
