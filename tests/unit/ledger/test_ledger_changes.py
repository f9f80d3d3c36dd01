"""Ten thousand changes of signed logs, all of them found, and a thousand honest logs, none of them doubted."""

import random
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from changed_logs import CLUMSY, LINKED, LOG, SIGNED, Change, Victim
from fastness.core.event import EventType
from fastness.ledger.entry import draft
from fastness.ledger.log_key import LogKey
from fastness.ledger.notary import Notary, Signing
from fastness.ledger.note import Note, VerifierKey, parse_note
from fastness.ledger.segments import FileOperations, Segments
from fastness.ledger.verify import LogReport, verify

CHANGES = 10_000
HONEST_LOGS = 1_000
SIGNING = Signing(LogKey(bytes(32), bytes([1]) * 32), "fastness.example", interval_s=60)
KEYS: list[VerifierKey] = [signer.verifier for signer in SIGNING.key.signers(f"fastness.example/{LOG}")]


def grow(directory: Path, files: FileOperations, count: int, signed: int | None = None, log: str = LOG) -> int:
    """Append `count` entries and sign the first `signed` of all of them (None: all); returns how many there are."""
    segments = Segments(directory, log, 3_000, lambda: 0, files)
    first = segments.entries
    for number in range(first, first + count):
        fields = {"request_id": f"{log}-{number}", "tenant": "health", "input_tokens": number}
        segments.append([draft(EventType.INFERENCE_COMPLETED, 1_763_800_000_000 + number, fields)])
    entries = segments.entries
    segments.close()
    signed = entries if signed is None else signed
    Notary(directory, log, signed, SIGNING, files).close(signed)
    return entries


def files_of(directory: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in directory.rglob("*") if path.is_file()}


def report_on(log: Path, kept: list[Note]) -> LogReport:
    (found,) = verify(log, keys=KEYS, checkpoints=kept).logs
    return found


@pytest.fixture
def memory(tmp_path) -> Iterator[Path]:
    """A directory in memory, where there is one: files are made and removed by the ten thousand here."""
    if not Path("/dev/shm").is_dir():
        yield tmp_path
        return
    with TemporaryDirectory(dir="/dev/shm", prefix="fastness-") as made:
        yield Path(made)


@pytest.fixture
def victim(memory, unsynced) -> Victim:
    log, strange = memory / LOG, memory / "control"
    grow(strange, unsynced, 20, log="control")
    grow(log, unsynced, 15)
    earlier = files_of(log)
    grow(log, unsynced, 13)
    lines = [line for path in strange.glob("*.jsonl") for line in path.read_bytes().splitlines(keepends=True)]
    return Victim(log, files_of(log), earlier, lines, SIGNING, unsynced)


def found(victim: Victim, changes: dict[str, Change], count: int, kept: list[Note]) -> Counter[str]:
    """Change the log `count` times; fails at a change that is not found."""
    seed = random.randrange(2**32)
    chance, done = random.Random(seed), Counter[str]()
    names = list(changes)
    while done.total() < count:
        name = names[done.total() % len(names)]
        changes[name](victim, chance)
        if victim.changed():
            assert not report_on(victim.directory, kept).sound, f"seed {seed}, change {done.total()}: {name}"
            done[name] += 1
        victim.restore()
    assert report_on(victim.directory, kept).sound
    return done


def kept_of(victim: Victim) -> list[Note]:
    return [parse_note((victim.directory / "checkpoint").read_bytes())]


def test_changes_of_every_kind_are_found(victim):
    """Those that leave chain or checkpoint alone by what is beside the log, the others by a kept checkpoint."""
    found(victim, CLUMSY | LINKED, 150, [])
    found(victim, SIGNED, 30, kept_of(victim))


@pytest.mark.slow
def test_ten_thousand_changes_are_found(victim):
    kept = kept_of(victim)
    done = found(victim, CLUMSY | LINKED, CHANGES - 1_500, []) + found(victim, SIGNED, 1_500, kept)

    print("\n".join(f"{count:6,} {name}" for name, count in done.items()))
    assert done.total() >= CHANGES


def test_what_only_a_kept_checkpoint_shows_is_not_shown_without_one(victim):
    """The documented limit, change by change."""
    chance = random.Random(1)
    for name, change in SIGNED.items():
        change(victim, chance)
        assert report_on(victim.directory, []).sound, name
        assert not report_on(victim.directory, [parse_note(victim.honest[victim.directory / "checkpoint"])]).sound, name
        victim.restore()


def crash(log: Path, chance: random.Random, signed: int) -> None:
    """Leave behind what a killed process or a power cut can: torn lines, hashes and files that were not finished."""
    if chance.random() < 0.5:
        with max(log.glob("*.jsonl")).open("ab") as file:
            file.write(chance.randbytes(chance.randrange(1, 300)).replace(b"\n", b""))
    hashes = log / "tree" / "0"
    if hashes.exists() and chance.random() < 0.5:
        hashes.write_bytes(hashes.read_bytes()[: signed * 32] + chance.randbytes(chance.randrange(200)))
    for name in ("checkpoint.new", "keys.new", "head.json.new"):
        if chance.random() < 0.3:
            (log / name).write_bytes(chance.randbytes(chance.randrange(50)))
    if chance.random() < 0.3:
        (log / "head.json").unlink()


def lived(log: Path, files: FileOperations, chance: random.Random) -> None:
    """Some lives of an honest log, each looked at as it ended."""
    kept: list[Note] = []
    signed = 0
    for _ in range(chance.randrange(1, 4)):
        count = chance.choice([0, 1, 3, 10, 30])
        entries = grow(log, files, count, None if chance.random() < 0.5 else signed)
        kept += [parse_note((log / "checkpoint").read_bytes())]
        signed = int(kept[-1].text.split("\n")[1])
        if chance.random() < 0.6:
            crash(log, chance, signed)
        found = report_on(log, kept)
        assert found.sound, found
        assert (found.entries, found.checkpoint_entries) == (entries, signed)


def test_honest_logs_are_not_doubted(memory, unsynced):
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    for number in range(25):
        lived(memory / str(number) / LOG, unsynced, random.Random(seed + number))


@pytest.mark.slow
def test_a_thousand_honest_logs_are_not_doubted(memory, unsynced):
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    for number in range(HONEST_LOGS):
        lived(memory / str(number) / LOG, unsynced, random.Random(seed + number))
