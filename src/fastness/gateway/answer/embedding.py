"""The answer of /v1/embeddings."""

from __future__ import annotations

import base64
import struct
from typing import Final

import msgspec

from fastness.core.request import EmbeddingRequest, Usage
from fastness.gateway.wire import out

_encode: Final = msgspec.json.Encoder().encode


def embedding_answer(request: EmbeddingRequest, rows: tuple[tuple[float, ...], ...], usage: Usage) -> bytes:
    """Return the body: one vector an input, in the order of the inputs."""
    data = [out.Embedding(index, _base64(row) if request.base64 else list(row)) for index, row in enumerate(rows)]
    counted = out.EmbeddingUsage(usage.input_tokens, usage.input_tokens)
    return _encode(out.EmbeddingList(data, request.model, counted))


def _base64(row: tuple[float, ...]) -> str:
    return base64.b64encode(struct.pack(f"<{len(row)}f", *row)).decode()
