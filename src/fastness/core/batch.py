"""What is told about a file and a batch, in OpenAI's shapes: the gateway documents them, the room `batches` fills them.

Field names are OpenAI's, so that they can be written as JSON as they are. Times are seconds since 1970.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal


@dataclass(frozen=True, slots=True)
class FileOut:
    """A file. `marking` is ours: what it is handled under."""

    id: str
    bytes: int
    created_at: int
    expires_at: int
    filename: str
    purpose: Literal["batch", "batch_output"]
    marking: str
    object: Literal["file"] = "file"
    status: Literal["processed"] = "processed"
    status_details: None = None


@dataclass(frozen=True, slots=True)
class FileList:
    """A page of files. `after` the last id of it begins the next."""

    data: list[FileOut]
    has_more: bool
    first_id: str | None
    last_id: str | None
    object: Literal["list"] = "list"


@dataclass(frozen=True, slots=True)
class FileDeleted:
    """A file that is gone."""

    id: str
    object: Literal["file"] = "file"
    deleted: Literal[True] = True


@dataclass(frozen=True, slots=True)
class LineError:
    """What is wrong with one line of an input file, counted from 1; None: with the file as a whole."""

    code: str
    message: str
    line: int | None = None
    param: str | None = None


@dataclass(frozen=True, slots=True)
class LineErrors:
    """Everything found wrong with an input file, up to a bound."""

    data: tuple[LineError, ...]
    object: Literal["list"] = "list"


@dataclass(frozen=True, slots=True)
class RequestCounts:
    """How many lines there are, were answered, and got an error."""

    total: int
    completed: int
    failed: int


Endpoint = Literal["/v1/chat/completions", "/v1/completions", "/v1/embeddings"]
Status = Literal["validating", "failed", "in_progress", "finalizing", "completed", "expired", "cancelling", "cancelled"]


@dataclass(frozen=True, slots=True)
class BatchOut:
    """A batch. `marking` is ours: what each of its lines is handled under."""

    id: str
    endpoint: Endpoint
    input_file_id: str
    completion_window: str
    status: Status
    request_counts: RequestCounts
    created_at: int
    expires_at: int
    marking: str
    errors: LineErrors | None = None
    output_file_id: str | None = None
    error_file_id: str | None = None
    in_progress_at: int | None = None
    finalizing_at: int | None = None
    completed_at: int | None = None
    failed_at: int | None = None
    expired_at: int | None = None
    cancelling_at: int | None = None
    cancelled_at: int | None = None
    metadata: dict[str, str] | None = None
    object: Literal["batch"] = "batch"


@dataclass(frozen=True, slots=True)
class BatchList:
    """A page of batches. `after` the last id of it begins the next."""

    data: list[BatchOut]
    has_more: bool
    first_id: str | None
    last_id: str | None
    object: Literal["list"] = "list"


@dataclass(frozen=True, slots=True)
class NewBatch:
    """What a batch is made from, checked by the gateway. `output_lifetime_s` None: as long as files may be kept."""

    input_file_id: str
    endpoint: Endpoint
    metadata: dict[str, str] = field(default_factory=dict)
    output_lifetime_s: int | None = None


ASKER_HEADERS = ("fastness-principal", "fastness-tenant", "fastness-credential", "fastness-marking")
"""How the gateway tells the room who asks, percent-encoded, with the request's id in `x-request-id`."""
SOCKET_NAME = "batches.sock"
"""Where the room listens, in the run directory."""
ON_BEHALF_OF = "fastness-on-behalf-of"
"""The header that names the API key a line is asked for; it counts on the gateway's own socket only."""
LIFETIME_S_MIN = 3_600
"""The shortest time a file may be kept for, as OpenAI has it."""


@dataclass(frozen=True, slots=True)
class FileSeen:
    """A file as operators see it: neither its name nor anything of its content."""

    id: str
    tenant: str
    marking: str
    purpose: str
    size_bytes: int
    created_s: int
    expires_s: int


@dataclass(frozen=True, slots=True)
class BatchSeen:
    """A batch as operators see it: without its metadata. `key` is that on whose behalf its lines are asked."""

    id: str
    tenant: str
    marking: str
    key: str
    endpoint: str
    status: str
    total: int
    completed: int
    failed: int
    created_s: int
    expires_s: int
    ended_s: int | None
    input_file: str
    output_file: str | None
    error_file: str | None
