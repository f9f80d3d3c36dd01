"""What a replica takes: by hand for one model, and laws for all. Held to the real engine in test_fit_measured.py."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastness.core.desired import Parameters
from fastness.core.model import ModelKind
from fastness.scheduling.fit import CACHE_TYPES, FitUnknown, ModelShape, WeightRole, Weights
from fastness.scheduling.memory import paged_cache_tokens, replica_memory

MIB = 1 << 20
SMOLLM2 = ModelShape(
    architecture="llama",
    kind=ModelKind.CHAT,
    layers=30,
    embedding=576,
    heads=9,
    kv_heads=3,
    key_width=64,
    value_width=64,
    feed_forward=1_536,
    vocabulary=49_152,
    merges=48_900,
    context_tokens=8_192,
    file_bytes=98_362_432,
    weights=(
        Weights(WeightRole.EMBEDDING, "Q8_0", 30_081_024),
        Weights(WeightRole.MATRIX, "Q4_1", 66_355_200),
        Weights(WeightRole.VECTOR, "F32", 140_544),
    ),
)
PARAMETERS = st.builds(
    Parameters,
    slots=st.integers(1, 64),
    slot_context_tokens=st.integers(128, 16_384),
    threads=st.integers(1, 64),
    cache_type=st.sampled_from(sorted(CACHE_TYPES)),
)


def test_the_cache_is_layers_times_heads_times_widths_times_context_times_slots_times_bytes() -> None:
    found = replica_memory(SMOLLM2, Parameters(slots=8, slot_context_tokens=2_048))
    assert found.kv_cache_bytes == 30 * 3 * (64 + 64) * 2_048 * 8 * 2 == 360 * MIB
    assert found.weights_bytes == SMOLLM2.file_bytes


def test_a_cache_of_eight_bits_takes_34_64ths() -> None:
    full = replica_memory(SMOLLM2, Parameters(cache_type="f16")).kv_cache_bytes
    assert replica_memory(SMOLLM2, Parameters(cache_type="q8_0")).kv_cache_bytes * 64 == full * 34


def test_contexts_are_rounded_up_as_the_engine_does_and_end_with_the_model() -> None:
    def cache(context: int) -> int:
        return replica_memory(SMOLLM2, Parameters(slot_context_tokens=context)).kv_cache_bytes

    assert cache(300) == cache(512) > cache(256)
    assert cache(9_000) == cache(8_192)


def test_weights_that_the_engine_rearranges_are_held_twice() -> None:
    rearranged = tuple(replace(one, type="Q4_0") if one.type == "Q4_1" else one for one in SMOLLM2.weights)
    found = replica_memory(replace(SMOLLM2, weights=rearranged), Parameters())
    assert found.weights_bytes == SMOLLM2.file_bytes + 66_355_200


def test_the_embedding_is_rearranged_too_where_it_is_also_the_output() -> None:
    embedding = (Weights(WeightRole.EMBEDDING, "Q4_0", 100), Weights(WeightRole.MATRIX, "Q8_0", 1))
    tied = replica_memory(replace(SMOLLM2, weights=embedding), Parameters())
    untied = replica_memory(replace(SMOLLM2, weights=(*embedding, Weights(WeightRole.OUTPUT, "Q8_0", 1))), Parameters())
    assert tied.weights_bytes - untied.weights_bytes == 100


def test_an_encoder_keeps_no_cache_and_reads_whole_texts() -> None:
    encoder = replace(SMOLLM2, architecture="bert", kind=ModelKind.EMBEDDING, context_tokens=2_048)
    short, long = (replica_memory(encoder, Parameters(slot_context_tokens=tokens)) for tokens in (512, 2_048))
    assert short.kv_cache_bytes == long.kv_cache_bytes == 0
    assert long.activation_bytes > 4 * short.activation_bytes - MIB


@given(PARAMETERS)
def test_more_slots_context_or_threads_never_take_less(parameters: Parameters) -> None:
    found = replica_memory(SMOLLM2, parameters).total_bytes
    for more in (
        replace(parameters, slots=parameters.slots + 1),
        replace(parameters, slot_context_tokens=parameters.slot_context_tokens + 1),
        replace(parameters, threads=parameters.threads + 1),
    ):
        assert replica_memory(SMOLLM2, more).total_bytes >= found


@given(PARAMETERS, st.integers(1, 64))
def test_over_several_devices_each_takes_less_and_all_together_no_less(parameters: Parameters, devices: int) -> None:
    one, parted = replica_memory(SMOLLM2, parameters), replica_memory(SMOLLM2, parameters, devices)
    assert one.device_bytes == one.total_bytes
    assert parted.device_bytes <= one.device_bytes
    assert parted.total_bytes >= one.total_bytes
    assert parted.device_bytes >= one.activation_bytes + one.overhead_bytes


def test_what_nobody_knows_is_refused_and_never_a_small_number() -> None:
    with pytest.raises(FitUnknown, match=r"architecture 'mamba'.*llama, .*device_bytes"):
        replica_memory(replace(SMOLLM2, architecture="mamba"), Parameters())
    with pytest.raises(FitUnknown, match=r"engine other.*device_bytes"):
        replica_memory(SMOLLM2, Parameters(engine="other"))
    with pytest.raises(FitUnknown, match=r"no cache type 'q3_k'; there are f16, q8_0"):
        replica_memory(SMOLLM2, Parameters(cache_type="q3_k"))
    with pytest.raises(FitUnknown, match=r"multiple of 32; this model's are 80 .*f16"):
        replica_memory(replace(SMOLLM2, key_width=80), Parameters(cache_type="q8_0"))
    with pytest.raises(FitUnknown, match="-1 devices"):
        replica_memory(SMOLLM2, Parameters(), -1)


def test_a_paged_cache_has_the_blocks_that_are_left_of_its_part_of_the_device() -> None:
    # Llama 3.1 8B in 16 bits on 80 GiB: 128 KiB a token, 16 tokens a block.
    llama = replace(SMOLLM2, layers=32, heads=32, kv_heads=8, key_width=128, value_width=128)
    tokens = paged_cache_tokens(80 << 30, 0.9, 20 << 30, llama, "f16")
    assert tokens == ((72 << 30) - (20 << 30)) // (16 * 131_072) * 16 == 425_984


@given(st.integers(0, 1 << 40), st.floats(0.0, 1.0), st.integers(0, 1 << 40))
def test_a_paged_cache_never_goes_beyond_its_part(device_bytes: int, utilisation: float, resident_bytes: int) -> None:
    tokens = paged_cache_tokens(device_bytes, utilisation, resident_bytes, SMOLLM2, "f16")
    used = tokens * 30 * 3 * 128 * 2
    assert tokens == 0 or resident_bytes + used <= device_bytes * utilisation
