"""A writer that is killed at any moment has every entry that it acknowledged."""

import asyncio
import os
import random
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from fastness.config import LedgerSettings
from fastness.ledger.file import FileLedger
from fastness.ledger.log_key import LogKey
from fastness.ledger.notary import Signing
from fastness.ledger.note import Note, parse_note
from fastness.ledger.port import LedgerInUse, Position
from fastness.ledger.verify import LogReport, find, read, verify

KILLS = int(os.environ.get("FASTNESS_TEST_KILLS", "2000"))
LIVES = 50
SETTINGS = LedgerSettings(batch_entries_max=1_024, queue_entries_max=65_536, segment_bytes_max=1_048_576)

WRITER = """
import asyncio, os, sys, uvloop
from pathlib import Path
from fastness.config import LedgerSettings
from fastness.core.event import Event, EventType
from fastness.ledger.file import FileLedger
from fastness.ledger.log_key import LogKey
from fastness.ledger.loop import LoopLedger
from fastness.ledger.notary import Signing
from fastness.ledger.segments import FileOperations

class Pieces(FileOperations):
    def write(self, fd, content, offset):
        return super().write(fd, content[:20], offset)

COMMITTERS = 32
PADDING = {"model": "m" * 1_000, "replica": "r" * 1_000, "key": "k" * 1_000}

async def main():
    settings = LedgerSettings(batch_entries_max=1_024, queue_entries_max=65_536, segment_bytes_max=1_048_576)
    files = Pieces() if sys.argv[4] == "pieces" else None
    kind = LoopLedger if sys.argv[5] == "loop" else FileLedger
    signing = Signing(LogKey(bytes(32), bytes(32)), "fastness.example", interval_s=0.01)
    ledger = kind.open(Path(sys.argv[1]), "gateway-0", settings, lambda: 0, files, signing)

    async def committer(name):
        for number in range(1_000_000):
            fields = {"request_id": f"{sys.argv[2]}-{name}-{number}", **(PADDING if number % 3 else {})}
            position = await ledger.commit(Event(EventType.INFERENCE_COMPLETED, 0, fields))
            os.write(1, f"{position.index} {position.chain} {fields['request_id']}\\n".encode())

    async def asker():
        while True:
            note = await ledger.checkpoint()
            os.write(1, f"signed {str(note).encode().hex()} -\\n".encode())
            await asyncio.sleep(0.005)

    await asyncio.gather(asker(), *map(committer, range(COMMITTERS)))

with asyncio.Runner(loop_factory=uvloop.new_event_loop if sys.argv[3] == "uvloop" else None) as runner:
    runner.run(main())
"""


SIGNING = Signing(LogKey(bytes(32), bytes(32)), "fastness.example", interval_s=60)
KEYS = [signer.verifier for signer in SIGNING.key.signers("fastness.example/gateway-0")]


@dataclass
class Told:
    """What a writer told before it was killed: what it acknowledged, and the checkpoints it gave."""

    acknowledged: list[tuple[Position, str]] = field(default_factory=list)
    checkpoints: list[Note] = field(default_factory=list)


def killed_life(directory: Path, life: int, lives_s: float) -> Told:
    """Let a writer live for `lives_s` after its first word, kill it, and return what it told."""
    loop = "uvloop" if life % 2 else "asyncio"
    writing = "pieces" if life % 4 > 1 else "whole"  # in pieces, so that many a kill leaves a torn end
    who = "thread" if life % 3 == 0 else "loop"
    argv = [sys.executable, "-c", WRITER, str(directory), str(life), loop, writing, who]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as writer:
        assert writer.stdout is not None
        assert writer.stderr is not None
        try:
            first = writer.stdout.readline()
            assert first, writer.stderr.read().decode()
            with pytest.raises(LedgerInUse):
                FileLedger.open(directory, "gateway-0", SETTINGS, lambda: 0)
            time.sleep(lives_s)
        finally:
            writer.kill()
        whole, _, _ = (first + writer.stdout.read()).decode().rpartition("\n")
    told = Told()
    for word, content, name in map(str.split, whole.splitlines()):
        if word == "signed":
            told.checkpoints.append(parse_note(bytes.fromhex(content)))
        else:
            told.acknowledged.append((Position("gateway-0", int(word), content), name))
    return told


@pytest.mark.slow
def test_every_acknowledged_entry_survives_forty_kills_at_random_moments(tmp_path):
    survive(tmp_path, 40)


@pytest.mark.soak
@pytest.mark.timeout(14_400)
def test_every_acknowledged_entry_survives_two_thousand_kills_at_random_moments(tmp_path):
    for number, lives in enumerate(range(KILLS, 0, -LIVES)):  # in logs of their own: all of each is looked at each time
        survive(tmp_path / str(number), min(lives, LIVES))


def survive(tmp_path: Path, lives: int) -> None:
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    moments = random.Random(seed)
    directory = tmp_path / "gateway-0"
    acknowledged: dict[int, tuple[Position, str]] = {}
    checkpoints: list[Note] = []
    took_s: list[float] = []

    def found() -> LogReport:
        known = [position for position, _ in acknowledged.values()]
        (report,) = verify(directory, known=known, checkpoints=checkpoints, keys=KEYS).logs
        assert report.sound, report
        return report

    for life in range(lives):
        told = killed_life(directory, life, moments.uniform(0, 0.1))
        for position, name in told.acknowledged:
            assert position.index not in acknowledged
            acknowledged[position.index] = position, name
        checkpoints = [*checkpoints[-200:], *told.checkpoints]
        found()  # as it was left

        began = time.perf_counter()
        ledger = FileLedger.open(directory, "gateway-0", SETTINGS, lambda: 0, signing=SIGNING)
        took_s.append(time.perf_counter() - began)
        asyncio.run(ledger.close())
    assert min(took_s) < 2  # the machine may be busy; it says how long all took below

    report = found()
    assert report.checkpoint_entries == report.entries
    found = {entry.index: (entry.chain, entry.fields.get("request_id")) for entry in read(directory)}
    for index, (position, name) in acknowledged.items():
        assert found[index] == (position.chain, name)
    repairs = sum(1 for _ in find(directory, type="log.repaired"))
    assert repairs
    print(
        f"{len(acknowledged)} acknowledged of {report.entries} entries, {report.segments} segments, {repairs} repairs, "
        f"the last {len(checkpoints)} checkpoints held; opened in {max(took_s) * 1e3:.0f} ms at most"
    )
