"""What the adapters of a replica take beside its model. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

LLAMACPP_COPIES: Final = 2
"""The verified copy in memory, and what the engine reads it into."""
ADAPTER_BYTES: Final = 1 << 20
"""What an adapter takes beside its numbers, at most: its tables, and the narrow product between its two matrices."""


def adapters_memory(sizes_bytes: Sequence[int]) -> int:
    """Return what adapters of these sizes take on each device of a replica, in bytes; the whole on each, at most."""
    return sum(LLAMACPP_COPIES * size_bytes + ADAPTER_BYTES for size_bytes in sizes_bytes)
