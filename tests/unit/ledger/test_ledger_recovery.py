import hashlib
import os
import stat
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fastness.ledger.entry import HEAD_NAME, draft
from fastness.ledger.port import LedgerCorrupt, LedgerInUse, LedgerUnavailable
from fastness.ledger.segments import FileOperations, Segments
from fastness.ledger.verify import read, tail, verify

NOW_MS = 1_763_800_999_000
WHOLE = b'{"fields":{"request_id":"req_30"},"index":30,"prev":'


def opened(directory: Path, log: str = "gateway-0", files: FileOperations | None = None) -> Segments:
    return Segments(directory, log, 1_400, lambda: NOW_MS, files or FileOperations())


@pytest.fixture
def log(tmp_path, write_log) -> Path:
    """A log of 30 entries in four segments, as a killed writer leaves it: without a head behind its last entries."""
    write_log(tmp_path / "gateway-0", count=30)
    (tmp_path / "gateway-0" / HEAD_NAME).unlink()
    return tmp_path / "gateway-0"


def last_segment(log: Path) -> Path:
    return max(log.glob("*.jsonl"))


def append(path: Path, content: bytes) -> None:
    with path.open("ab") as file:
        file.write(content)


@pytest.mark.parametrize(
    "torn",
    [
        b"{",
        WHOLE,
        WHOLE + b"\n",
        b"\n",
        b"\0" * 10,
        b"\0" * 4_096 + b"\n",
        b"\0" * 200_000,
        b"x" * 200_000 + b"\n",
        WHOLE + b"\n" + WHOLE,
        b"\0" * 70_000 + b"\n" + b"\0" * 70_000,
        b"\xff\xfe",
    ],
)
def test_a_torn_end_is_cut_and_recorded(log, torn):
    before = [entry.chain for entry in read(log)]
    append(last_segment(log), torn)

    segments = opened(log)
    segments.append([draft("boot", 1, {})])
    segments.close()

    assert verify(log).sound
    assert [entry.chain for entry in read(log)][:30] == before
    repaired, boot = tail(log, 2)
    assert (repaired.index, repaired.type, repaired.time_ms) == (30, "log.repaired", NOW_MS)
    assert repaired.fields == {
        "segment": 3,
        "cut_bytes": len(torn),
        "cut_sha256": hashlib.sha256(torn).hexdigest(),
    }
    assert (boot.index, boot.type) == (31, "boot")


def test_every_cut_of_the_last_entry_is_repaired(log, unsynced):
    content = last_segment(log).read_bytes()
    start = content[:-1].rindex(b"\n") + 1
    for end in range(start + 1, len(content)):
        last_segment(log).write_bytes(content[:end])
        (log / HEAD_NAME).unlink(missing_ok=True)
        opened(log, files=unsynced).close()
        assert verify(log).sound
        (repaired,) = tail(log, 1)
        assert (repaired.index, repaired.fields["cut_bytes"]) == (29, end - start)


def test_a_torn_first_line_of_a_segment_is_repaired(log):
    (log / "00000004.jsonl").write_bytes(WHOLE)
    opened(log).close()

    assert verify(log).sound
    assert (tail(log, 1)[0].index, tail(log, 1)[0].fields["segment"]) == (30, 4)


def test_an_empty_segment_left_by_a_crash_in_rotation_is_used(log):
    (log / "00000004.jsonl").touch()
    segments = opened(log)
    segments.append([draft("boot", 1, {})])
    segments.close()

    assert verify(log).sound
    assert (log / "00000004.jsonl").read_bytes().count(b"\n") == 1


def test_a_torn_first_entry_of_a_log_is_repaired(tmp_path):
    opened(tmp_path).close()
    (tmp_path / "00000000.jsonl").write_bytes(b'{"fields":{')
    opened(tmp_path).close()

    assert verify(tmp_path).sound
    assert [entry.type for entry in read(tmp_path)] == ["log.repaired"]


def test_a_crash_in_the_middle_of_a_repair_is_repaired(log, unsynced):
    """The repair is written over the torn bytes: wherever it stops, a torn end is left, or the whole record."""
    torn = b"\0" * 1_000 + b"\n" + WHOLE
    honest = last_segment(log).read_bytes()
    append(last_segment(log), torn)
    opened(log).close()
    record = last_segment(log).read_bytes()[len(honest) :]

    for written in range(len(record) + 1):
        (log / HEAD_NAME).unlink(missing_ok=True)
        last_segment(log).write_bytes(honest + record[:written] + torn[written:])
        opened(log, files=unsynced).close()
        assert verify(log).sound
        assert [entry.type for entry in read(log, 30)] == ["log.repaired"] * (2 if written == len(record) else 1)


def bad_middle(log: Path) -> None:
    content = last_segment(log).read_bytes().splitlines(keepends=True)
    content[-2] = content[-2].replace(b"req_", b"rex_")
    last_segment(log).write_bytes(b"".join(content))


def bad_line_before_the_last(log: Path) -> None:
    content = last_segment(log).read_bytes().splitlines(keepends=True)
    content[-2] = b"\0" * 50 + b"\n"
    last_segment(log).write_bytes(b"".join(content))


def repeated_last(log: Path) -> None:
    append(last_segment(log), last_segment(log).read_bytes().splitlines(keepends=True)[-1])


def missing_segment(log: Path) -> None:
    (log / "00000001.jsonl").unlink()


def missing_first_segment(log: Path) -> None:
    (log / "00000000.jsonl").unlink()


def cut_middle_segment(log: Path) -> None:
    os.truncate(log / "00000002.jsonl", 1_000)


def two_bad_lines(log: Path) -> None:
    append(last_segment(log), b"x\ny\n")


@pytest.mark.parametrize(
    ("harm", "reason"),
    [
        (bad_middle, "Entry 29 of the log in .* does not follow entry 28"),
        (bad_line_before_the_last, r"The line at byte \d+ of .*00000003.jsonl is no entry: it is not JSON"),
        (repeated_last, "Entry 29 of the log in .* does not follow entry 29"),
        (missing_segment, "lacks 00000001.jsonl"),
        (missing_first_segment, "lacks 00000000.jsonl"),
        (cut_middle_segment, r"The line at byte \d+ of .*00000002.jsonl is no entry"),
        (two_bad_lines, r"The line at byte \d+ of .*00000003.jsonl is no entry"),
    ],
)
def test_what_a_crash_cannot_leave_is_refused_and_left_as_it_is(log, harm, reason):
    harm(log)
    before = {path: path.read_bytes() for path in log.iterdir()}

    with pytest.raises(LedgerCorrupt, match=reason + r".*Nothing was changed\. Keep the directory"):
        opened(log)
    assert {path: path.read_bytes() for path in log.iterdir()} == before
    with pytest.raises(LedgerCorrupt):  # and the lock was given up
        opened(log)


def test_a_log_shorter_than_its_head_is_refused(tmp_path, write_log):
    write_log(tmp_path, count=30)
    last_segment(tmp_path).unlink()
    with pytest.raises(LedgerCorrupt, match=r"has seen 30, chain .*: its end was cut or changed"):
        opened(tmp_path)


def test_a_last_entry_other_than_the_heads_is_refused(tmp_path, write_log):
    write_log(tmp_path, count=30)
    last_segment(tmp_path).write_bytes(last_segment(tmp_path).read_bytes().replace(b"req_29", b"req_28"))
    with pytest.raises(LedgerCorrupt, match="its end was cut or changed"):
        opened(tmp_path)


def test_another_log_is_refused(tmp_path, write_log):
    write_log(tmp_path, "gateway-0", count=3)
    with pytest.raises(LedgerCorrupt, match="is 'gateway-0'; 'control' was to be opened"):
        opened(tmp_path, "control")
    (tmp_path / HEAD_NAME).unlink()
    with pytest.raises(LedgerCorrupt, match="does not begin as log 'control' does"):
        opened(tmp_path, "control")


def test_a_head_that_cannot_be_read_is_refused(log):
    (log / HEAD_NAME).write_bytes(b"{")
    with pytest.raises(LedgerCorrupt, match=r"head.json is no head: it is not JSON"):
        opened(log)


def test_a_second_writer_is_refused_and_told_what_to_do(log):
    first = opened(log)
    with pytest.raises(LedgerInUse, match="being written by another process, and a log has one writer"):
        opened(log)
    first.close()
    opened(log).close()


def test_a_log_is_private(tmp_path):
    segments = opened(tmp_path / "ledger" / "node")
    segments.append([draft("boot", 1, {})])
    segments.close()

    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "ledger").rglob("*")}
    assert modes == {"node": 0o700, "00000000.jsonl": 0o600, HEAD_NAME: 0o600}


@pytest.mark.parametrize("name", ["", "Node", "a/b", "..", "é", "n" * 64])
def test_a_name_that_is_no_name_is_refused(tmp_path, name):
    with pytest.raises(ValueError, match="cannot be the name of a log"):
        opened(tmp_path, name)


def test_a_directory_that_cannot_be_made_is_an_error_that_says_so(tmp_path):
    from fastness.config import LedgerSettings
    from fastness.ledger.file import FileLedger

    (tmp_path / "ledger").touch()
    with pytest.raises(LedgerUnavailable, match=r"cannot record: .*Not a directory"):
        FileLedger.open(tmp_path / "ledger" / "node", "node", LedgerSettings(8, 8, 65_536), lambda: 0)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_end_a_crash_can_leave_is_opened_and_keeps_every_entry_before_it(
    tmp_path_factory, write_log, unsynced, data
):
    log = tmp_path_factory.mktemp("crashed") / "gateway-0"
    count = data.draw(st.integers(0, 20))
    chains = write_log(log, count=count)
    (log / HEAD_NAME).unlink()
    torn = data.draw(st.binary(max_size=300).map(lambda torn: torn.replace(b"\n", b"")))
    append(last_segment(log), torn + data.draw(st.sampled_from([b"", b"\n"])))

    opened(log, files=unsynced).close()

    assert verify(log).sound
    assert [entry.chain for entry in read(log, 0, count)] == [chain.hex() for chain in chains]


@pytest.mark.slow
def test_a_log_of_a_million_entries_opens_without_all_of_it_being_read(tmp_path):
    import time

    segments = Segments(tmp_path, "gateway-0", 67_108_864, lambda: NOW_MS, FileOperations())
    batch = [draft("inference.completed", 1, {"request_id": f"req_{n}"}) for n in range(50_000)]
    for _ in range(20):
        segments.append(batch)
    segments.close()
    (tmp_path / HEAD_NAME).unlink()
    append(last_segment(tmp_path), WHOLE)

    took_s = []
    for _ in range(5):  # the first repairs
        began = time.process_time()
        segments = opened(tmp_path)
        took_s.append(time.process_time() - began)
        segments.close()
    assert min(took_s) < 0.2, took_s  # to read all of them takes seconds
    assert tail(tmp_path, 1)[0].index == 1_000_000
