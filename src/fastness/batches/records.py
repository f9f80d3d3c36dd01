"""What is remembered about files and batches: who asks, one record for each, and how they are shown."""

from __future__ import annotations

from dataclasses import dataclass, field

from fastness.batches.progress import Progress
from fastness.core.batch import BatchOut, Endpoint, FileOut, LineErrors, RequestCounts

WINDOW = "24h"
WINDOW_S = 86_400
"""The one completion window there is."""
INPUT_PURPOSE = "batch"
OUTPUT_PURPOSE = "batch_output"


@dataclass(frozen=True, slots=True)
class Asker:
    """Who asks, as the gateway recognised and permitted it, and the marking of its request.

    Files and batches belong to a tenant and a marking: what is marked otherwise is not there for this request.
    """

    id: str
    tenant: str
    credential: str
    marking: str
    request_id: str


@dataclass(frozen=True, slots=True)
class FileRecord:
    """One file. `key` seals its content; the record itself is sealed under its tenant's key."""

    id: str
    tenant: str
    marking: str
    filename: str
    purpose: str
    size_bytes: int
    created_s: int
    expires_s: int
    key: bytes = field(repr=False)

    def out(self) -> FileOut:
        """Return what is told about it."""
        return FileOut(
            self.id,
            self.size_bytes,
            self.created_s,
            self.expires_s,
            self.filename,
            "batch" if self.purpose == INPUT_PURPOSE else "batch_output",
            self.marking,
        )


@dataclass(frozen=True, slots=True)
class OutputPlan:
    """A file that a batch will write: its id and key exist before it does. `filed` once it is there to be read."""

    file: str
    key: bytes = field(repr=False)
    filed: bool = False


@dataclass(frozen=True, slots=True)
class BatchRecord:
    """One batch. `by` is the id of the API key on whose behalf its lines are asked."""

    id: str
    tenant: str
    marking: str
    by: str
    endpoint: Endpoint
    input_file: str
    created_s: int
    expires_s: int
    output_lifetime_s: int
    output: OutputPlan
    errors: OutputPlan
    metadata: dict[str, str] = field(default_factory=dict)
    progress: Progress = field(default_factory=Progress)

    def out(self) -> BatchOut:
        """Return what is told about it."""
        progress = self.progress
        return BatchOut(
            id=self.id,
            endpoint=self.endpoint,
            input_file_id=self.input_file,
            completion_window=WINDOW,
            status=progress.status.value,
            request_counts=RequestCounts(progress.total, progress.completed, progress.failed),
            created_at=self.created_s,
            expires_at=self.expires_s,
            marking=self.marking,
            errors=LineErrors(progress.errors) if progress.errors else None,
            output_file_id=self.output.file if self.output.filed else None,
            error_file_id=self.errors.file if self.errors.filed else None,
            in_progress_at=progress.in_progress_s,
            finalizing_at=progress.finalizing_s,
            completed_at=progress.completed_s,
            failed_at=progress.failed_s,
            expired_at=progress.expired_s,
            cancelling_at=progress.cancelling_s,
            cancelled_at=progress.cancelled_s,
            metadata=self.metadata or None,
        )
