"""Safetensors: a reader of the header and of views on the tensors, bounded and without copies.

The layout: eight bytes of header length (little-endian), a JSON object naming each tensor's type, shape and extent,
and the tensors' bytes, which must cover the rest of the file without hole or overlap.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from types import MappingProxyType
from typing import Any, Final

LENGTH_BYTES: Final = 8
HEADER_BYTES_MAX: Final = 16_777_216
NAME_BYTES_MAX: Final = 255
TENSORS_MAX: Final = 65_536
DIMENSIONS_MAX: Final = 8
ITEM_BYTES: Final = MappingProxyType(
    {"BOOL": 1, "U8": 1, "I8": 1, "F8_E4M3": 1, "F8_E5M2": 1, "U16": 2, "I16": 2, "F16": 2, "BF16": 2}
    | {"U32": 4, "I32": 4, "F32": 4, "U64": 8, "I64": 8, "F64": 8}
)
_METADATA: Final = "__metadata__"


class SafetensorsError(ValueError):
    """Not a safetensors file we accept; the message names the part, what came and what was allowed."""


class SafetensorsTensorError(SafetensorsError):
    """A tensor has an unknown type or an impossible shape, or does not lie where it must."""


@dataclass(frozen=True, slots=True)
class TensorExtent:
    """Where a tensor lies: its type, its shape outermost first, and where it starts and stops, after the header."""

    type: str
    shape: tuple[int, ...]
    start: int
    stop: int


@dataclass(frozen=True, slots=True)
class SafetensorsHeader:
    """All of a file but its weights: tensors by name in the order they lie, free metadata, and the header's length."""

    tensors: Mapping[str, TensorExtent]
    metadata: Mapping[str, str]
    data_offset: int


@dataclass(frozen=True, slots=True)
class TensorView:
    """One tensor: its type (a key of ITEM_BYTES), its shape outermost first, and its bytes in the file."""

    type: str
    shape: tuple[int, ...]
    content: memoryview


def read_safetensors(content: memoryview) -> dict[str, TensorView]:
    """Read a whole file (typically mapped) as views into it, by name; raises SafetensorsError."""
    content = content.cast("B")
    header = read_safetensors_header(content, content.nbytes)
    body = content[header.data_offset :]
    return {
        name: TensorView(extent.type, extent.shape, body[extent.start : extent.stop])
        for name, extent in header.tensors.items()
    }


def header_size_bytes(beginning: bytes | memoryview, size_bytes: int) -> int:
    """Return where the tensors of a file of `size_bytes` begin, from its first eight bytes; raises SafetensorsError."""
    if size_bytes < LENGTH_BYTES:
        raise SafetensorsError(f"the file has {size_bytes} bytes; even an empty one has {LENGTH_BYTES}")
    header_bytes = int.from_bytes(beginning[:LENGTH_BYTES], "little")
    if header_bytes > min(HEADER_BYTES_MAX, size_bytes - LENGTH_BYTES):
        raise SafetensorsError(
            f"the header has {header_bytes} bytes; the file has {size_bytes} and {HEADER_BYTES_MAX} are allowed"
        )
    return LENGTH_BYTES + header_bytes


def read_safetensors_header(beginning: memoryview, size_bytes: int) -> SafetensorsHeader:
    """Read the header of a file of `size_bytes` from as much of its beginning as `header_size_bytes` says.

    Raises SafetensorsError.
    """
    data_offset = header_size_bytes(beginning, size_bytes)
    header, metadata = _header(bytes(beginning[LENGTH_BYTES:data_offset]))
    extents = {name: _extent(name, entry) for name, entry in header.items()}
    tensors = dict(sorted(extents.items(), key=lambda item: (item[1].start, item[1].stop, item[0])))
    end, body_bytes = 0, size_bytes - data_offset
    for name, extent in tensors.items():
        if extent.start != end:
            raise SafetensorsTensorError(f"tensor {name} begins at {extent.start}; the one before it ends at {end}")
        end = extent.stop
    if end != body_bytes:
        raise SafetensorsTensorError(f"the tensors end at {end}; the file has {body_bytes} bytes of tensors")
    return SafetensorsHeader(MappingProxyType(tensors), MappingProxyType(metadata), data_offset)


def _header(text: bytes) -> tuple[dict[str, Any], dict[str, str]]:
    if text[:1] != b"{":
        raise SafetensorsError(f"the header is not a JSON object: it begins with {text[:1]!r}")
    try:
        header = json.loads(text.decode(), object_pairs_hook=_once, parse_constant=_no_constant)
    except SafetensorsError:
        raise
    except (ValueError, RecursionError) as error:
        raise SafetensorsError(f"the header is not JSON: {error}") from None
    metadata = header.pop(_METADATA, {})
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise SafetensorsError(f"{_METADATA} is not an object of strings")
    if len(header) > TENSORS_MAX:
        raise SafetensorsError(f"the file has {len(header)} tensors; {TENSORS_MAX} are allowed")
    for name in header:
        if not (name.isascii() and name.isprintable()) or not 1 <= len(name) <= NAME_BYTES_MAX:
            raise SafetensorsError(f"a tensor's name is {name[:80]!r}; up to {NAME_BYTES_MAX} printable ASCII bytes")
    return header, metadata


def _no_constant(text: str) -> None:
    raise SafetensorsError(f"the header has {text}, which JSON does not have")


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise SafetensorsError("the header has the same name twice")
    return found


def _extent(name: str, entry: object) -> TensorExtent:
    if not isinstance(entry, dict) or entry.keys() != {"dtype", "shape", "data_offsets"}:
        raise SafetensorsTensorError(f"tensor {name} needs dtype, shape and data_offsets, and nothing else")
    item_bytes = ITEM_BYTES.get(entry["dtype"]) if isinstance(entry["dtype"], str) else None
    if item_bytes is None:
        raise SafetensorsTensorError(f"tensor {name} has type {entry['dtype']!r}; known are {', '.join(ITEM_BYTES)}")
    shape, offsets = entry["shape"], entry["data_offsets"]
    if not _are_counts(shape) or len(shape) > DIMENSIONS_MAX:
        raise SafetensorsTensorError(f"tensor {name} has a shape that is not a list of up to {DIMENSIONS_MAX} counts")
    if not _are_counts(offsets) or len(offsets) != 2:
        raise SafetensorsTensorError(f"tensor {name} has data_offsets that are not two counts")
    start, stop = offsets
    if stop - start != (needed := prod(shape) * item_bytes):
        raise SafetensorsTensorError(f"tensor {name} has {stop - start} bytes; its shape needs {needed}")
    return TensorExtent(entry["dtype"], tuple(shape), start, stop)


def _are_counts(value: object) -> bool:
    return isinstance(value, list) and all(type(item) is int and 0 <= item < 1 << 63 for item in value)
