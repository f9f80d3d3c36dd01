"""A writer that is killed at any moment has every entry that it acknowledged."""

import asyncio
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest

from fastness.config import LedgerSettings
from fastness.ledger.file import FileLedger
from fastness.ledger.port import LedgerInUse, Position
from fastness.ledger.verify import find, read, verify

SETTINGS = LedgerSettings(batch_entries_max=1_024, queue_entries_max=65_536, segment_bytes_max=1_048_576)

WRITER = """
import asyncio, os, sys, uvloop
from pathlib import Path
from fastness.config import LedgerSettings
from fastness.core.event import Event, EventType
from fastness.ledger.file import FileLedger
from fastness.ledger.loop import LoopLedger
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
    ledger = kind.open(Path(sys.argv[1]), "gateway-0", settings, lambda: 0, files)

    async def committer(name):
        for number in range(1_000_000):
            fields = {"request_id": f"{sys.argv[2]}-{name}-{number}", **(PADDING if number % 3 else {})}
            position = await ledger.commit(Event(EventType.INFERENCE_COMPLETED, 0, fields))
            os.write(1, f"{position.index} {position.chain} {fields['request_id']}\\n".encode())

    await asyncio.gather(*map(committer, range(COMMITTERS)))

with asyncio.Runner(loop_factory=uvloop.new_event_loop if sys.argv[3] == "uvloop" else None) as runner:
    runner.run(main())
"""


def killed_life(directory: Path, life: int, lives_s: float) -> list[tuple[Position, str]]:
    """Let a writer live for `lives_s` after its first acknowledgement, kill it, and return what it acknowledged."""
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
        told = (first + writer.stdout.read()).decode().splitlines()
    return [(Position("gateway-0", int(index), chain), name) for index, chain, name in map(str.split, told)]


@pytest.mark.slow
def test_every_acknowledged_entry_survives_forty_kills_at_random_moments(tmp_path):
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    moments = random.Random(seed)
    directory = tmp_path / "gateway-0"
    acknowledged: dict[int, tuple[Position, str]] = {}

    for life in range(40):
        for position, name in killed_life(directory, life, moments.uniform(0, 0.1)):
            assert position.index not in acknowledged
            acknowledged[position.index] = position, name
        assert verify(directory, known=[position for position, _ in acknowledged.values()]).sound  # as it was left

        began = time.perf_counter()
        ledger = FileLedger.open(directory, "gateway-0", SETTINGS, lambda: 0)
        assert time.perf_counter() - began < 2
        asyncio.run(ledger.close())

    (report,) = verify(directory, known=[position for position, _ in acknowledged.values()]).logs
    assert report.sound
    found = {entry.index: (entry.chain, entry.fields.get("request_id")) for entry in read(directory)}
    for index, (position, name) in acknowledged.items():
        assert found[index] == (position.chain, name)
    repairs = sum(1 for _ in find(directory, type="log.repaired"))
    assert repairs
    print(
        f"{len(acknowledged)} acknowledged of {report.entries} entries, {report.segments} segments, {repairs} repairs"
    )
