"""How much memory a replica takes: weights, KV cache, activations, and the engine itself. Never less than it can take.

What it takes is what the node has less of while the replica runs, once every buffer was used to its end; where that
depends on what callers do, the most. docs/explanation/fit.md says how it was measured.
"""

from __future__ import annotations

from typing import Final

from fastness.core.desired import Parameters
from fastness.scheduling.fit import FitUnknown, MemoryEstimate, ModelShape, kv_token_layer_bytes
from fastness.scheduling.memory_llamacpp import llamacpp_memory
from fastness.scheduling.memory_vllm import vllm_memory

FAKE: Final = "fake"
FAKE_BYTES: Final = 96 << 20
FAKE_TOKEN_BYTES: Final = 16
"""What the engine of trials takes: Python, and the blocks of prompts that it remembers. Bounds, not measured ones."""


def replica_memory(shape: ModelShape, parameters: Parameters, devices: int = 1) -> MemoryEstimate:
    """Return what one replica takes over `devices` devices (0: a slot of the processor); raises FitUnknown."""
    if parameters.engine == "vllm":
        return vllm_memory(shape, parameters, devices)
    devices = devices or 1
    if devices < 1:
        raise FitUnknown(f"a replica on {devices} devices takes nothing that anybody knows; it needs at least 1")
    if parameters.engine == FAKE:
        told = parameters.slots * parameters.slot_context_tokens * FAKE_TOKEN_BYTES
        return MemoryEstimate(shape.file_bytes, 0, told, FAKE_BYTES, devices)
    if parameters.engine != "llamacpp":
        raise FitUnknown(
            f"What a replica takes on the engine {parameters.engine} is not known here; it is for llamacpp and vllm. "
            "Say yourself what one takes on each device: device_bytes"
        )
    return llamacpp_memory(shape, parameters, devices)


def paged_cache_tokens(
    device_bytes: int,
    utilisation: float,
    resident_bytes: int,
    shape: ModelShape,
    cache_type: str,
    block_tokens: int = 16,
) -> int:
    """Return how many tokens fit into a paged KV cache, as engines do that take a part of a device when they start.

    Of `device_bytes` times `utilisation`, `resident_bytes` are weights, activations and the engine; the rest is cut
    into blocks of `block_tokens`. 0 when not even one fits. It is arithmetic: no such engine was measured here.
    """
    block_bytes = block_tokens * shape.layers * kv_token_layer_bytes(shape, cache_type)
    return max(0, int(device_bytes * utilisation) - resident_bytes) // block_bytes * block_tokens
