"""What vLLM takes. Its weights and its KV cache are computed as it lays them out; the rest was measured.

On the processor the cache is as large as the slots need, since we say how many blocks it has. On graphics processors it
takes a part of each device when it starts, and what is left of that is cache: what is said here is then the least with
which all slots have their context.
"""

from __future__ import annotations

from typing import Final

from fastness.core.desired import Parameters
from fastness.core.model import ModelKind
from fastness.scheduling.fit import FitUnknown, MemoryEstimate, ModelShape, kv_token_layer_bytes

PROCESSOR_TIMES: Final = 2
CACHE_TYPE: Final = "f16"
"""Keys and values of 16 bits: what it has for a model of 16 bits, whatever kind these are."""
BLOCK_TOKENS: Final = 32
"""A block of its cache, as we start it: the smallest that its kernels for processors are made for."""
BATCH_TOKENS: Final = 2_048
"""Tokens computed at once, at most."""
FLOAT_BYTES: Final = 4
PROCESSES_BYTES: Final = 2_400 << 20
"""Python, torch and vLLM in its server, its scheduler and one worker."""
WORKER_BYTES: Final = 900 << 20
"""Of these, what each worker more takes."""
SLOT_BYTES: Final = 1 << 20
TOKEN_BYTES: Final = 1_200
"""A token of the vocabulary in the tables of three processes: the tokenizer's, and those of grammars."""


def context_blocks(slots: int, context_tokens: int) -> int:
    """Return the blocks of a cache in which all slots have their context: one more each, and the one it keeps empty."""
    return slots * (-(-context_tokens // BLOCK_TOKENS) + 1) + 1


def vllm_memory(shape: ModelShape, parameters: Parameters, devices: int) -> MemoryEstimate:
    """Return what one replica takes; raises FitUnknown for a cache type that it is not started with."""
    if parameters.cache_type != CACHE_TYPE:
        raise FitUnknown(
            f"what vLLM takes is known for keys and values of 16 bits, not for cache_type {parameters.cache_type}. "
            f"Leave cache_type out, or say {CACHE_TYPE}"
        )
    context = min(parameters.slot_context_tokens, shape.context_tokens)
    writes = shape.kind is ModelKind.CHAT
    tokens = context_blocks(parameters.slots, context) * BLOCK_TOKENS if writes else 0
    cache = PROCESSOR_TIMES * tokens * shape.layers * kv_token_layer_bytes(shape, CACHE_TYPE)
    batch = max(BATCH_TOKENS, context)
    widest = max(2 * shape.feed_forward, 3 * shape.heads * shape.key_width) + 4 * shape.embedding
    outputs = parameters.slots * shape.vocabulary * 3
    activations = FLOAT_BYTES * (batch * widest + outputs)
    overhead = PROCESSES_BYTES + shape.vocabulary * TOKEN_BYTES + parameters.slots * SLOT_BYTES
    # The verified copy in memory, and what the workers make of it.
    return MemoryEstimate(2 * shape.file_bytes, cache, activations, overhead + (devices - 1) * WORKER_BYTES, devices)
