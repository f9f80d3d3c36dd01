"""The ledger's lines about some requests, as they are in the log, for whoever is given their content."""

from __future__ import annotations

import re
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from fastness.core.ids import is_name
from fastness.ledger.entry import segment_numbers
from fastness.ledger.reading import lines

_REQUEST: Final = re.compile(rb'"request_id":"([^"\\]+)"')


@dataclass(frozen=True, slots=True)
class LedgerLine:
    """One entry: the log, its index, and its line without the newline."""

    log: str
    index: int
    line: bytes


def lines_of(directory: Path, requests: AbstractSet[str]) -> dict[str, LedgerLine]:
    """Find the entries of these requests, by request id; blocks. Raises OSError, LedgerCorrupt."""
    found: dict[str, LedgerLine] = {}
    wanted = {one.encode() for one in requests}
    for folder in sorted(directory.iterdir()) if directory.is_dir() else ():
        if not (folder.is_dir() and is_name(folder.name) and folder.name.startswith("gateway")):
            continue
        for index, line in enumerate(lines(folder, segment_numbers(folder))):
            if not line.torn_bytes and (named := _REQUEST.search(line.content)) and named[1] in wanted:
                found[named[1].decode()] = LedgerLine(folder.name, index, line.content.rstrip(b"\n"))
    return found
