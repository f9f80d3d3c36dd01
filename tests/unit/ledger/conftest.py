from collections.abc import Callable
from pathlib import Path

import pytest

from fastness.core.event import Event, EventType
from fastness.ledger.entry import draft
from fastness.ledger.log_key import LogKey
from fastness.ledger.notary import Signing
from fastness.ledger.segments import FileOperations, Segments


class Unsynced(FileOperations):
    """Tests that kill nothing need no fsync, which is most of their time."""

    def sync(self, fd: int) -> None:
        pass

    def sync_directory(self, fd: int) -> None:
        pass


@pytest.fixture
def unsynced() -> FileOperations:
    return Unsynced()


@pytest.fixture
def signing() -> Signing:
    return Signing(LogKey(bytes(32), bytes([1]) * 32), "fastness.example", interval_s=0.01)


@pytest.fixture
def event() -> Callable[[int], Event]:
    def numbered(number: int) -> Event:
        return Event(EventType.INFERENCE_COMPLETED, 1_763_800_000_000 + number, {"request_id": f"req_{number}"})

    return numbered


@pytest.fixture
def write_log(event: Callable[[int], Event]) -> Callable[..., list[bytes]]:
    """Write an honest log of `count` entries and return the chain after each entry."""

    def write(directory: Path, log: str = "gateway-0", count: int = 30, segment_bytes_max: int = 1_400) -> list[bytes]:
        segments = Segments(directory, log, segment_bytes_max, lambda: 1_763_800_000_000, Unsynced())
        chains = []
        for number in range(segments.entries, segments.entries + count):
            happened = event(number)
            chains += segments.append([draft(happened.type, happened.time_ms, happened.fields)])
        segments.close()
        return chains

    return write
