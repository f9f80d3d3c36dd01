"""Verification of signed logs: what a checkpoint beside the log shows, and what only one kept elsewhere does."""

import shutil
from pathlib import Path

import pytest

from fastness.ledger.checkpoint import parse_checkpoint
from fastness.ledger.log_key import LogKey
from fastness.ledger.notary import Notary, Signing
from fastness.ledger.note import Note, NoteInvalid, VerifierKey, parse_note
from fastness.ledger.signing import sign_note
from fastness.ledger.verify import LogReport, verify
from fastness.ledger.vouching import read_keys

COUNT = 600


@pytest.fixture
def grow(write_log, unsynced, signing):
    """Let a log grow by `count` entries and sign it; returns the checkpoint."""

    def grow(log: Path, count: int = COUNT, by: Signing = signing, name: str = "gateway-0") -> Note:
        write_log(log, name, count=count, segment_bytes_max=60_000)
        entries = sum(path.read_bytes().count(b"\n") for path in log.glob("*.jsonl"))
        Notary(log, name, entries, by, unsynced).close(entries)
        return parse_note((log / "checkpoint").read_bytes())

    return grow


@pytest.fixture
def log(tmp_path, grow) -> Path:
    grow(tmp_path / "gateway-0")
    (tmp_path / "gateway-0" / "head.json").unlink()  # what is found here is found without it
    return tmp_path / "gateway-0"


@pytest.fixture
def keys(signing) -> list[VerifierKey]:
    return [signer.verifier for signer in signing.key.signers("fastness.example/gateway-0")]


def report(log: Path, **given) -> LogReport:
    (found,) = verify(log, **given).logs
    return found


def rewritten(log: Path, old: bytes, new: bytes) -> None:
    """Change an entry and link all later ones anew, as somebody does who owns the disk."""
    from fastness.ledger.entry import draft, genesis, parse, seal

    chain = genesis("gateway-0")
    for path in sorted(log.glob("*.jsonl")):
        lines = []
        for line in path.read_bytes().replace(old, new, 1).splitlines(keepends=True):
            entry = parse(line)
            line, chain = seal(draft(entry.type, entry.time_ms, entry.fields), entry.index, chain)
            lines.append(line)
        path.write_bytes(b"".join(lines))


def test_an_honest_log_says_who_signed_how_much_of_it(log, keys):
    found = report(log, keys=keys)

    assert found.sound
    assert (found.origin, found.checkpoint_entries, found.vouched_entries) == (
        "fastness.example/gateway-0",
        COUNT,
        COUNT,
    )
    assert found.signed_by == tuple(f"{key.name}+{key.id.hex()}" for key in keys)
    assert found.known_keys
    assert found.root == parse_checkpoint(parse_note((log / "checkpoint").read_bytes()).text).root.hex()
    assert not report(log).known_keys, "the keys beside the log are not those of whoever verifies"
    assert report(log).signed_by == found.signed_by


def test_a_rewritten_log_with_a_consistent_chain_is_seen_and_its_first_changed_entry_named(log, keys):
    rewritten(log, b'"req_345"', b'"req_346"')

    fault = report(log, keys=keys).fault

    assert (fault.index, fault.reason[:9]) == (345, "entry 345")
    assert "is not the one that the checkpoint of 600 entries was signed for: the log was rewritten" in fault.reason
    shutil.rmtree(log / "tree")
    assert "entry 599, or one before it," in report(log).fault.reason


def test_the_last_entry_edited_or_cut_is_seen(log):
    last = max(log.glob("*.jsonl"))
    honest = last.read_bytes()
    last.write_bytes(honest.replace(b"req_599", b"req_598"))
    assert "entry 599 is not the one" in report(log).fault.reason

    last.write_bytes(b"".join(honest.splitlines(keepends=True)[:-1]))
    assert report(log).fault.reason == "the log ends after 599 entries, and once had 600: its end was cut"


def test_entries_after_the_checkpoint_are_told_apart(log, write_log):
    write_log(log, count=5, segment_bytes_max=60_000)
    (log / "head.json").unlink()

    found = report(log)

    assert (found.sound, found.entries, found.vouched_entries) == (True, 605, 600)


@pytest.mark.parametrize(
    ("harm", "reason"),
    [
        (lambda log: (log / "checkpoint").unlink(), "it is missing, and this log was signed before"),
        (lambda log: (log / "checkpoint").write_bytes(b"x"), "a note is a text"),
        (
            lambda log: (log / "checkpoint").write_text((log / "checkpoint").read_text().replace("\n600\n", "\n601\n")),
            "is not valid",
        ),
    ],
)
def test_a_checkpoint_that_is_not_what_was_signed_is_a_fault(log, harm, reason):
    harm(log)

    fault = report(log).fault

    assert (fault.segment, fault.index) == ("checkpoint", 0)
    assert reason in fault.reason


def test_a_log_signed_anew_by_another_key_is_seen_by_whoever_knows_the_right_one(log, grow, keys):
    other = Signing(LogKey(bytes([9]) * 32, bytes([8]) * 32), "fastness.example")
    shutil.rmtree(log)
    grow(log, by=other)

    assert report(log).sound, "the keys beside it are the forger's own"
    assert "is signed by none of the keys known for that log" in report(log, keys=keys).fault.reason


def test_a_log_cut_and_signed_again_by_its_own_key_is_seen_only_by_a_checkpoint_kept_elsewhere(log, grow, keys):
    kept = parse_note((log / "checkpoint").read_bytes())
    shutil.rmtree(log)
    grow(log, 500)

    assert report(log, keys=keys).sound, "the documented limit: this needs a witness"
    cut = report(log, keys=keys, checkpoints=[kept]).fault
    assert cut.reason == "the log ends after 500 entries, and once had 600: its end was cut"


def test_a_fork_is_seen_only_by_a_checkpoint_of_the_other_branch(log, grow, keys, event, unsynced, signing):
    copy = log.parent / "fork"
    shutil.copytree(log, copy / "gateway-0")
    grow(log, 10)
    ours = parse_note((log / "checkpoint").read_bytes())
    with max((copy / "gateway-0").glob("*.jsonl")).open("ab"):
        pass
    from fastness.ledger.entry import draft
    from fastness.ledger.segments import Segments

    segments = Segments(copy / "gateway-0", "gateway-0", 60_000, lambda: 0, unsynced)
    segments.append([draft("boot", 1, {"pid": number}) for number in range(20)])
    segments.close()
    Notary(copy / "gateway-0", "gateway-0", 620, signing, unsynced).close(620)
    theirs = parse_note((copy / "gateway-0" / "checkpoint").read_bytes())

    assert report(log, keys=keys).sound
    assert report(copy, keys=keys).sound
    assert "checkpoint of 610 entries was signed for" in report(copy, keys=keys, checkpoints=[ours]).fault.reason
    assert "once had 620" in report(log, keys=keys, checkpoints=[theirs]).fault.reason
    assert not report(log, keys=keys, checkpoints=[ours, theirs]).sound


def test_kept_checkpoints_are_checked_like_the_one_beside_the_log(log, grow, keys, tmp_path):
    kept = parse_note((log / "checkpoint").read_bytes())
    grow(log, 100)
    assert report(log, keys=keys, checkpoints=[kept, kept]).sound

    forged = Note(kept.text.replace("\n600\n", "\n601\n"), kept.signatures)
    assert "is not valid" in report(log, keys=keys, checkpoints=[forged]).fault.reason
    unsigned = Note(kept.text, ())
    assert "signed by none of the keys" in report(log, keys=keys, checkpoints=[unsigned]).fault.reason
    strange = sign_note(kept.text.replace("gateway-0", "control"), [], 0)
    with pytest.raises(FileNotFoundError, match=r"There is no log fastness\.example/control"):
        verify(log, checkpoints=[strange])


@pytest.mark.parametrize(("name", "at"), [("0", 345), ("1", 1)])
def test_changed_hashes_are_told_apart_from_changed_entries(log, name, at):
    stored = bytearray((log / "tree" / name).read_bytes())
    stored[at * 32] ^= 1
    (log / "tree" / name).write_bytes(stored)

    fault = report(log).fault

    assert not report(log).sound
    if name == "0":
        assert (fault.segment, fault.index) == ("tree/0", 345)
        assert "the entry itself is as it was signed" in fault.reason
    else:
        assert "hash 1 of tree/1 is not over the 256 below it" in fault.reason


def test_missing_hashes_are_no_fault_and_cut_ones_are(log):
    (log / "tree" / "0").write_bytes(b"")
    assert report(log).fault.segment == "tree/0"
    shutil.rmtree(log / "tree")
    assert report(log).sound


def test_a_file_of_keys_is_read_line_by_line(tmp_path, log, keys):
    path = tmp_path / "keys"
    path.write_text(f"# of the health department\n\n{keys[0]}\n  {keys[1]}  \n")
    assert read_keys(path) == keys
    path.write_text("nonsense\n")
    with pytest.raises(NoteInvalid, match="'nonsense' is not a key"):
        read_keys(path)
    path.write_bytes(b"\xff")
    with pytest.raises(NoteInvalid, match="is not UTF-8"):
        read_keys(path)
    assert read_keys(log / "keys") == keys
