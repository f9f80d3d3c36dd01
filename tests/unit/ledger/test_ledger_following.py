"""Following a log gives each entry once, in order, also over segments, and waits for one that is being written."""

import asyncio

import pytest

from fastness.config import LedgerSettings
from fastness.core.event import Event, EventType
from fastness.ledger.file import FileLedger
from fastness.ledger.following import Place, end_of, follow, place_of
from fastness.ledger.port import LedgerCorrupt


def write(directory, count, first=0):
    async def commit():
        ledger = FileLedger.open(directory, "gateway-0", LedgerSettings(segment_bytes_max=65_536), lambda: 5)
        for number in range(first, first + count):
            fields = {"request_id": f"req_{number}", "model": "x" * 900}
            ledger.append(Event(EventType.INFERENCE_REFUSED, 5, fields))
            if number % 50 == 0:
                await ledger.commit(Event(EventType.INFERENCE_REFUSED, 5, {"request_id": "many"}))
        await ledger.close()

    asyncio.run(commit())


def test_a_log_that_is_not_there_has_nothing_yet(tmp_path):
    nowhere = tmp_path / "gateway-0"
    assert end_of(nowhere) == 0
    assert follow(nowhere, Place(0), 10) == ([], Place(0))
    assert place_of(nowhere, 7) == Place(7)


@pytest.mark.parametrize("at_once", [1, 7, 1_000])
def test_every_entry_comes_once_over_segments_and_restarts(tmp_path, at_once):
    directory = tmp_path / "gateway-0"
    write(directory, 150)
    assert len(list(directory.glob("*.jsonl"))) > 1
    seen, place = [], Place(0)
    for more in (0, 100):
        if more:
            write(directory, more, 150)
        while True:
            entries, place = follow(directory, place, at_once)
            seen += [entry["index"] for entry in entries]
            if not entries:
                break
    assert seen == list(range(end_of(directory)))
    found, _ = follow(directory, place_of(directory, 120), 5)
    assert [entry["index"] for entry in found] == [120, 121, 122, 123, 124]


def test_half_a_line_is_left_for_the_next_time(tmp_path):
    write(tmp_path, 3)
    segment = tmp_path / "00000000.jsonl"
    whole = segment.read_bytes()
    segment.write_bytes(whole[:-10])
    entries, place = follow(tmp_path, Place(0), 10)
    count = len(entries)
    segment.write_bytes(whole)
    more, _ = follow(tmp_path, place, 10)
    assert [entry["index"] for entry in entries + more] == list(range(count + 1))


def test_a_line_that_is_no_entry_is_said(tmp_path):
    write(tmp_path, 3)
    with (tmp_path / "00000000.jsonl").open("ab") as file:
        file.write(b"{}\n")
    with pytest.raises(LedgerCorrupt, match="fastness ledger verify"):
        follow(tmp_path, Place(0), 10)
