"""What verification says of a log, to the letter: where the fault is, why, and how much of the log was sound."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from fastness.ledger import walk as walk_module
from fastness.ledger.entry import HEAD_NAME, Head, genesis, write_head
from fastness.ledger.log_key import LogKey
from fastness.ledger.notary import Notary
from fastness.ledger.note import Note, parse_key, parse_note
from fastness.ledger.port import Position
from fastness.ledger.reading import read
from fastness.ledger.tree import Frontier, leaf_hash
from fastness.ledger.verify import Fault, LogReport, VerifyReport, verify

COUNT = 30
ORIGIN = "fastness.example/gateway-0"


@pytest.fixture
def log(tmp_path, write_log) -> Path:
    write_log(tmp_path / "gateway-0", count=COUNT)
    return tmp_path / "gateway-0"


@pytest.fixture
def signed(tmp_path, write_log, unsynced, signing) -> Path:
    write_log(tmp_path / "signed/gateway-0", count=COUNT)
    Notary(tmp_path / "signed/gateway-0", "gateway-0", COUNT, signing, unsynced).close(COUNT)
    return tmp_path / "signed/gateway-0"


def segments(log: Path) -> list[Path]:
    return sorted(log.glob("*.jsonl"))


def lines(log: Path) -> list[bytes]:
    return [line for path in segments(log) for line in path.read_bytes().splitlines(keepends=True)]


def first_of(log: Path, segment: int) -> int:
    return sum(path.read_bytes().count(b"\n") for path in segments(log)[:segment])


def changed(log: Path, segment: int, line: int, old: bytes, new: bytes) -> None:
    content = segments(log)[segment].read_bytes().splitlines(keepends=True)
    assert old in content[line]
    content[line] = content[line].replace(old, new)
    segments(log)[segment].write_bytes(b"".join(content))


def root_of(log: Path, count: int) -> str:
    tree = Frontier()
    for line in lines(log)[:count]:
        tree.append(leaf_hash(line[:-1]))
    return tree.root().hex()


def report(log: Path, **given) -> LogReport:
    (found,) = verify(log, **given).logs
    return found


def chains(log: Path) -> list[str]:
    return [entry.chain for entry in read(log)]


def test_of_a_sound_log_all_is_told(log, tmp_path) -> None:
    assert report(log) == LogReport(
        log="gateway-0", directory=log, entries=COUNT, segments=4,
        size_bytes=sum(path.stat().st_size for path in segments(log)), chain=chains(log)[-1], root=root_of(log, COUNT),
        vouched_entries=COUNT, torn_bytes=0, origin=None, checkpoint_entries=0, signed_by=(), known_keys=False,
        fault=None,
    )  # fmt: skip


def test_a_changed_entry_ends_what_is_known_before_it(log) -> None:
    first, honest = first_of(log, 1), chains(log)
    changed(log, 1, 2, b"req_", b"rex_")
    found = report(log)
    reason = f"entry {first + 2} was changed: entry {first + 3} follows another one"
    assert found.fault == Fault(first + 2, segments(log)[1].name, 3, reason)
    assert (found.entries, found.chain, found.root) == (first + 2, honest[first + 1], "")
    assert (found.segments, found.vouched_entries) == (4, COUNT)


def test_a_changed_first_entry_begins_another_log(log) -> None:
    for path in segments(log)[1:]:
        path.unlink()
    (log / HEAD_NAME).unlink()
    prev = next(read(log)).prev
    changed(log, 0, 0, prev.encode(), b"0" * 64)
    found = report(log)
    reason = "entry 0 does not begin the log 'gateway-0': it belongs to another log, or was changed"
    assert found.fault == Fault(0, "00000000.jsonl", 1, reason)
    assert (found.entries, found.chain) == (0, genesis("gateway-0").hex())


def test_an_entry_that_follows_another_one_is_told(log) -> None:
    prev = chains(log)[4].encode()
    changed(log, 0, 5, prev, b"0" * 64)
    reason = "entry 5 does not follow entry 4: it was changed, or belongs to another log"
    assert report(log).fault == Fault(5, "00000000.jsonl", 6, reason)


def test_what_stands_in_the_place_of_an_entry_is_told(log) -> None:
    content = segments(log)[0].read_bytes().splitlines(keepends=True)
    segments(log)[0].write_bytes(b"".join(content[:3] + content[4:]))
    assert report(log).fault == Fault(3, "00000000.jsonl", 4, "entry 3 is missing: entry 4 stands here")
    segments(log)[0].write_bytes(b"".join(content[:3] + content[2:]))
    reason = "entry 3 is not here; an entry is repeated or out of order: entry 2 stands here"
    assert report(log).fault == Fault(3, "00000000.jsonl", 4, reason)
    segments(log)[0].write_bytes(b"".join([*content[:3], b"nonsense\n", *content[4:]]))
    found = report(log).fault
    assert found is not None and (found.index, found.segment, found.line) == (3, "00000000.jsonl", 4)
    assert found.reason.startswith("the line is no entry: ")


def test_an_end_that_was_cut_is_where_the_log_ends(log) -> None:
    last = segments(log)[-1]
    content = last.read_bytes().splitlines(keepends=True)
    last.write_bytes(b"".join(content[:-2]))
    reason = f"the log ends after {COUNT - 2} entries, and once had {COUNT}: its end was cut"
    assert report(log).fault == Fault(COUNT - 2, last.name, len(content) - 1, reason)
    for path in segments(log):
        path.unlink()
    reason = f"the log ends after 0 entries, and once had {COUNT}: its end was cut"
    assert report(log).fault == Fault(0, "", 1, reason)


def test_a_missing_segment_is_told_and_the_sound_ones_before_it(log) -> None:
    first = first_of(log, 1)
    segments(log)[1].unlink()
    found = report(log)
    reason = "00000001.jsonl is missing, and later segments are there"
    assert (found.fault, found.entries, found.segments) == (Fault(first, "00000001.jsonl", 1, reason), first, 3)
    segments(log)[0].unlink()
    reason = "00000000.jsonl is missing, and later segments are there"
    assert report(log).fault == Fault(0, "00000000.jsonl", 1, reason)


def test_what_was_acknowledged_is_told_from_what_stands_there(log) -> None:
    reason = "entry 9, or one before it, is not the one that was acknowledged: the log was rewritten"
    found = report(log, known=[Position("gateway-0", 9, "00" * 32)])
    place = first_of(log, 1)
    assert place <= 9 < first_of(log, 2)
    assert found.fault == Fault(9, "00000001.jsonl", 9 - place + 1, reason)
    assert (found.entries, found.chain, found.root) == (9, chains(log)[8], "")
    sound = [Position("gateway-0", at, chain) for at, chain in enumerate(chains(log))]
    assert report(log, known=sound).sound
    (log / HEAD_NAME).unlink()
    assert report(log, known=sound[:9]).vouched_entries == 9


def test_a_bad_head_is_told_before_all_else(log) -> None:
    (log / HEAD_NAME).write_bytes(b"{}")
    (log / "checkpoint").write_bytes(b"x")
    found = report(log)
    assert found.fault is not None
    assert (found.fault.segment, found.fault.index, found.fault.line) == (HEAD_NAME, 0, 1)
    assert HEAD_NAME in found.fault.reason
    assert (found.entries, found.log, found.segments) == (0, "gateway-0", 4)
    (log / HEAD_NAME).write_bytes(write_head(Head("other", COUNT, "00" * 32)))
    fault = report(log).fault
    assert fault is not None and (fault.segment, fault.index, fault.line) == ("checkpoint", 0, 1)


def test_progress_is_told_now_and_then_and_at_the_end(log, monkeypatch) -> None:
    monkeypatch.setattr(walk_module, "PROGRESS_ENTRIES", 10)
    told: list[tuple[str, int, int]] = []
    verify(log, progress=lambda *of: told.append(of))
    sizes = [sum(map(len, lines(log)[:count])) for count in (10, 20, 30, 30)]
    assert told == [("gateway-0", size, sizes[-1]) for size in sizes]


def test_what_is_nowhere_is_named(log, tmp_path) -> None:
    elsewhere = [Position("b", 1, "00"), Position("a", 1, "00"), Position("gateway-0", 0, chains(log)[0])]
    with pytest.raises(FileNotFoundError) as told:
        verify(tmp_path, known=elsewhere)
    assert str(told.value) == f"There is no log a, b in {tmp_path} or below it."
    with pytest.raises(FileNotFoundError) as told:
        verify(tmp_path / "none")
    where = f"There is no log in {tmp_path / 'none'} or below it; a log is a directory with head.json."
    assert str(told.value) == where


def test_a_report_is_sound_when_all_logs_are(log) -> None:
    sound = report(log)
    assert VerifyReport(()).sound and VerifyReport((sound, sound)).sound
    changed(log, 0, 0, b"req_", b"rex_")
    assert not VerifyReport((sound, report(log), sound)).sound


def test_a_log_with_segments_only_or_a_head_only_is_found(log, tmp_path, write_log) -> None:
    (log / HEAD_NAME).unlink()
    write_log(tmp_path / "z" / "node", "node", count=0)
    for path in segments(tmp_path / "z" / "node"):
        path.unlink()
    assert [(one.log, one.entries) for one in verify(tmp_path).logs] == [("gateway-0", COUNT), ("node", 0)]


def test_of_a_signed_log_it_is_told_by_whom_and_whose_keys_those_are(signed, signing) -> None:
    keys = [one.verifier for one in signing.key.signers(ORIGIN)]
    by = tuple(f"{key.name}+{key.id.hex()}" for key in keys)
    for given, known in ((keys, True), ([], False)):
        found = report(signed, keys=given)
        assert (found.sound, found.origin, found.checkpoint_entries, found.vouched_entries) == (True, ORIGIN, 30, 30)
        assert (found.signed_by, found.known_keys) == (by, known)
    strangers = [one.verifier for one in LogKey(bytes([9]) * 32, bytes([8]) * 32).signers("fastness.example/node")]
    assert report(signed, keys=strangers).known_keys is False


def test_a_key_that_is_known_and_did_not_sign_is_missed(signed, signing) -> None:
    note = parse_note((signed / "checkpoint").read_bytes())
    assert len(note.signatures) == 2
    for at, kind in ((0, "ML_DSA_44"), (1, "ED25519")):
        (signed / "checkpoint").write_text(str(Note(note.text, (note.signatures[at],))))
        fault = report(signed).fault
        assert fault == Fault(0, "checkpoint", 1, f"{ORIGIN} has no signature with {kind}, and a key for one is known")
    (signed / "checkpoint").write_text(str(note))
    alone = Note(note.text, note.signatures[:1])
    assert report(signed, checkpoints=[alone, note]).sound  # one that is kept need not have them all
    unsigned = report(signed, checkpoints=[Note(note.text, ())]).fault
    reason = f"the checkpoint of {ORIGIN} is signed by none of the keys known for that log"
    assert unsigned == Fault(0, "checkpoint", 1, reason)


def test_a_checkpoint_that_went_missing_is_a_fault_where_there_are_keys(signed) -> None:
    (signed / "checkpoint").unlink()
    assert report(signed).fault == Fault(0, "checkpoint", 1, "it is missing, and this log was signed before")
    (signed / "keys").unlink()
    found = report(signed)
    assert (found.sound, found.origin, found.checkpoint_entries, found.signed_by) == (True, None, 0, ())


def test_a_kept_checkpoint_is_of_this_log_by_its_whole_name_or_by_its_last_part(signed) -> None:
    kept = parse_note((signed / "checkpoint").read_bytes())
    given = [parse_key(line) for line in (signed / "keys").read_text().split()]
    (signed / "keys").unlink()
    assert report(signed, keys=given, checkpoints=[kept]).sound
    other = Note(kept.text.replace("fastness.example", "other.example"), ())
    assert report(signed, keys=given, checkpoints=[other]).sound  # another installation's log of that name
    (signed / "checkpoint").unlink()
    assert report(signed, checkpoints=[kept]).fault is not None  # nobody's keys are known


def test_a_root_that_was_signed_and_is_another_is_told(signed) -> None:
    last = segments(signed)[-1]
    shutil.rmtree(signed / "tree", ignore_errors=True)
    (signed / HEAD_NAME).unlink()
    number = last.read_bytes().count(b"\n")
    changed(signed, -1, number - 1, b"req_29", b"req_92")
    found = report(signed)
    reason = "entry 29, or one before it, is not the one that the checkpoint of 30 entries was signed for: "
    assert found.fault == Fault(29, last.name, number, reason + "the log was rewritten")
    assert (found.entries, found.chain, found.root) == (29, "", "")


def test_a_checkpoint_of_no_entries_is_of_the_empty_tree(tmp_path, write_log, unsynced, signing) -> None:
    write_log(tmp_path / "empty", count=0)
    Notary(tmp_path / "empty", "gateway-0", 0, signing, unsynced).close(0)
    found = report(tmp_path / "empty")
    assert (found.sound, found.origin, found.root) == (True, ORIGIN, Frontier().root().hex())


def test_hashes_beside_a_log_that_are_not_its_own_are_told(signed) -> None:
    stored = bytearray((signed / "tree/0").read_bytes())
    stored[7 * 32] ^= 1
    (signed / "tree/0").write_bytes(stored)
    reason = "the hash of entry 7 was changed; the entry itself is as it was signed"
    assert report(signed).fault == Fault(7, "tree/0", 1, reason)


def test_hashes_above_that_are_missing_are_told(tmp_path, write_log, unsynced, signing) -> None:
    log = tmp_path / "gateway-0"
    write_log(log, count=300, segment_bytes_max=200_000)
    Notary(log, "gateway-0", 300, signing, unsynced).close(300)
    (log / "tree/1").write_bytes(b"")
    assert report(log).fault == Fault(300, "tree", 1, f"{log / 'tree/1'} lacks some of the hashes from 0 to 1")


def test_a_log_that_nothing_vouches_for_may_be_empty(log) -> None:
    (log / HEAD_NAME).unlink()
    for path in segments(log)[1:]:
        path.unlink()
    segments(log)[0].write_bytes(b"")
    found = report(log)
    assert (found.sound, found.entries, found.vouched_entries) == (True, 0, 0)


def test_an_entry_before_a_line_that_is_none_is_the_one_that_does_not_follow(log) -> None:
    prev = chains(log)[4].encode()
    content = segments(log)[0].read_bytes().splitlines(keepends=True)
    content[5:7] = [content[5].replace(prev, b"0" * 64), b"nonsense\n"]
    segments(log)[0].write_bytes(b"".join(content))
    reason = "entry 5 does not follow entry 4: it was changed, or belongs to another log"
    assert report(log).fault == Fault(5, "00000000.jsonl", 6, reason)


def test_a_kept_checkpoint_of_a_log_without_one_is_found_by_the_last_part_of_its_name(log) -> None:
    kept = Note(f"town.example/site/gateway-0\n{COUNT}\n{'A' * 43}=\n", ())
    reason = "the checkpoint of town.example/site/gateway-0 is signed by none of the keys known for that log"
    assert report(log, checkpoints=[kept]).fault == Fault(0, "checkpoint", 1, reason)


def test_of_one_entry_that_is_another_none_is_known(tmp_path, write_log, unsynced, signing) -> None:
    log = tmp_path / "gateway-0"
    write_log(log, count=1)
    Notary(log, "gateway-0", 1, signing, unsynced).close(1)
    shutil.rmtree(log / "tree")
    (log / HEAD_NAME).unlink()
    changed(log, 0, 0, b"req_0", b"req_9")
    found = report(log, keys=[one.verifier for one in signing.key.signers(ORIGIN)])
    assert found.fault is not None and (found.fault.index, found.entries, found.known_keys) == (0, 0, True)
    (log / "checkpoint").write_bytes(b"x")
    found = report(log, keys=[one.verifier for one in signing.key.signers(ORIGIN)])
    assert found.fault is not None and found.known_keys is True
