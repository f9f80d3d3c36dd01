"""The values of fit: what memory depends on, how keys and values are stored, and what came out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from math import ceil
from types import MappingProxyType
from typing import Final

from fastness.core.model import ModelKind


class FitUnknown(ValueError):  # noqa: N818 - an outcome
    """Nobody can say what a replica takes, so it is not placed. The message says what is not known, and what to try."""


class WeightRole(StrEnum):
    """What a tensor is to the engine: it keeps a second copy of some, rearranged for the processor."""

    EMBEDDING = "embedding"
    OUTPUT = "output"
    MATRIX = "matrix"
    VECTOR = "vector"


@dataclass(frozen=True, slots=True)
class Weights:
    """Tensors of one role and one type of numbers, such as Q4_0, together."""

    role: WeightRole
    type: str
    size_bytes: int


@dataclass(frozen=True, slots=True)
class ModelShape:
    """What memory depends on, as the file of the weights says it.

    `embedding` and `feed_forward` are widths, `key_width` and `value_width` those of one head. `merges` are those of
    the tokenizer. `file_bytes` is the whole file: engines get a copy of it in memory.
    """

    architecture: str
    kind: ModelKind
    layers: int
    embedding: int
    heads: int
    kv_heads: int
    key_width: int
    value_width: int
    feed_forward: int
    vocabulary: int
    merges: int
    context_tokens: int
    file_bytes: int
    weights: tuple[Weights, ...]


@dataclass(frozen=True, slots=True)
class MemoryEstimate:
    """What one replica takes, in bytes. `device_bytes` is the most on one of its devices, `total_bytes` on all."""

    weights_bytes: int
    kv_cache_bytes: int
    activation_bytes: int
    overhead_bytes: int
    devices: int = 1

    @property
    def device_bytes(self) -> int:
        """Weights and cache are parted; every device has activations and the engine's own of itself."""
        return ceil((self.weights_bytes + self.kv_cache_bytes) / self.devices) + (
            self.activation_bytes + self.overhead_bytes
        )

    @property
    def total_bytes(self) -> int:
        """What all devices together lose."""
        return self.devices * self.device_bytes


@dataclass(frozen=True, slots=True)
class CacheType:
    """How keys and values are stored: blocks of `items` numbers in `block_bytes` bytes."""

    items: int
    block_bytes: int

    def row_bytes(self, numbers: int) -> int:
        """Return the size of so many numbers."""
        return numbers // self.items * self.block_bytes


CACHE_TYPES: Final[Mapping[str, CacheType]] = MappingProxyType(
    {
        "f16": CacheType(1, 2),
        "q8_0": CacheType(32, 34),
        "q5_1": CacheType(32, 24),
        "q5_0": CacheType(32, 22),
        "q4_1": CacheType(32, 20),
        "q4_0": CacheType(32, 18),
    }
)


def check_cache_type(name: str) -> CacheType:
    """Return how a type of KV cache is stored; raises FitUnknown for one that is not offered."""
    found = CACHE_TYPES.get(name)
    if found is None:
        raise FitUnknown(f"there is no cache type {name!r}; there are {', '.join(CACHE_TYPES)}")
    return found


def kv_token_layer_bytes(shape: ModelShape, cache_type: str) -> int:
    """Return the keys and values of one token in one layer; raises FitUnknown when they do not fill whole blocks."""
    kind = check_cache_type(cache_type)
    if shape.key_width % kind.items or shape.value_width % kind.items:
        raise FitUnknown(
            f"the cache type {cache_type} needs heads whose width is a multiple of {kind.items}; "
            f"this model's are {shape.key_width} and {shape.value_width} wide. Use cache_type f16"
        )
    return kind.row_bytes(shape.kv_heads * shape.key_width) + kind.row_bytes(shape.kv_heads * shape.value_width)
