"""The headers of weights, both formats in one shape. The weights themselves are hashed and never held."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import prod
from types import MappingProxyType
from typing import Final

from fastness.registry.gguf import Field, GgufError, GgufTensorError, Scalar, ValueType
from fastness.registry.gguf_reader import GgufCutError, read_gguf
from fastness.registry.inspection.naming import Part
from fastness.registry.inspection.opened import Opened
from fastness.registry.inspection.port import ArtefactRefused, TensorOutline
from fastness.registry.safetensors import (
    LENGTH_BYTES,
    SafetensorsError,
    SafetensorsTensorError,
    header_size_bytes,
    read_safetensors_header,
)

BEGINNING_BYTES: Final = 4 << 20
"""How much of a GGUF file is read first; its header says when it needs more."""


@dataclass(frozen=True, slots=True)
class Metadata:
    """What a GGUF header says beside its tensors, read by key and type; every miss is a refusal."""

    file: str
    fields: Mapping[str, Field]

    def text(self, key: str, default: str | None = None) -> str:
        """Return a text; raises ArtefactRefused when it is of another type, or absent without a default."""
        if key not in self.fields and default is not None:
            return default
        field = self.fields.get(key)
        if field is None or not isinstance(field.value, str):
            raise self.refused(key, "a text")
        return field.value

    def count(self, key: str, low: int, high: int) -> int:
        """Return an unsigned integer from `low` to `high`; raises ArtefactRefused."""
        field = self.fields.get(key)
        value = None if field is None else field.value
        if type(value) is not int or not low <= value <= high:
            raise self.refused(key, f"a whole number from {low} to {high}")
        return value

    def items(self, key: str, kind: ValueType) -> tuple[Scalar, ...] | None:
        """Return an array whose items have type `kind`, or None when it is absent; raises ArtefactRefused."""
        field = self.fields.get(key)
        if field is None:
            return None
        if not isinstance(field.value, tuple) or field.item_type is not kind:
            raise self.refused(key, f"an array of {kind.name}")
        return field.value

    def refused(self, key: str, needed: str) -> ArtefactRefused:
        """Say that `key` is not what it needs to be."""
        field = self.fields.get(key)
        came = "absent" if field is None else f"{field.type.name} {str(field.value)[:60]!r}"
        return ArtefactRefused("model.metadata", f"{key} needs to be {needed}; it is {came}", self.file)


@dataclass(frozen=True, slots=True)
class Header:
    """What one file of weights says of itself. `types` counts the tensors of each type."""

    file: str
    metadata: Metadata
    tensors: tuple[TensorOutline, ...]
    types: Mapping[str, int]

    @property
    def parameters(self) -> int:
        """How many numbers the tensors hold."""
        return sum(prod(tensor.shape) for tensor in self.tensors)


def read_header(opened: Opened, part: Part) -> Header:
    """Read and check the header of a file of weights; raises ArtefactRefused."""
    header = _gguf(opened) if part is Part.GGUF else _safetensors(opened)
    if not header.tensors:
        raise ArtefactRefused(f"{part}.tensor", "has no tensors", opened.path)
    return header


def _gguf(opened: Opened) -> Header:
    size_bytes = BEGINNING_BYTES
    while True:
        try:
            found = read_gguf(memoryview(opened.beginning(size_bytes)), opened.size_bytes)
            break
        except GgufCutError:  # ends: past the most a header may have, it is another error
            size_bytes *= 4
        except GgufTensorError as error:
            raise ArtefactRefused("gguf.tensor", str(error), opened.path) from None
        except GgufError as error:
            raise ArtefactRefused("gguf.header", str(error), opened.path) from None
    tensors = tuple(TensorOutline(tensor.name, tensor.dimensions[::-1]) for tensor in found.tensors)
    types = _counted(tensor.type.name for tensor in found.tensors)
    return Header(opened.path, Metadata(opened.path, found.metadata), tensors, types)


def _safetensors(opened: Opened) -> Header:
    try:
        size_bytes = header_size_bytes(opened.beginning(LENGTH_BYTES), opened.size_bytes)
        found = read_safetensors_header(memoryview(opened.beginning(size_bytes)), opened.size_bytes)
    except SafetensorsTensorError as error:
        raise ArtefactRefused("safetensors.tensor", str(error), opened.path) from None
    except SafetensorsError as error:
        raise ArtefactRefused("safetensors.header", str(error), opened.path) from None
    tensors = tuple(TensorOutline(name, extent.shape) for name, extent in found.tensors.items())
    types = _counted(extent.type for extent in found.tensors.values())
    return Header(opened.path, Metadata(opened.path, MappingProxyType({})), tensors, types)


def _counted(types: Iterable[str]) -> Mapping[str, int]:
    return MappingProxyType(dict(Counter(types).most_common()))
