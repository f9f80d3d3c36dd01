"""Reading a log from its end: what a writer needs to go on, in a time that does not grow with the log."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice, pairwise
from pathlib import Path
from typing import BinaryIO, Final

from fastness.ledger.entry import (
    ENTRY_BYTES_MAX,
    HEAD_NAME,
    Entry,
    Head,
    genesis,
    parse,
    parse_head,
    segment_numbers,
    segment_path,
)
from fastness.ledger.port import LedgerCorrupt

LINKS_CHECKED: Final = 16
"""How many entries at the end are checked when a log is opened; `verify` checks them all."""
_BLOCK_BYTES: Final = 65_536
_ADVICE: Final = "Nothing was changed. Keep the directory as evidence, run `fastness ledger verify`, and move it away."


@dataclass(frozen=True, slots=True)
class Tail:
    """Where a log ends: its last segment, the bytes there up to the last whole entry, and what a crash left after it.

    `entries` counts the whole log, and `chain` (32 bytes) is the hash after the last of them.
    """

    segment: int
    whole_bytes: int
    torn_bytes: int
    entries: int
    chain: bytes


def find_tail(directory: Path, log: str, head: Head | None = None) -> Tail:
    """Find where `log` ends, reading only its last entries.

    What follows the last newline is torn, and so is the last line when it is no entry: a crash can leave both.
    Raises LedgerCorrupt for what a crash cannot leave, and when `head` tells of another log or of entries that are
    gone; OSError.
    """
    if head and head.log != log:
        raise LedgerCorrupt(f"The log in {directory} is {head.log!r}; {log!r} was to be opened. {_ADVICE}")
    numbers = segment_numbers(directory) or [0]
    if numbers != list(range(len(numbers))):
        missing = min(set(range(numbers[-1])) - set(numbers))
        raise LedgerCorrupt(f"The log in {directory} lacks {segment_path(directory, missing).name}. {_ADVICE}")
    last = numbers[-1]
    whole_bytes, torn_bytes = measure(segment_path(directory, last))
    entries = list(islice(backwards(directory, last, whole_bytes), LINKS_CHECKED + 1))
    for later, earlier in pairwise(entries):
        if later.index != earlier.index + 1 or later.prev != earlier.chain:
            raise LedgerCorrupt(
                f"Entry {later.index} of the log in {directory} does not follow entry {earlier.index}. {_ADVICE}"
            )
    if len(entries) <= LINKS_CHECKED and entries and (entries[-1].index or entries[-1].prev != genesis(log).hex()):
        raise LedgerCorrupt(
            f"The log in {directory} does not begin as log {log!r} does: it is another, or was changed. {_ADVICE}"
        )
    count, chain = (entries[0].index + 1, bytes.fromhex(entries[0].chain)) if entries else (0, genesis(log))
    if head and (count < head.entries or (count == head.entries and chain.hex() != head.chain)):
        raise LedgerCorrupt(
            f"The log in {directory} ends with {count} entries, chain {chain.hex()}; its {HEAD_NAME} has seen "
            f"{head.entries}, chain {head.chain}: its end was cut or changed. {_ADVICE}"
        )
    return Tail(last, whole_bytes, torn_bytes, count, chain)


def backwards(directory: Path, last: int, whole_bytes: int) -> Iterator[Entry]:
    """Read entries from the end: those of segment `last` before `whole_bytes`, then the segments before it.

    Raises LedgerCorrupt at a line that is no entry.
    """
    for number in range(last, -1, -1):
        path = segment_path(directory, number)
        if number == last and not whole_bytes:
            continue
        with path.open("rb") as file:
            end = whole_bytes if number == last else file.seek(0, os.SEEK_END)
            while end:
                start = _after_newline(file, end - 1)
                try:
                    yield _entry_at(file, start, end)
                except ValueError as error:
                    raise LedgerCorrupt(f"The line at byte {start} of {path} is no entry: {error}. {_ADVICE}") from None
                end = start


def read_head(directory: Path) -> Head | None:
    """Read head.json, None when there is none; raises LedgerCorrupt when it cannot be one."""
    try:
        return parse_head((directory / HEAD_NAME).read_bytes())
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise LedgerCorrupt(f"{directory / HEAD_NAME} is no head: {error}. {_ADVICE}") from None


def measure(path: Path) -> tuple[int, int]:
    """Return the bytes of a segment up to its last whole entry, and the torn bytes after it; 0 without a file."""
    if not path.exists():
        return 0, 0
    with path.open("rb") as file:
        size_bytes = file.seek(0, os.SEEK_END)
        end = _after_newline(file, size_bytes)
        if end:
            start = _after_newline(file, end - 1)
            try:
                _entry_at(file, start, end)
            except ValueError:
                end = start
        return end, size_bytes - end


def _entry_at(file: BinaryIO, start: int, end: int) -> Entry:
    file.seek(start)
    return parse(file.read(min(end - start, ENTRY_BYTES_MAX + 1)))  # one that is too long need not be read to its end


def _after_newline(file: BinaryIO, end: int) -> int:
    """Return where the line begins that holds the byte before `end`."""
    while end > 0:
        start = max(0, end - _BLOCK_BYTES)
        file.seek(start)
        found = file.read(end - start).rfind(b"\n")
        if found >= 0:
            return start + found + 1
        end = start
    return 0
