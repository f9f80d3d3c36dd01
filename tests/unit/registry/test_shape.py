"""The shape of a model is read from its header, or it is said why not: nothing is guessed."""

from __future__ import annotations

import struct
from dataclasses import replace
from pathlib import Path

import pytest

from fastness.core.model import ModelKind
from fastness.registry.gguf import Field, Tensor, ValueType, write_gguf
from fastness.registry.shape import model_shape
from fastness.scheduling.fit import FitUnknown, ModelShape, WeightRole, Weights

HONEST: dict[str, int] = {
    "block_count": 2,
    "context_length": 128,
    "embedding_length": 32,
    "feed_forward_length": 64,
    "attention.head_count": 4,
    "attention.head_count_kv": 2,
}


def written(folder: Path, numbers: dict[str, int], name: str = "llama") -> Path:
    metadata = {"general.architecture": Field(ValueType.STRING, name)}
    metadata |= {f"{name}.{key}": Field(ValueType.UINT32, number) for key, number in numbers.items()}
    metadata["tokenizer.ggml.tokens"] = Field(ValueType.ARRAY, ("a", "b", "c"), ValueType.STRING)
    metadata["tokenizer.ggml.merges"] = Field(ValueType.ARRAY, ("a b",), ValueType.STRING)
    tensors = [
        Tensor("token_embd.weight", 8, (32, 3), memoryview(bytes(3 * 34))),
        Tensor("blk.0.attn_norm.weight", 0, (32,), memoryview(struct.pack("<32f", *[1.0] * 32))),
        Tensor("blk.0.attn_q.weight", 2, (32, 32), memoryview(bytes(32 * 18))),
        Tensor("blk.0.attn_k.weight", 2, (32, 16), memoryview(bytes(16 * 18))),
        Tensor("output.weight", 8, (32, 3), memoryview(bytes(3 * 34))),
    ]
    file = folder / "model.gguf"
    with file.open("wb") as opened:
        write_gguf(opened.write, metadata, tensors)
    return file


def test_a_shape_is_what_the_header_says_with_weights_by_role_and_type(tmp_path: Path) -> None:
    file = written(tmp_path, HONEST)
    assert model_shape(file) == ModelShape(
        architecture="llama",
        kind=ModelKind.CHAT,
        layers=2,
        embedding=32,
        heads=4,
        kv_heads=2,
        key_width=8,
        value_width=8,
        feed_forward=64,
        vocabulary=3,
        merges=1,
        context_tokens=128,
        file_bytes=file.stat().st_size,
        weights=(
            Weights(WeightRole.EMBEDDING, "Q8_0", 102),
            Weights(WeightRole.VECTOR, "F32", 128),
            Weights(WeightRole.MATRIX, "Q4_0", 864),
            Weights(WeightRole.OUTPUT, "Q8_0", 102),
        ),
    )


def test_heads_may_have_a_width_of_their_own(tmp_path: Path) -> None:
    wide = written(tmp_path, HONEST | {"attention.key_length": 16, "attention.value_length": 12})
    assert (model_shape(wide).key_width, model_shape(wide).value_width) == (16, 12)


def test_without_a_count_of_its_own_there_are_as_many_kv_heads_as_heads(tmp_path: Path) -> None:
    file = written(tmp_path, {key: number for key, number in HONEST.items() if key != "attention.head_count_kv"})
    assert model_shape(file).kv_heads == 4


def test_a_model_that_pools_is_for_embedding(tmp_path: Path) -> None:
    assert model_shape(written(tmp_path, HONEST | {"pooling_type": 1}, "bert")).kind is ModelKind.EMBEDDING


@pytest.mark.parametrize("key", sorted(HONEST.keys() - {"attention.head_count_kv"}))
def test_a_header_that_leaves_a_number_out_or_at_zero_is_refused_and_nothing_is_assumed(
    tmp_path: Path, key: str
) -> None:
    for numbers in ({one: number for one, number in HONEST.items() if one != key}, HONEST | {key: 0}):
        with pytest.raises(FitUnknown, match=rf"{key}.*It is not placed"):
            model_shape(written(tmp_path, numbers))


@pytest.mark.parametrize("key", ["expert_count", "attention.sliding_window", "ssm.state_size"])
def test_a_model_with_state_that_the_formulas_do_not_know_is_refused(tmp_path: Path, key: str) -> None:
    with pytest.raises(FitUnknown, match=rf"llama\.{key} .*device_bytes"):
        model_shape(written(tmp_path, HONEST | {key: 8}))


def test_a_file_that_is_no_model_is_refused(tmp_path: Path) -> None:
    for content in (b"", b"GGUF", b"nothing of the kind"):
        (tmp_path / "x").write_bytes(content)
        with pytest.raises(FitUnknown, match="cannot be read"):
            model_shape(tmp_path / "x")
    with pytest.raises(FitUnknown, match="No such file"):
        model_shape(tmp_path / "absent")


def test_the_kind_may_be_said_by_who_knows_better(tmp_path: Path) -> None:
    assert replace(model_shape(written(tmp_path, HONEST)), kind=ModelKind.EMBEDDING).kind is ModelKind.EMBEDDING
