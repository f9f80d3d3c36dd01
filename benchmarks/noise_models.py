"""Models of any shape and type of numbers, made of noise: what an engine takes of memory does not depend on values."""

from __future__ import annotations

import random
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from fastness.registry.gguf import TENSOR_TYPES, Field, Tensor, ValueType, tensor_size_bytes, write_gguf
from fastness.registry.gguf_reader import GgufHeader

UNIT_BLOCKS = 4_096
F32 = 0
NUMBERS = {kind.name: number for number, kind in TENSOR_TYPES.items()}
ONE = struct.pack("<f", 1.0)
SCALE = struct.pack("<e", 0.01)
_SCALES = {"Q4_0": 1, "Q4_1": 2, "Q8_0": 1, "Q5_0": 1}


@dataclass(frozen=True, slots=True)
class Shape:
    """A decoder as its tensors are: widths and counts of one layer."""

    architecture: str
    layers: int
    embedding: int
    heads: int
    kv_heads: int
    head: int
    feed_forward: int
    context: int = 8_192
    tied: bool = True


def retyped(header: GgufHeader, target: Path, kind: str) -> Path:
    """Write the model of `header` with its matrices in another type of numbers."""
    tensors = [(one.name, one.dimensions) for one in header.tensors]
    return _write(target, dict(header.metadata), tensors, kind)


def shaped(tokenizer: GgufHeader, target: Path, shape: Shape, kind: str, tokens: int = 0) -> Path:
    """Write a decoder of `shape` with the vocabulary of `tokenizer`, filled up to `tokens` where it has fewer."""
    name = shape.architecture
    metadata = {key: field for key, field in tokenizer.metadata.items() if key.startswith("tokenizer.")}
    pieces = metadata["tokenizer.ggml.tokens"].value
    assert isinstance(pieces, tuple)
    more = max(0, tokens - len(pieces))
    for key, fill in (("tokens", [f"<unused{n}>" for n in range(more)]), ("token_type", [1] * more)):
        field = metadata[f"tokenizer.ggml.{key}"]
        assert isinstance(field.value, tuple)
        metadata[f"tokenizer.ggml.{key}"] = Field(field.type, (*field.value, *fill), field.item_type)
    numbers = {
        "block_count": shape.layers,
        "context_length": shape.context,
        "embedding_length": shape.embedding,
        "feed_forward_length": shape.feed_forward,
        "attention.head_count": shape.heads,
        "attention.head_count_kv": shape.kv_heads,
        "attention.key_length": shape.head,
        "attention.value_length": shape.head,
        "rope.dimension_count": shape.head,
    }
    head = {"general.architecture": Field(ValueType.STRING, name), "general.name": Field(ValueType.STRING, "noise")}
    head |= {f"{name}.{key}": Field(ValueType.UINT32, number) for key, number in numbers.items()}
    head[f"{name}.attention.layer_norm_rms_epsilon"] = Field(ValueType.FLOAT32, 1e-5)
    return _write(target, head | metadata, _tensors(shape, len(pieces) + more), kind)


def _tensors(shape: Shape, tokens: int) -> list[tuple[str, tuple[int, ...]]]:
    width, queries, keys = shape.embedding, shape.heads * shape.head, shape.kv_heads * shape.head
    found: list[tuple[str, tuple[int, ...]]] = [
        ("token_embd.weight", (width, tokens)),
        ("output_norm.weight", (width,)),
    ]
    if not shape.tied:
        found.append(("output.weight", (width, tokens)))
    for at in range(shape.layers):
        layer: list[tuple[str, tuple[int, ...]]] = [
            ("attn_norm.weight", (width,)),
            ("attn_q.weight", (width, queries)),
            ("attn_k.weight", (width, keys)),
            ("attn_v.weight", (width, keys)),
            ("attn_output.weight", (queries, width)),
            ("ffn_norm.weight", (width,)),
            ("ffn_gate.weight", (width, shape.feed_forward)),
            ("ffn_up.weight", (width, shape.feed_forward)),
            ("ffn_down.weight", (shape.feed_forward, width)),
        ]
        if shape.architecture == "qwen2":
            layer += [("attn_q.bias", (queries,)), ("attn_k.bias", (keys,)), ("attn_v.bias", (keys,))]
        if shape.architecture == "qwen3":
            layer += [("attn_q_norm.weight", (shape.head,)), ("attn_k_norm.weight", (shape.head,))]
        found += [(f"blk.{at}.{name}", dimensions) for name, dimensions in layer]
    return found


def _write(target: Path, metadata: Mapping[str, Field], tensors: list[tuple[str, tuple[int, ...]]], kind: str) -> Path:
    numbers = [NUMBERS[kind] if len(dimensions) > 1 else F32 for _, dimensions in tensors]
    sizes = [
        tensor_size_bytes(*one) for one in zip((n for n, _ in tensors), numbers, (d for _, d in tensors), strict=True)
    ]
    noise = {
        number: _noise(number, max(s for s, n in zip(sizes, numbers, strict=True) if n == number))
        for number in set(numbers)
    }
    with target.open("wb") as opened:
        write_gguf(
            opened.write,
            metadata,
            [
                Tensor(name, number, dimensions, noise[number][:size])
                for (name, dimensions), number, size in zip(tensors, numbers, sizes, strict=True)
            ],
        )
    return target


def _noise(number: int, size_bytes: int) -> memoryview:
    """Return bytes that are small numbers of that type."""
    kind, chance = TENSOR_TYPES[number], random.Random(number)
    if kind.name == "F32":
        unit = ONE * UNIT_BLOCKS
    elif kind.name == "F16":
        unit = b"".join(struct.pack("<e", chance.uniform(-0.02, 0.02)) for _ in range(UNIT_BLOCKS))
    else:
        scales = SCALE * _SCALES[kind.name]
        unit = b"".join(scales + chance.randbytes(kind.block_bytes - len(scales)) for _ in range(UNIT_BLOCKS))
    return memoryview((unit * (size_bytes // len(unit) + 1))[:size_bytes])
