"""Finding an entry by its index in a time that hardly grows with the log: by halves. Core and standard library only."""

from __future__ import annotations

import os
from pathlib import Path
from typing import BinaryIO, Final

from fastness.ledger.entry import ENTRY_BYTES_MAX, index_of, segment_path
from fastness.ledger.following import Place, place_of
from fastness.ledger.port import LedgerCorrupt

_NEAR_BYTES: Final = 16_384
"""Within so many bytes lines are read one after the other."""


def locate(directory: Path, index: int) -> Place:
    """Return where an entry stands; raises IndexError if there is none, LedgerCorrupt, OSError."""
    place = place_of(directory, index)
    with segment_path(directory, place.segment).open("rb") as file:
        low, high = 0, file.seek(0, os.SEEK_END)  # the entry begins at `low` or later, and before `high`
        while high - low > _NEAR_BYTES:
            start, line = _line_after(file, (low + high) // 2)
            if start >= high or not line.endswith(b"\n"):
                high = (low + high) // 2
                continue
            if (there := index_of(line)) is None:
                raise LedgerCorrupt(f"The line at byte {start} of {file.name} is no entry.")
            if there <= index:
                low = start
            else:
                high = start
        file.seek(low)
        while line := file.readline(ENTRY_BYTES_MAX + 1):
            if index_of(line) == index:
                return Place(index, place.segment, low)
            low += len(line)
    raise IndexError(f"the log in {directory} has no entry {index}")


def _line_after(file: BinaryIO, offset: int) -> tuple[int, bytes]:
    """Return where the first line begins that begins after `offset`, and the line."""
    file.seek(offset)
    file.readline(ENTRY_BYTES_MAX + 1)
    start = file.tell()
    return start, file.readline(ENTRY_BYTES_MAX + 1)
