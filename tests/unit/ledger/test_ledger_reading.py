from pathlib import Path

import pytest

from fastness.ledger.entry import Entry
from fastness.ledger.port import LedgerCorrupt
from fastness.ledger.verify import find, read, tail

COUNT = 30


@pytest.fixture
def log(tmp_path, write_log) -> Path:
    """An honest, closed log of COUNT entries in several segments."""
    write_log(tmp_path / "gateway-0", count=COUNT)
    assert len(segments(tmp_path / "gateway-0")) == 4
    return tmp_path / "gateway-0"


def segments(log: Path) -> list[Path]:
    return sorted(log.glob("*.jsonl"))


def test_entries_are_read_from_an_index_to_an_index(log):
    for first in range(COUNT + 2):
        for end in (None, 0, first, first + 3, COUNT + 5):
            found = [entry.index for entry in read(log, first, end)]
            assert found == list(range(first, min(COUNT, COUNT if end is None else end)))
    assert list(read(log, 10**30)) == []


def test_the_last_entries_are_read(log):
    assert [entry.index for entry in tail(log, 12)] == list(range(18, 30))
    assert [entry.index for entry in tail(log, 99)] == list(range(COUNT))
    assert tail(log, 0) == []


def test_entries_are_found_by_what_they_say(log):
    assert [entry.index for entry in find(log, request_id="req_17")] == [17]
    assert [entry.index for entry in find(log, request_id="req_1")] == [1]
    assert [entry.index for entry in find(log, request_id="req_17", type="inference.completed")] == [17]
    assert list(find(log, request_id="req_17", type="inference.failed")) == []
    assert list(find(log, tenant="req_17")) == []
    assert len(list(find(log, type="inference.completed"))) == COUNT
    assert isinstance(next(find(log)), Entry)


def test_numbers_booleans_and_null_are_found_as_text(tmp_path):
    from fastness.ledger.entry import draft
    from fastness.ledger.segments import FileOperations, Segments

    opened = Segments(tmp_path, "node", 1_000, lambda: 0, FileOperations())
    opened.append([draft("boot", 0, {"pid": 12, "sealed": True, "version": None, "process": 'a"\n'})])
    opened.close()

    for wanted in ({"pid": "12"}, {"sealed": "true"}, {"version": "null"}, {"process": 'a"\n'}):
        assert len(list(find(tmp_path, **wanted))) == 1
    assert list(find(tmp_path, pid="1")) == []


def test_reading_a_line_that_is_no_entry_is_an_error(log):
    segments(log)[0].write_bytes(b"nonsense\n")
    with pytest.raises(LedgerCorrupt, match=r"Line 1 of .*00000000.jsonl is no entry: it is not JSON"):
        list(read(log))
