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
    "model.revoked": ("digest",),
    "model.shipped": ("model_digest",),
    "policy.applied": ("policy",),
    "configuration.loaded": ("configuration",),
}
"""Entries that tell how an answer came about, and the fields that each is found by."""
MARKS_MAX: Final = 65_536
"""How many such entries are known; beyond that, those go whose words were longest unsaid."""
MARKS_VERSION: Final = 2
STEP_ENTRIES: Final = 512

Mark = tuple[object, ...]


class LogIndex:
    """The index of one log, kept in `directory`. For one thread at a time; methods raise LedgerCorrupt, OSError."""

    def __init__(self, log: Path, directory: Path) -> None:
        self._log, self._directory = log, directory
        self._runs = Runs(directory)
        self._marks: dict[Mark, list[tuple[int, int]]] = {}
        self._marked = 0
        self._read_marks()
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

    def of_mark(self, kind: str, *values: object, by_ms: int | None = None) -> int | None:
        """Return where the last entry of a type in MARKS is that says so; with `by_ms`, of those no later than that.

        What an answer rests on was said before it, and is often said again: whenever a process begins anew.
        """
        said = reversed(self._marks.get((kind, *values), ()))
        return next((index for time_ms, index in said if by_ms is None or time_ms <= by_ms), None)

    def _take(self, entry: dict[str, Any]) -> None:
        kind, fields, index = entry["type"], entry["fields"], entry["index"]
        if kind.startswith("inference."):
            if (key := key_of(str(fields.get("request_id")))) is not None:
                self._recent.setdefault(key, []).append(index)
        elif (names := MARKS.get(kind)) is not None:
            self._mark((kind, *(fields.get(name) for name in names)), entry["time_ms"], index)

    def _mark(self, mark: Mark, time_ms: int, index: int) -> None:
        said = self._marks[mark] = self._marks.pop(mark, [])
        said.append((time_ms, index))
        self._marked += 1
        if self._marked > MARKS_MAX:
            oldest = next(iter(self._marks))
            del self._marks[oldest][0]
            self._marked -= 1
            if not self._marks[oldest]:
                del self._marks[oldest]

    def _write_marks(self) -> None:
        draft = self._directory / "marks.new"
        with draft.open("w") as file:
            marks = [[*mark, *each] for mark, said in self._marks.items() for each in said]
            json.dump({"v": MARKS_VERSION, "marks": marks}, file)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(self._directory / "marks.json")

    def _read_marks(self) -> None:
        """Take in the marks of the entries that the runs cover; without them all is followed anew."""
        if not self._runs.end:
            return
        try:
            read = json.loads((self._directory / "marks.json").read_text())
            if read["v"] != MARKS_VERSION:
                raise ValueError(read["v"])  # noqa: TRY301
            for *mark, time_ms, index in read["marks"]:
                self._mark(tuple(mark), int(time_ms), int(index))
        except (OSError, ValueError, TypeError, LookupError):
            self._marks, self._marked = {}, 0
            self._runs.clear()
