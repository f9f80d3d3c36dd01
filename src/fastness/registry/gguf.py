"""GGUF, version 3: its vocabulary, and a writer.

The layout (little-endian): magic, version, number of tensors, number of metadata entries; the metadata (key, type,
value); for each tensor its name, dimensions, type and offset; padding; the tensors' bytes, each padded.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from math import prod
from types import MappingProxyType
from typing import Final

MAGIC: Final = b"GGUF"
VERSION: Final = 3
ALIGNMENT_BYTES: Final = 32
DIMENSIONS_MAX: Final = 4


class GgufError(ValueError):
    """Not a GGUF file we accept; the message names the part, what came and what was allowed."""


class GgufTensorError(GgufError):
    """A tensor has an unknown type or an impossible size, or does not lie where it must."""


class ValueType(IntEnum):
    """The type of a metadata value, by its number in the file."""

    UINT8 = 0
    INT8 = 1
    UINT16 = 2
    INT16 = 3
    UINT32 = 4
    INT32 = 5
    FLOAT32 = 6
    BOOL = 7
    STRING = 8
    ARRAY = 9
    UINT64 = 10
    INT64 = 11
    FLOAT64 = 12


LETTERS: Final = MappingProxyType(
    {
        ValueType.UINT8: "B",
        ValueType.INT8: "b",
        ValueType.UINT16: "H",
        ValueType.INT16: "h",
        ValueType.UINT32: "I",
        ValueType.INT32: "i",
        ValueType.FLOAT32: "f",
        ValueType.BOOL: "B",
        ValueType.UINT64: "Q",
        ValueType.INT64: "q",
        ValueType.FLOAT64: "d",
    }
)


@dataclass(frozen=True, slots=True)
class TensorType:
    """How numbers are stored: blocks of `items` numbers in `block_bytes` bytes."""

    name: str
    items: int
    block_bytes: int


TENSOR_TYPES: Final = MappingProxyType(
    {
        number: TensorType(name, items, block_bytes)
        for number, name, items, block_bytes in (
            (0, "F32", 1, 4),
            (1, "F16", 1, 2),
            (2, "Q4_0", 32, 18),
            (3, "Q4_1", 32, 20),
            (6, "Q5_0", 32, 22),
            (7, "Q5_1", 32, 24),
            (8, "Q8_0", 32, 34),
            (10, "Q2_K", 256, 84),
            (11, "Q3_K", 256, 110),
            (12, "Q4_K", 256, 144),
            (13, "Q5_K", 256, 176),
            (14, "Q6_K", 256, 210),
            (16, "IQ2_XXS", 256, 66),
            (17, "IQ2_XS", 256, 74),
            (18, "IQ3_XXS", 256, 98),
            (19, "IQ1_S", 256, 50),
            (20, "IQ4_NL", 32, 18),
            (21, "IQ3_S", 256, 110),
            (22, "IQ2_S", 256, 82),
            (23, "IQ4_XS", 256, 136),
            (24, "I8", 1, 1),
            (25, "I16", 1, 2),
            (26, "I32", 1, 4),
            (27, "I64", 1, 8),
            (28, "F64", 1, 8),
            (29, "IQ1_M", 256, 56),
            (30, "BF16", 1, 2),
            (34, "TQ1_0", 256, 54),
            (35, "TQ2_0", 256, 66),
            (39, "MXFP4", 32, 17),
        )
    }
)
F32: Final = 0

Scalar = str | bool | int | float


@dataclass(frozen=True, slots=True)
class Field:
    """One metadata value. An array has type ARRAY, a tuple as `value`, and the type of its items as `item_type`."""

    type: ValueType
    value: Scalar | tuple[Scalar, ...]
    item_type: ValueType | None = None


@dataclass(frozen=True, slots=True)
class Tensor:
    """A tensor to write: its number in TENSOR_TYPES, its dimensions innermost first, and its bytes."""

    name: str
    type: int
    dimensions: tuple[int, ...]
    content: memoryview


def write_gguf(
    write: Callable[[bytes | memoryview], object], metadata: Mapping[str, Field], tensors: Sequence[Tensor]
) -> None:
    """Write a file, part by part, in the order given: the same input gives the same bytes.

    Raises GgufError when a tensor's bytes do not fit its shape, struct.error when a number does not fit its type.
    """
    parts = [MAGIC, struct.pack("<IQQ", VERSION, len(tensors), len(metadata))]
    for key, field in metadata.items():
        parts += [_string(key), struct.pack("<I", field.type), _value(field)]
    offset = 0
    for tensor in tensors:
        size_bytes = tensor_size_bytes(tensor.name, tensor.type, tensor.dimensions)
        if size_bytes != tensor.content.nbytes:
            raise GgufError(f"tensor {tensor.name} has {tensor.content.nbytes} bytes; its shape needs {size_bytes}")
        shape = struct.pack(f"<I{len(tensor.dimensions)}Q", len(tensor.dimensions), *tensor.dimensions)
        parts += [_string(tensor.name), shape, struct.pack("<IQ", tensor.type, offset)]
        offset += size_bytes + padding(size_bytes)
    header = b"".join(parts)
    write(header + bytes(padding(len(header))))
    for tensor in tensors:
        write(tensor.content)
        write(bytes(padding(tensor.content.nbytes)))


def padding(size_bytes: int, alignment: int = ALIGNMENT_BYTES) -> int:
    """Return how many bytes bring `size_bytes` up to a multiple of `alignment`."""
    return -size_bytes % alignment


def _string(text: str) -> bytes:
    encoded = text.encode()
    return struct.pack("<Q", len(encoded)) + encoded


def _value(field: Field) -> bytes:
    if field.type is not ValueType.ARRAY:
        return _scalar(field.type, field.value)
    if field.item_type is None or not isinstance(field.value, tuple):
        raise GgufError("an array needs a tuple and the type of its items")
    head = struct.pack("<IQ", field.item_type, len(field.value))
    return head + b"".join(_scalar(field.item_type, item) for item in field.value)


def _scalar(kind: ValueType, value: object) -> bytes:
    return _string(str(value)) if kind is ValueType.STRING else struct.pack("<" + LETTERS[kind], value)


def tensor_size_bytes(name: str, number: int, dimensions: tuple[int, ...]) -> int:
    """Return how many bytes a tensor takes; raises GgufTensorError for an unknown type or impossible dimensions."""
    kind = TENSOR_TYPES.get(number)
    if kind is None:
        raise GgufTensorError(f"tensor {name} has type {number}, which is not known here")
    if not 1 <= len(dimensions) <= DIMENSIONS_MAX or min(dimensions) < 1:
        raise GgufTensorError(
            f"tensor {name} has dimensions {dimensions}; 1 to {DIMENSIONS_MAX} of at least 1 are allowed"
        )
    if dimensions[0] % kind.items:
        raise GgufTensorError(
            f"tensor {name} has rows of {dimensions[0]} items; {kind.name} needs a multiple of {kind.items}"
        )
    return prod(dimensions) // kind.items * kind.block_bytes
