"""The ledger's part of a bundle: of each log its checkpoint, its keys, the entries of the period, and their proof."""

from __future__ import annotations

import base64
import re
from pathlib import Path
from typing import Final

from fastness.control.bundling.members import Draft, SeenEntry
from fastness.core.ids import is_name
from fastness.ledger.entry import parse, segment_numbers
from fastness.ledger.note import NoteInvalid
from fastness.ledger.range_proof import range_proof
from fastness.ledger.reading import lines
from fastness.ledger.stored_log import StoredLog
from fastness.ledger.stored_tree import StoredTree
from fastness.ledger.vouching import KEYS_NAME

_TIME: Final = re.compile(rb'","time_ms":([0-9]+),"type":"[a-z0-9_.]+","v":1}\n$')
_GATEWAYS: Final = "gateway"
_OF_REQUESTS: Final = "inference."


def add_logs(draft: Draft, directory: Path) -> None:
    """Take what there is of every log; blocks. Raises OSError, LedgerCorrupt, TreeDamaged."""
    for folder in sorted(directory.iterdir()) if directory.is_dir() else ():
        if folder.is_dir() and is_name(folder.name):
            _add_log(draft, folder)


def _add_log(draft: Draft, folder: Path) -> None:
    log = folder.name
    try:
        note, checkpoint = StoredLog(folder).checkpoint()
        keys = (folder / KEYS_NAME).read_bytes()
    except (FileNotFoundError, NoteInvalid, ValueError):
        draft.lacks(f"ledger/{log}", "no checkpoint of it was signed yet")
        return
    content, start = _entries(folder, checkpoint.size, draft, whole=not log.startswith(_GATEWAYS))
    end = start + len(content)
    hashes = range_proof(start, end, checkpoint.size, StoredTree(folder).node)
    draft.add("checkpoint", f"ledger/{log}/checkpoint", str(note).encode())
    draft.add("verifier", f"ledger/{log}/vkey", keys)
    draft.add("entries", f"ledger/{log}/entries", b"".join(content))
    draft.add_json(
        "range",
        f"ledger/{log}/range.json",
        {
            "log": log,
            "start": start,
            "end": end,
            "size": checkpoint.size,
            "hashes": [base64.b64encode(one).decode() for one in hashes],
        },
    )


def _entries(folder: Path, size: int, draft: Draft, *, whole: bool) -> tuple[list[bytes], int]:
    """Return the lines of the period, and the index of the first; of an empty period none, behind the last."""
    found: list[bytes] = []
    first, beyond = size, 0
    for index, line in enumerate(lines(folder, segment_numbers(folder))):
        if line.torn_bytes:
            break
        time_ms = int(read[1]) if (read := _TIME.search(line.content)) else 0
        within = whole or draft.from_ms <= time_ms < draft.to_ms
        if index >= size:
            beyond += within
            continue
        if within and not found:
            first = index
        if within or found:
            found.append(line.content)
        if within:
            last = len(found)
            _see(draft, folder.name, line.content)
    if beyond:
        draft.lacks(f"ledger/{folder.name}", f"{beyond} entries of the period are under no checkpoint yet")
    return (found[:last], first) if found else ([], size)


def _see(draft: Draft, log: str, line: bytes) -> None:
    if f'"type":"{_OF_REQUESTS}'.encode() not in line:
        entry = parse(line)
        draft.entries.append(SeenEntry(log, entry.index, entry.type, entry.time_ms, entry.fields))
