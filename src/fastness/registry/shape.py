"""The shape of a model, read from the header of its weights: what the memory of a replica depends on.

It is read from the file each time it is needed (0.1 s) and kept nowhere: the file has a digest, so it cannot say
another thing tomorrow, and a second copy in the card could.
"""

from __future__ import annotations

import mmap
from collections import Counter
from pathlib import Path
from typing import Final

from fastness.core.model import ModelKind
from fastness.registry.gguf import GgufError
from fastness.registry.gguf_reader import GgufHeader, TensorShape, read_gguf
from fastness.scheduling.fit import FitUnknown, ModelShape, WeightRole, Weights

_ROLES: Final = {
    "token_embd.weight": WeightRole.EMBEDDING,
    "position_embd.weight": WeightRole.EMBEDDING,
    "token_types.weight": WeightRole.EMBEDDING,
    "output.weight": WeightRole.OUTPUT,
}
_BEYOND: Final = ("expert_count", "attention.sliding_window", "ssm.state_size", "attention.kv_lora_rank")
"""What makes a model of a known architecture one that the formulas do not know."""


def model_shape(path: Path) -> ModelShape:
    """Return the shape of the model whose weights are at `path`; raises FitUnknown, saying what cannot be read."""
    try:
        with path.open("rb") as opened:
            content = memoryview(mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ))
        return shape_of(read_gguf(content), content.nbytes)
    except (OSError, GgufError, ValueError) as error:
        if isinstance(error, FitUnknown):
            raise
        raise FitUnknown(f"the shape of the model in {path} cannot be read: {error}. It is not placed.") from None


def shape_of(header: GgufHeader, file_bytes: int) -> ModelShape:
    """Return the shape that a header tells; raises FitUnknown, GgufError for one that says too little."""
    name = header.text("general.architecture")
    for key in _BEYOND:
        if f"{name}.{key}" in header.metadata and header.number(f"{name}.{key}"):
            raise FitUnknown(
                f"What a model with {name}.{key} takes is not known here. Say yourself what a replica takes on each "
                "device: device_bytes"
            )
    heads = _number(header, f"{name}.attention.head_count")
    width = _number(header, f"{name}.embedding_length")
    return ModelShape(
        architecture=name,
        kind=_kind(header, name),
        layers=_number(header, f"{name}.block_count"),
        embedding=width,
        heads=heads,
        kv_heads=_number(header, f"{name}.attention.head_count_kv", heads),
        key_width=_number(header, f"{name}.attention.key_length", width // heads),
        value_width=_number(header, f"{name}.attention.value_length", width // heads),
        feed_forward=_number(header, f"{name}.feed_forward_length"),
        vocabulary=_items(header, "tokenizer.ggml.tokens"),
        merges=_items(header, "tokenizer.ggml.merges"),
        context_tokens=_number(header, f"{name}.context_length"),
        file_bytes=file_bytes,
        weights=_weights(header.tensors),
    )


def _kind(header: GgufHeader, name: str) -> ModelKind:
    pools = f"{name}.pooling_type" in header.metadata and header.number(f"{name}.pooling_type") > 0
    return ModelKind.EMBEDDING if pools else ModelKind.CHAT


def _number(header: GgufHeader, key: str, otherwise: int | None = None) -> int:
    number = header.number(key) if otherwise is None or key in header.metadata else otherwise
    if number < 1:
        raise GgufError(f"metadata {key} is {number}; at least 1 is needed")
    return number


def _items(header: GgufHeader, key: str) -> int:
    value = header.metadata[key].value if key in header.metadata else ()
    return len(value) if isinstance(value, tuple) else 0


def _weights(tensors: tuple[TensorShape, ...]) -> tuple[Weights, ...]:
    sizes: Counter[tuple[WeightRole, str]] = Counter()
    for one in tensors:
        plain = WeightRole.MATRIX if len(one.dimensions) > 1 else WeightRole.VECTOR
        sizes[_ROLES.get(one.name, plain), one.type.name] += one.size_bytes
    return tuple(Weights(role, kind, size_bytes) for (role, kind), size_bytes in sizes.items())
