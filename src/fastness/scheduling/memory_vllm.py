"""What vLLM takes. Weights and KV cache are computed as it lays them out; the rest was measured on the processor.

There (its build for tests) the cache is as large as the slots need, since we say so. On graphics processors
it takes a part of each device when it starts, and what is left of that is cache: what is said here is then the least
with which all slots have their context. That part was not measured: here is no such device.
"""

from __future__ import annotations

from typing import Final

from fastness.core.desired import Parameters
from fastness.core.model import ModelKind
from fastness.scheduling.fit import FitUnknown, MemoryEstimate, ModelShape, kv_token_layer_bytes

CACHE_TYPE: Final = "f16"
"""Keys and values of 16 bits, whatever kind these are; on the processor they have 32 all the same."""
BLOCK_TOKENS: Final = 32
"""A block of its cache, as we start it: the smallest that its kernels for processors are made for."""
DEVICE_PART: Final = 0.9
"""What part of a device it takes when it starts: all that is left after the weights becomes KV cache."""
BATCH_TOKENS: Final = 2_048
"""Tokens computed at once, at most."""
NUMBER_BYTES: Final = 4
"""Of activations, and on the processor of weights and of the cache too."""
WIDENED: Final = {"BF16": 2, "F16": 2, "F32": 1}
"""How much larger weights are in numbers of 32 bits."""
PROCESSES_BYTES: Final = 2_000 << 20
"""Python, torch and vLLM in its server, its scheduler and one worker."""
DEVICE_BYTES: Final = 2_000 << 20
"""What CUDA, torch and graphs take of each device: read, not measured."""
SLOT_BYTES: Final = 1 << 20
TOKEN_BYTES: Final = 1_200
"""A token of the vocabulary in the tables of three processes: the tokenizer's, and those of grammars."""


def context_blocks(slots: int, context_tokens: int) -> int:
    """Return the blocks of a cache in which all slots have their context: one more each, and the one it keeps empty."""
    return slots * (-(-context_tokens // BLOCK_TOKENS) + 1) + 1


def vllm_memory(shape: ModelShape, parameters: Parameters, devices: int) -> MemoryEstimate:
    """Return what one replica takes over `devices` devices, or on the processor (0).

    Raises FitUnknown for a cache type that it is not started with, and for weights of other numbers on the processor.
    """
    if parameters.cache_type != CACHE_TYPE:
        raise FitUnknown(
            f"what vLLM takes is known for keys and values of 16 bits, not for cache_type {parameters.cache_type}. "
            f"Leave cache_type out, or say {CACHE_TYPE}"
        )
    context = min(parameters.slot_context_tokens, shape.context_tokens)
    tokens = context_blocks(parameters.slots, context) * BLOCK_TOKENS if shape.kind is ModelKind.CHAT else 2 * context
    cache = tokens * shape.layers * kv_token_layer_bytes(shape, CACHE_TYPE)
    activations = _activations(shape, parameters.slots, context)
    if devices == 0:
        overhead = PROCESSES_BYTES + shape.vocabulary * TOKEN_BYTES + parameters.slots * SLOT_BYTES
        return MemoryEstimate(shape.file_bytes + _widened(shape), 2 * cache, activations, overhead)
    needed = MemoryEstimate(shape.file_bytes, cache, activations, DEVICE_BYTES, devices)
    spare = int(needed.device_bytes / DEVICE_PART) - needed.device_bytes
    return MemoryEstimate(shape.file_bytes, cache, activations, DEVICE_BYTES + spare, devices)


def _widened(shape: ModelShape) -> int:
    """What the worker makes of the verified copy in memory."""
    unknown = sorted({one.type for one in shape.weights} - WIDENED.keys())
    if unknown:
        raise FitUnknown(
            f"What weights of type {', '.join(unknown)} take on the processor is not known here. Say yourself what a "
            "replica takes: device_bytes"
        )
    return sum(one.size_bytes * WIDENED[one.type] for one in shape.weights)


def _activations(shape: ModelShape, slots: int, context: int) -> int:
    batch = max(BATCH_TOKENS, context)
    widest = max(2 * shape.feed_forward, 3 * shape.heads * shape.key_width) + 4 * shape.embedding
    return NUMBER_BYTES * (batch * widest + 3 * slots * shape.vocabulary)
