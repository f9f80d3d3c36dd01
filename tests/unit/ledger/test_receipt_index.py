"""Entries are found by the request's id, old ones too, and a lost or damaged index is made again from the log."""

import random
import time
from collections import Counter
from hashlib import sha256
from pathlib import Path

import pytest

from fastness.core.event import Event, EventType
from fastness.ledger.receipts import runs as runs_module
from fastness.ledger.receipts.index import MARKS, LogIndex
from fastness.ledger.receipts.runs import GROWTH, Run, Runs, key_of
from receipt_world import Unsynced


@pytest.fixture
def small(monkeypatch) -> None:
    """Runs of 8 entries, 4 of which make a larger one."""
    monkeypatch.setattr(runs_module, "RUN_ENTRIES", 8)
    monkeypatch.setattr("fastness.ledger.receipts.index.RUN_ENTRIES", 8)
    monkeypatch.setattr(runs_module, "GROWTH", 4)
    monkeypatch.setattr("fastness.ledger.receipts.index.STEP_ENTRIES", 5)


def identity(number: int) -> str:
    return f"req_{sha256(b'%d' % number).hexdigest()[:32]}"


@pytest.fixture
def log(tmp_path, write_log, monkeypatch) -> Path:
    directory = tmp_path / "ledger/gateway-0"

    def event(number: int) -> Event:
        return Event(EventType.INFERENCE_COMPLETED, 1_763_800_000_000 + number, {"request_id": identity(number)})

    from fastness.ledger.entry import draft
    from fastness.ledger.segments import Segments

    segments = Segments(directory, "gateway-0", 20_000, lambda: 0, Unsynced())
    for number in range(203):
        happened = event(number)
        segments.append([draft(happened.type, happened.time_ms, happened.fields)])
    segments.close()
    return directory


def caught_up(log: Path, directory: Path) -> LogIndex:
    index = LogIndex(log, directory)
    while index.catch_up():
        pass
    return index


def finds_all(index: LogIndex) -> bool:
    return all(number in index.of_request(identity(number)) for number in range(203))


@pytest.mark.usefixtures("small")
def test_every_request_is_found_and_no_other(log, tmp_path) -> None:
    index = caught_up(log, tmp_path / "index")
    assert index.entries == 203 and finds_all(index)
    assert [index.of_request(identity(number)) for number in range(1_000, 1_100)] == [[]] * 100
    sizes = Counter(run.end - run.first for run in map(Run, (tmp_path / "index").glob("*.run")))
    assert set(sizes) == {8, 32, 128} and all(count < 4 for count in sizes.values()), sizes


@pytest.mark.usefixtures("small")
def test_it_goes_on_where_it_was_without_reading_the_log_anew(log, tmp_path, monkeypatch) -> None:
    caught_up(log, tmp_path / "index")
    again = LogIndex(log, tmp_path / "index")
    assert again.entries == 200
    assert all(number in again.of_request(identity(number)) for number in range(200))


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("seed", range(40))
def test_whatever_a_crash_or_a_disk_left_of_it_all_are_found_again(log, tmp_path, seed) -> None:
    caught_up(log, tmp_path / "index")
    chance = random.Random(seed)
    files = sorted((tmp_path / "index").iterdir())
    for path in chance.sample(files, chance.randrange(1, len(files) + 1)):
        content = bytearray(path.read_bytes())
        how = chance.randrange(4)
        if how == 0:
            path.unlink()
        elif how == 1:
            path.write_bytes(content[: chance.randrange(len(content))])
        elif how == 2:
            content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
            path.write_bytes(content)
        else:
            path.rename(path.with_suffix(".new"))
    assert finds_all(caught_up(log, tmp_path / "index"))


@pytest.mark.usefixtures("small")
def test_a_crash_between_a_larger_run_and_the_end_of_the_smaller_ones_doubles_nothing(
    log, tmp_path, monkeypatch
) -> None:
    kept = {}
    unlink = Path.unlink

    def keeping(path: Path, missing_ok: bool = False) -> None:
        if path.suffix == ".run":
            kept[path] = path.read_bytes()
        unlink(path, missing_ok=missing_ok)

    monkeypatch.setattr(Path, "unlink", keeping)
    caught_up(log, tmp_path / "index")
    monkeypatch.undo()
    for path, content in kept.items():
        path.write_bytes(content)
    index = LogIndex(log, tmp_path / "index")
    assert index.of_request(identity(5)) == [5]


@pytest.mark.usefixtures("small")
def test_requests_that_share_the_first_half_of_their_ids_are_all_offered(tmp_path) -> None:
    runs = Runs(tmp_path / "index")
    runs.add(8, {7: [1, 4], 9: [3]})
    runs.add(16, {7: [11]})
    assert runs.find(7) == [11, 1, 4] and runs.find(8) == []


def test_only_ids_of_requests_have_a_key() -> None:
    assert key_of("req_" + "0f" * 16) == 0x0F0F0F0F0F0F0F0F
    assert key_of("req_zz") is key_of("") is key_of("req_" + "g" * 32) is None


def test_marks_are_fields_of_the_table_of_events() -> None:
    from fastness.ledger.events import EVENTS

    for kind, names in MARKS.items():
        assert set(names) <= set(EVENTS[EventType(kind)].fields)


def test_a_million_entries_are_searched_in_well_under_a_millisecond_of_processor_time(tmp_path) -> None:
    """All that a receipt costs besides reading its entry and its proof; more entries cost a few steps more."""
    runs, per_run = Runs(tmp_path), runs_module.RUN_ENTRIES
    chance, known = random.Random(1), []
    for number in range(2 * GROWTH):
        pairs = {chance.getrandbits(64): [number * per_run + at] for at in range(per_run)}
        known.append(next(iter(pairs)))
        runs.add((number + 1) * per_run, pairs)
    began = time.process_time()
    for _ in range(20):
        assert all(runs.find(key) for key in known)
    assert (time.process_time() - began) / (20 * len(known)) < 0.001
