"""Files and batches of all tenants as operators see them: what there is, and nothing that a caller wrote."""

from __future__ import annotations

from fastness.batches.progress import Turn
from fastness.batches.records import BatchRecord
from fastness.batches.runner import Runner
from fastness.batches.shelf import Shelf
from fastness.core.batch import BatchSeen, FileSeen
from fastness.core.error import Refusal


class Overview:
    """See the module."""

    def __init__(self, shelf: Shelf, runner: Runner) -> None:
        self._shelf = shelf
        self._runner = runner

    def files(self) -> list[FileSeen]:
        """Return all files, the oldest first."""
        ordered = sorted(self._shelf.files.values(), key=lambda one: (one.created_s, one.id))
        return [
            FileSeen(one.id, one.tenant, one.marking, one.purpose, one.size_bytes, one.created_s, one.expires_s)
            for one in ordered
        ]

    def batches(self) -> list[BatchSeen]:
        """Return all batches, the oldest first."""
        return [_seen(one) for one in sorted(self._shelf.batches.values(), key=lambda one: (one.created_s, one.id))]

    async def cancel(self, name: str) -> BatchSeen:
        """Cancel a batch; raises Refusal: not_found, conflict."""
        if name not in self._shelf.batches:
            raise Refusal("not_found", f"There is no batch {name[:80]!r}.", param="id")
        record = await self._runner.change(name, Turn.CANCEL)
        self._runner.stir()
        return _seen(record)


def _seen(one: BatchRecord) -> BatchSeen:
    shown, progress = one.out(), one.progress
    return BatchSeen(
        id=one.id,
        tenant=one.tenant,
        marking=one.marking,
        key=one.by,
        endpoint=one.endpoint,
        status=shown.status,
        total=progress.total,
        completed=progress.completed,
        failed=progress.failed,
        created_s=one.created_s,
        expires_s=one.expires_s,
        ended_s=progress.ended_s,
        input_file=one.input_file,
        output_file=shown.output_file_id,
        error_file=shown.error_file_id,
    )
