"""POST /v1/batches: checked at the door, before the room that keeps batches hears of it."""

from __future__ import annotations

from typing import Final, Literal

import msgspec

from fastness.config import LimitSettings
from fastness.core.batch import Endpoint, NewBatch
from fastness.gateway.wire.reading import limit, read_body, refuse_unless

METADATA_KEY_CHARS_MAX: Final = 64
METADATA_VALUE_CHARS_MAX: Final = 512


class ExpiresAfter(msgspec.Struct, forbid_unknown_fields=True):
    """How long outputs are kept."""

    anchor: Literal["created_at"]
    seconds: int


class BatchBody(msgspec.Struct, forbid_unknown_fields=True):
    """The body as it arrives."""

    input_file_id: str
    endpoint: Endpoint
    completion_window: Literal["24h"]
    metadata: dict[str, str] | None = None
    output_expires_after: ExpiresAfter | None = None


_DECODER: Final = msgspec.json.Decoder(BatchBody)


def parse_batch(raw: bytes, limits: LimitSettings) -> NewBatch:
    """Parse a body; raises Refusal naming the first field that cannot be honoured."""
    body = read_body(_DECODER, raw)
    metadata = body.metadata or {}
    limit(len(metadata), limits.metadata_max, "metadata", "pairs")
    for key, value in metadata.items():
        limit(len(key), METADATA_KEY_CHARS_MAX, "metadata", "characters in a key")
        limit(len(value), METADATA_VALUE_CHARS_MAX, "metadata", "characters in a value")
    refuse_unless(len(body.input_file_id) <= 80, "input_file_id", "the id of a file", body.input_file_id[:80])
    lifetime = body.output_expires_after
    return NewBatch(body.input_file_id, body.endpoint, metadata, None if lifetime is None else lifetime.seconds)
