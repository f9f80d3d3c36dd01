"""The part of our OpenAPI document that is about files and batches."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from fastness.core.batch import LIFETIME_S_MIN, BatchList, BatchOut, FileDeleted, FileList, FileOut
from fastness.gateway.wire.batch import BatchBody

BODIES: Final = (BatchBody,)
ANSWERS: Final = (FileOut, FileList, FileDeleted, BatchOut, BatchList)
_UPLOAD: Final = {
    "type": "object",
    "properties": {
        "file": {"type": "string", "format": "binary"},
        "purpose": {"type": "string", "enum": ["batch"]},
        "expires_after[anchor]": {"type": "string", "enum": ["created_at"]},
        "expires_after[seconds]": {"type": "integer", "minimum": LIFETIME_S_MIN},
    },
    "required": ["file", "purpose"],
    "additionalProperties": False,
}
_BINARY: Final = {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}

Operation = Callable[..., dict[str, Any]]


def batch_paths(refs: Mapping[type, Any], post: Operation, get: Operation) -> dict[str, Any]:
    """Return the paths; `post` and `get` make an operation as the rest of the document has it."""
    upload = post("createFile", {}, refs[FileOut])
    upload["requestBody"]["content"] = {"multipart/form-data": {"schema": _UPLOAD}}
    content = get("downloadFile", {}, "file_id")
    content["responses"]["200"]["content"] = _BINARY
    cancel = get("cancelBatch", refs[BatchOut], "batch_id")
    return {
        "/v1/files": {
            "post": upload,
            "get": _listing(get("listFiles", refs[FileList]), 10_000, purpose=["batch", "batch_output"], order=True),
        },
        "/v1/files/{file_id}": {
            "get": get("retrieveFile", refs[FileOut], "file_id"),
            "delete": get("deleteFile", refs[FileDeleted], "file_id"),
        },
        "/v1/files/{file_id}/content": {"get": content},
        "/v1/batches": {
            "post": post("createBatch", refs[BatchBody], refs[BatchOut]),
            "get": _listing(get("listBatches", refs[BatchList]), 100),
        },
        "/v1/batches/{batch_id}": {"get": get("retrieveBatch", refs[BatchOut], "batch_id")},
        "/v1/batches/{batch_id}/cancel": {"post": cancel},
    }


def _listing(
    operation: dict[str, Any], most: int, *, purpose: list[str] | None = None, order: bool = False
) -> dict[str, Any]:
    wanted: dict[str, Any] = {
        "limit": {"type": "integer", "minimum": 1, "maximum": most},
        "after": {"type": "string"},
    }
    if purpose:
        wanted["purpose"] = {"type": "string", "enum": purpose}
    if order:
        wanted["order"] = {"type": "string", "enum": ["asc", "desc"]}
    operation["parameters"] += [
        {"name": name, "in": "query", "required": False, "schema": schema} for name, schema in wanted.items()
    ]
    return operation
