"""The results of one batch on disk: its output file and its error file, written as answers come.

These two files are the whole record of what was done: each frame carries the number of its line. After any crash they
are opened again, a torn end is cut, and what is in neither of them is what remains. So no line is in them twice, and
a line that was answered and not yet written is asked once more.
"""

from __future__ import annotations

from contextlib import suppress

from fastness.batches.records import BatchRecord, FileRecord
from fastness.batches.sealed import SealedFile
from fastness.batches.shelf import Shelf


class Results:
    """Opened for one batch, by the one who works on it. Every method raises OSError."""

    def __init__(self, shelf: Shelf, batch: BatchRecord) -> None:
        self._shelf = shelf
        self._batch = batch
        self._output = shelf.results(batch.tenant, batch.output.file, batch.output.key)
        try:
            self._errors = shelf.results(batch.tenant, batch.errors.file, batch.errors.key)
        except BaseException:
            self._output.close()
            raise
        self.done = {*self._output.tags, *self._errors.tags}
        self.completed, self.failed = len(self._output.tags), len(self._errors.tags)
        self.cut_bytes = self._output.cut_bytes + self._errors.cut_bytes

    def put(self, number: int, *, ok: bool, line: bytes) -> bool:
        """Write the result of a line; False, and nothing is written, when it has one."""
        if number in self.done:
            return False
        (self._output if ok else self._errors).append(line, number)
        self.done.add(number)
        if ok:
            self.completed += 1
        else:
            self.failed += 1
        return True

    def sync(self) -> None:
        """Make what was written durable."""
        self._output.sync()
        self._errors.sync()

    def finish(self, now_s: int) -> tuple[FileRecord | None, FileRecord | None]:
        """End both files; return a record for each that has lines, and remove the other."""
        return (
            self._filed(self._output, self._batch.output.file, self._batch.output.key, "output", now_s),
            self._filed(self._errors, self._batch.errors.file, self._batch.errors.key, "error", now_s),
        )

    def close(self) -> None:
        """Let go of both files."""
        with suppress(OSError):
            self._output.close()
        with suppress(OSError):
            self._errors.close()

    def _filed(self, sealed: SealedFile, file: str, key: bytes, what: str, now_s: int) -> FileRecord | None:
        batch = self._batch
        if not sealed.size_bytes:
            self._shelf.content_path(batch.tenant, file).unlink(missing_ok=True)
            return None
        sealed.finish()
        name = f"{batch.id}_{what}.jsonl"
        ends_s = now_s + batch.output_lifetime_s
        return FileRecord(
            file, batch.tenant, batch.marking, name, "batch_output", sealed.size_bytes, now_s, ends_s, key
        )
