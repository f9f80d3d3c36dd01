"""POST /v1/embeddings."""

from __future__ import annotations

from typing import Final, Literal

import msgspec

from fastness.config import LimitSettings
from fastness.core.request import EmbeddingRequest
from fastness.gateway.wire.inputs import Inputs, to_inputs
from fastness.gateway.wire.reading import read_body, refuse_unless


class EmbeddingBody(msgspec.Struct, forbid_unknown_fields=True):
    """The body as it arrives."""

    model: str
    input: Inputs
    encoding_format: Literal["float", "base64"] | None = None
    dimensions: int | None = None
    user: str | None = None


_DECODER: Final = msgspec.json.Decoder(EmbeddingBody)


def parse_embedding(raw: bytes, limits: LimitSettings) -> EmbeddingRequest:
    """Parse a body into a request; raises Refusal naming the first field that cannot be honoured."""
    body = read_body(_DECODER, raw)
    if body.dimensions is not None:
        refuse_unless(body.dimensions >= 1, "dimensions", "at least 1", body.dimensions)
    return EmbeddingRequest(
        model=body.model,
        inputs=to_inputs(body.input, "input", limits.inputs_max),
        base64=body.encoding_format == "base64",
        dimensions=body.dimensions,
    )
