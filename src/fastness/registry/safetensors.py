"""Safetensors: a reader of the header and of views on the tensors, bounded and without copies.

The layout: eight bytes of header length (little-endian), a JSON object naming each tensor's type, shape and extent,
and the tensors' bytes, which must cover the rest of the file without hole or overlap.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from math import prod
from types import MappingProxyType
from typing import Any, Final

HEADER_BYTES_MAX: Final = 16_777_216
TENSORS_MAX: Final = 65_536
DIMENSIONS_MAX: Final = 8
ITEM_BYTES: Final = MappingProxyType(
    {"BOOL": 1, "U8": 1, "I8": 1, "U16": 2, "I16": 2, "F16": 2, "BF16": 2}
    | {"U32": 4, "I32": 4, "F32": 4, "U64": 8, "I64": 8, "F64": 8}
)
_METADATA: Final = "__metadata__"


class SafetensorsError(ValueError):
    """Not a safetensors file we accept; the message names the part, what came and what was allowed."""


@dataclass(frozen=True, slots=True)
class TensorView:
    """One tensor: its type (a key of ITEM_BYTES), its shape outermost first, and its bytes in the file."""

    type: str
    shape: tuple[int, ...]
    content: memoryview


def read_safetensors(content: memoryview) -> dict[str, TensorView]:
    """Read a whole file (typically mapped) as views into it, by name; raises SafetensorsError."""
    content = content.cast("B")
    if content.nbytes < 8:
        raise SafetensorsError(f"the file has {content.nbytes} bytes; even an empty one has 8")
    header_bytes = int.from_bytes(content[:8], "little")
    if header_bytes > min(HEADER_BYTES_MAX, content.nbytes - 8):
        raise SafetensorsError(
            f"the header has {header_bytes} bytes; the file has {content.nbytes} and {HEADER_BYTES_MAX} are allowed"
        )
    header = _header(bytes(content[8 : 8 + header_bytes]))
    body = content[8 + header_bytes :]
    extents = sorted((_extent(name, entry), name) for name, entry in header.items())
    end = 0
    for (start, stop), name in extents:
        if start != end:
            raise SafetensorsError(f"tensor {name} begins at {start}; the one before it ends at {end}")
        end = stop
    if end != body.nbytes:
        raise SafetensorsError(f"the tensors end at {end}; the file has {body.nbytes} bytes of tensors")
    return {
        name: TensorView(header[name]["dtype"], tuple(header[name]["shape"]), body[start:stop])
        for (start, stop), name in extents
    }


def _header(text: bytes) -> dict[str, Any]:
    try:
        header = json.loads(text, object_pairs_hook=_once)
    except SafetensorsError:
        raise
    except (ValueError, RecursionError) as error:
        raise SafetensorsError(f"the header is not JSON: {error}") from None
    if not isinstance(header, dict):
        raise SafetensorsError("the header is not a JSON object")
    header.pop(_METADATA, None)
    if len(header) > TENSORS_MAX:
        raise SafetensorsError(f"the file has {len(header)} tensors; {TENSORS_MAX} are allowed")
    return header


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise SafetensorsError("the header has the same name twice")
    return found


def _extent(name: str, entry: object) -> tuple[int, int]:
    if not isinstance(entry, dict) or entry.keys() != {"dtype", "shape", "data_offsets"}:
        raise SafetensorsError(f"tensor {name} needs dtype, shape and data_offsets, and nothing else")
    item_bytes = ITEM_BYTES.get(entry["dtype"]) if isinstance(entry["dtype"], str) else None
    if item_bytes is None:
        raise SafetensorsError(f"tensor {name} has type {entry['dtype']!r}; known are {', '.join(ITEM_BYTES)}")
    shape, offsets = entry["shape"], entry["data_offsets"]
    if not _are_counts(shape) or len(shape) > DIMENSIONS_MAX:
        raise SafetensorsError(f"tensor {name} has a shape that is not a list of up to {DIMENSIONS_MAX} counts")
    if not _are_counts(offsets) or len(offsets) != 2:
        raise SafetensorsError(f"tensor {name} has data_offsets that are not two counts")
    start, stop = offsets
    if stop - start != prod(shape) * item_bytes:
        raise SafetensorsError(f"tensor {name} has {stop - start} bytes; its shape needs {prod(shape) * item_bytes}")
    return start, stop


def _are_counts(value: object) -> bool:
    return isinstance(value, list) and all(type(item) is int and 0 <= item < 1 << 63 for item in value)
