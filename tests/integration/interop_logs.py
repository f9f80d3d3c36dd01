"""Logs of ours for other people's code: one that crashed again and again, and a large one."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

from fastness.config import LedgerSettings
from fastness.core.event import Event, EventType
from fastness.ledger.entry import draft
from fastness.ledger.file import FileLedger
from fastness.ledger.log_key import LogKey
from fastness.ledger.notary import Notary, Signing
from fastness.ledger.note import Note
from fastness.ledger.segments import FileOperations, Segments
from fastness.ledger.stored_log import StoredLog
from fastness.ledger.tree import Frontier

ORIGIN = "health.example/gateway-0"
SIGNING = Signing(LogKey(bytes(range(32)), bytes(range(32))), "health.example", interval_s=60)
KEYS = [str(signer.verifier) for signer in SIGNING.key.signers(ORIGIN)]
"""Ed25519 first; then ML-DSA-44, where this build of cryptography has it."""
LIVES = (200, 57, 443, 5)
LARGE = 66_000


class Unsynced(FileOperations):
    def sync(self, fd: int) -> None:
        pass

    def sync_directory(self, fd: int) -> None:
        pass


def crashed_log(directory: Path) -> list[Note]:
    """A log in several segments that each of its lives left with a torn line, and the last checkpoint of each life."""
    kept = []

    async def live(count: int) -> None:
        settings = LedgerSettings(segment_bytes_max=65_536)
        ledger = FileLedger.open(directory, "gateway-0", settings, lambda: 0, Unsynced(), signing=SIGNING)
        events = [Event(EventType.INFERENCE_REFUSED, 1, {"request_id": f"req_{number}"}) for number in range(count)]
        await asyncio.gather(*map(ledger.commit, events))
        kept.append(await ledger.checkpoint())
        await ledger.close()

    for count in LIVES:
        asyncio.run(live(count))
        with max(directory.glob("*.jsonl")).open("ab") as file:
            file.write(b'{"index":')
    return kept


def large_log(directory: Path) -> list[Note]:
    """A log with tiles of three levels in several segments, and a checkpoint now and then."""
    segments, kept = Segments(directory, "gateway-0", 4_000_000, lambda: 0, Unsynced()), []
    for first, last in pairwise((0, 300, 20_000, 40_000, LARGE)):
        segments.append([draft("boot", number, {"pid": number}) for number in range(first, last)])
        Notary(directory, "gateway-0", last, SIGNING, Unsynced()).close(last)
        kept.append(StoredLog(directory).checkpoint()[0])
    segments.close()
    return kept


def lines_of(directory: Path) -> list[bytes]:
    return [line for path in sorted(directory.glob("*.jsonl")) for line in path.read_bytes().splitlines()]


def root_of(leaves: list[bytes]) -> bytes:
    grown = Frontier()
    for leaf in leaves:
        grown.append(leaf)
    return grown.root()


def nodes_of(leaves: list[bytes]) -> Callable[[int, int], bytes]:
    return lambda height, place: root_of(leaves[place << height : place + 1 << height])
