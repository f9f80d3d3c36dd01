"""What the adapters of a replica take beside its model. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil
from typing import Final

TIMES: Final = 2.5
"""The verified copy in memory, what llama.cpp reads it into, and what is left of reading it (measured: 2.2 to 2.4)."""
ADAPTER_BYTES: Final = 2 << 20
"""What an adapter takes beside its numbers, at most: its tables, and the narrow product between its two matrices."""
VLLM_TIMES: Final = 24
"""vLLM makes room for every layer that an adapter could change, at a rank rounded up, on the device and beside it.

An adapter of queries and values alone, of rank 4, is a tenth of that room in the starter model.
"""
VLLM_ADAPTER_BYTES: Final = 16 << 20


def adapters_memory(sizes_bytes: Sequence[int], engine: str = "llamacpp") -> int:
    """Return what adapters of these sizes take on each device of a replica, in bytes; the whole on each, at most."""
    times, each = (VLLM_TIMES, VLLM_ADAPTER_BYTES) if engine == "vllm" else (TIMES, ADAPTER_BYTES)
    return sum(ceil(times * size_bytes) + each for size_bytes in sizes_bytes)
