"""Finding an entry by what it says, in a time that does not grow with the log: a request's by its id, others by theirs.

It follows the log as it grows, and is at any time as old as the last `catch_up`. Core and standard library only.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any, Final

from fastness.ledger.following import follow, place_of
from fastness.ledger.receipts.runs import RUN_ENTRIES, Runs, key_of

MARKS: Final = {
    "model.loaded": ("replica", "epoch", "model_digest"),
    "model.admitted": ("digest",),
    "model.shipped": ("model_digest",),
    "policy.applied": ("policy",),
    "configuration.loaded": ("configuration",),
}
"""Entries that tell how an answer came about, and the fields that each is found by."""
MARKS_MAX: Final = 65_536
STEP_ENTRIES: Final = 512

Mark = tuple[object, ...]


class LogIndex:
    """The index of one log, kept in `directory`. For one thread at a time; methods raise LedgerCorrupt, OSError."""

    def __init__(self, log: Path, directory: Path) -> None:
        self._log, self._directory = log, directory
        self._runs = Runs(directory)
        self._marks = self._read_marks()
        self._recent: dict[int, list[int]] = {}
        self._place = place_of(log, self._runs.end)

    @property
    def entries(self) -> int:
        """How many entries of the log it knows."""
        return self._place.index

    def catch_up(self) -> bool:
        """Take in at most STEP_ENTRIES further entries; tells whether there may be more."""
        found, self._place = follow(self._log, self._place, STEP_ENTRIES)
        for entry in found:
            self._take(entry)
            if entry["index"] + 1 - self._runs.end >= RUN_ENTRIES:
                self._write_marks()
                self._runs.add(entry["index"] + 1, self._recent)
                self._recent = {}
        return len(found) == STEP_ENTRIES

    def of_request(self, request_id: str) -> list[int]:
        """Return where an entry of this request may be: whoever reads it there sees whether it is."""
        key = key_of(request_id)
        return [] if key is None else [*self._recent.get(key, ()), *self._runs.find(key)]

    def of_mark(self, kind: str, *values: object) -> int | None:
        """Return where the last entry of a type in MARKS is that says so."""
        return self._marks.get((kind, *values))

    def _take(self, entry: dict[str, Any]) -> None:
        kind, fields, index = entry["type"], entry["fields"], entry["index"]
        if kind.startswith("inference."):
            if (key := key_of(str(fields.get("request_id")))) is not None:
                self._recent.setdefault(key, []).append(index)
        elif (names := MARKS.get(kind)) is not None:
            mark = (kind, *(fields.get(name) for name in names))
            self._marks.pop(mark, None)
            self._marks[mark] = index
            if len(self._marks) > MARKS_MAX:
                del self._marks[next(iter(self._marks))]

    def _write_marks(self) -> None:
        draft = self._directory / "marks.new"
        with draft.open("w") as file:
            json.dump([[*mark, index] for mark, index in self._marks.items()], file)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(self._directory / "marks.json")

    def _read_marks(self) -> dict[Mark, int]:
        """Return the marks of the entries that the runs cover; without them all is followed anew."""
        if not self._runs.end:
            return {}
        try:
            read = json.loads((self._directory / "marks.json").read_text())
            return {tuple(one[:-1]): int(one[-1]) for one in read}
        except (OSError, ValueError, TypeError, IndexError):
            self._runs.clear()
            return {}
