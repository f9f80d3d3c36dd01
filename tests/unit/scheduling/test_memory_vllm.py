"""What vLLM takes: more for more slots, parted over devices, and never less than what is known to be there."""

from __future__ import annotations

from dataclasses import replace

import pytest

from fastness.core.desired import Parameters
from fastness.core.model import ModelKind
from fastness.scheduling.fit import FitUnknown, ModelShape, WeightRole, Weights
from fastness.scheduling.memory import replica_memory
from fastness.scheduling.memory_vllm import DEVICE_PART, context_blocks

GIB = 1 << 30
LLAMA_70B = ModelShape(
    "llama", ModelKind.CHAT, 80, 8_192, 64, 8, 128, 128, 28_672, 128_256, 0, 131_072, 141_000_000_000,
    (Weights(WeightRole.MATRIX, "BF16", 141_000_000_000),),
)  # fmt: skip
SERVED = Parameters(engine="vllm", slots=16, slot_context_tokens=8_192)


def test_blocks_hold_the_context_of_all_slots() -> None:
    assert context_blocks(4, 1_024) == 4 * 33 + 1
    assert context_blocks(1, 1) == 3


def test_a_model_of_seventy_billion_needs_four_large_devices_and_not_two() -> None:
    device = 80_000_000_000
    assert replica_memory(LLAMA_70B, SERVED, 2).device_bytes > device
    assert replica_memory(LLAMA_70B, SERVED, 4).device_bytes < device


def test_it_takes_only_a_part_of_a_device() -> None:
    found = replica_memory(LLAMA_70B, SERVED, 4)
    must_fit = (found.weights_bytes + found.kv_cache_bytes) / 4 + found.activation_bytes
    assert must_fit < DEVICE_PART * found.device_bytes


def test_on_the_processor_numbers_have_32_bits_and_the_verified_copy_stays() -> None:
    found = replica_memory(LLAMA_70B, SERVED, 0)
    assert found.weights_bytes == 3 * LLAMA_70B.file_bytes
    assert found.kv_cache_bytes == 2 * replica_memory(LLAMA_70B, SERVED, 1).kv_cache_bytes
    with pytest.raises(FitUnknown, match="F8_E4M3"):
        replica_memory(replace(LLAMA_70B, weights=(Weights(WeightRole.MATRIX, "F8_E4M3", 1),)), SERVED, 0)


def test_more_slots_take_more() -> None:
    sizes = [replica_memory(LLAMA_70B, replace(SERVED, slots=slots), 4).device_bytes for slots in (1, 8, 64)]
    assert sizes == sorted(set(sizes))


def test_a_cache_of_other_numbers_is_not_known() -> None:
    with pytest.raises(FitUnknown, match="q8_0"):
        replica_memory(LLAMA_70B, replace(SERVED, cache_type="q8_0"), 4)
