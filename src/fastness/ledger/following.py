"""Following a log as it grows: its new entries, each once, from a place that can be kept. Core and standard library.

Entries are read for what they say, not proved: `verify` does that.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fastness.ledger.entry import ENTRY_BYTES_MAX, index_of, segment_numbers, segment_path
from fastness.ledger.port import LedgerCorrupt
from fastness.ledger.reading import segment_of, tail


@dataclass(frozen=True, slots=True)
class Place:
    """Where to read on: the index of the next entry, and the segment and byte where it will stand."""

    index: int
    segment: int = 0
    offset: int = 0


def end_of(directory: Path) -> int:
    """Return the index that the next entry of a log will have; 0 without a log. Raises LedgerCorrupt, OSError."""
    if not directory.is_dir():
        return 0
    last = tail(directory, 1)
    return last[0].index + 1 if last else 0


def place_of(directory: Path, index: int) -> Place:
    """Return where entry `index` of a log stands, or will stand, without reading what is before its segment."""
    numbers = segment_numbers(directory) if directory.is_dir() else []
    return Place(index, numbers[segment_of(directory, numbers, index)] if numbers else 0)


def follow(directory: Path, place: Place, entries_max: int) -> tuple[list[dict[str, Any]], Place]:
    """Return at most `entries_max` entries from `place` on, and where to read on; none when there are no new ones.

    An entry that is being written is left for the next time. Raises LedgerCorrupt for a line that is no entry, OSError.
    """
    found: list[dict[str, Any]] = []
    if not directory.is_dir():
        return found, place
    index, segment, offset = place.index, place.segment, place.offset
    for number in [number for number in segment_numbers(directory) if number >= segment]:
        if number != segment:
            segment, offset = number, 0
        with segment_path(directory, number).open("rb") as file:
            file.seek(offset)
            while len(found) < entries_max and (line := file.readline(ENTRY_BYTES_MAX + 1)).endswith(b"\n"):
                entry = _entry(directory, number, line)
                if entry["index"] >= index:  # those before were counted already
                    found.append(entry)
                    index = entry["index"] + 1
                offset += len(line)
        if len(found) >= entries_max:
            break
    return found, Place(index, segment, offset)


def take_lines(directory: Path, place: Place, count: int) -> tuple[list[bytes], Place]:
    """Return the lines of exactly `count` entries from `place` on, newlines included, and where to read on.

    Raises LedgerCorrupt when they are not there or not in order, OSError. Only their indices are looked at.
    """
    found: list[bytes] = []
    index, segment, offset = place.index, place.segment, place.offset
    while True:
        with segment_path(directory, segment).open("rb") as file:
            file.seek(offset)
            while len(found) < count and (line := file.readline(ENTRY_BYTES_MAX + 1)):
                there = index_of(line)
                if there == index:
                    found.append(line)
                    index += 1
                elif there is None or there > index or found:
                    raise LedgerCorrupt(f"Entry {index} is not where it must be in {file.name}.")
                offset += len(line)
        if len(found) == count:
            return found, Place(index, segment, offset)
        segment, offset = segment + 1, 0


def _entry(directory: Path, number: int, line: bytes) -> dict[str, Any]:
    try:
        entry = json.loads(line)
        if type(entry["index"]) is int and type(entry["type"]) is str and type(entry["fields"]) is dict:
            return dict(entry)
    except (ValueError, KeyError, TypeError, RecursionError):
        pass
    raise LedgerCorrupt(f"A line of {segment_path(directory, number)} is no entry: run `fastness ledger verify`.")
