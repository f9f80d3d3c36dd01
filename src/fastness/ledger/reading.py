"""Reading the entries of a log: from an index, from the end, or by what they say. Core and standard library only."""

from __future__ import annotations

import itertools
import json
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from json.encoder import encode_basestring
from pathlib import Path

from fastness.core.event import Scalar
from fastness.ledger.entry import ENTRY_BYTES_MAX, INTEGER_MAX, Entry, parse, segment_numbers, segment_path
from fastness.ledger.port import LedgerCorrupt
from fastness.ledger.tail import backwards, measure


@dataclass(frozen=True, slots=True)
class Line:
    """A line. `torn_bytes` is its size when it is the last and has no newline, else 0."""

    segment: str
    number: int
    content: bytes
    torn_bytes: int


def read(directory: Path, from_index: int = 0, to_index: int | None = None) -> Iterator[Entry]:
    """Read the entries of one log from `from_index` up to, not including, `to_index`; raises LedgerCorrupt, OSError.

    It checks that each line is an entry, not the chain between them. A torn tail is left out.
    """
    numbers = segment_numbers(directory)
    at = segment_of(directory, numbers, from_index)
    skipped = max(0, from_index - _first_index(directory, numbers[at])) if numbers else 0
    for line in islice(lines(directory, numbers[at:]), min(skipped, INTEGER_MAX), None):
        if line.torn_bytes:
            return
        entry = _entry(directory, line)
        if to_index is not None and entry.index >= to_index:
            return
        yield entry


def tail(directory: Path, count: int) -> list[Entry]:
    """Return the last `count` entries of one log, oldest first; raises LedgerCorrupt, OSError."""
    numbers = segment_numbers(directory)
    if not numbers or count <= 0:
        return []
    whole_bytes, _ = measure(segment_path(directory, numbers[-1]))
    return list(islice(backwards(directory, numbers[-1], whole_bytes), count))[::-1]


def find(directory: Path, /, **wanted: str) -> Iterator[Entry]:
    """Read the entries of one log whose fields have these values, `type` being that of the entry.

    Values are compared as text: `true`, `false`, `null` and numbers as JSON writes them. Raises LedgerCorrupt, OSError.
    """
    # A line that does not even contain the texts need not be parsed, and most lines do not.
    texts = [encode_basestring(text)[1:-1].encode() for text in wanted.values()]
    for line in lines(directory, segment_numbers(directory)):
        if not line.torn_bytes and all(text in line.content for text in texts):
            entry = _entry(directory, line)
            found: dict[str, Scalar] = {**entry.fields, "type": entry.type}
            if all(key in found and _text(found[key]) == text for key, text in wanted.items()):
                yield entry


def lines(directory: Path, numbers: list[int]) -> Iterator[Line]:
    """Read the lines of these segments. Of one that is too long, no more is kept than shows that."""
    for number in numbers:
        path = segment_path(directory, number)
        with path.open("rb") as file:
            for count in itertools.count(1):
                content = end = file.readline(ENTRY_BYTES_MAX + 1)
                if not content:
                    break
                size_bytes = len(content)
                while end and not end.endswith(b"\n"):
                    end = file.readline(ENTRY_BYTES_MAX)
                    size_bytes += len(end)
                torn = not end and number == numbers[-1]
                yield Line(path.name, count, content, size_bytes if torn else 0)


def segment_of(directory: Path, numbers: list[int], index: int) -> int:
    """Return the place in `numbers` of the segment that has, or will have, entry `index`; 0 without a segment."""
    return max(0, bisect_right(numbers, index, key=lambda number: _first_index(directory, number)) - 1)


def _entry(directory: Path, line: Line) -> Entry:
    try:
        return parse(line.content)
    except ValueError as error:
        raise LedgerCorrupt(f"Line {line.number} of {directory / line.segment} is no entry: {error}") from None


def _first_index(directory: Path, number: int) -> int:
    """Return the index a segment begins with; an empty one lies behind all others."""
    line = next(lines(directory, [number]), None)
    return INTEGER_MAX + 1 if line is None or line.torn_bytes else _entry(directory, line).index


def _text(value: Scalar) -> str:
    return value if isinstance(value, str) else json.dumps(value)
