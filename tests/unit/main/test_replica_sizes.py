"""What replicas of this installation's models take: asked by digest, read once, refused where nobody knows."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from fastness.config import EngineSettings
from fastness.core.desired import Parameters
from fastness.core.model import ModelCard, ModelKind
from fastness.main.fit import ReplicaSizes
from fastness.registry.gguf import Field, Tensor, ValueType, write_gguf
from fastness.scheduling.fit import FitUnknown

CARD = ModelCard("small", ModelKind.CHAT, "ab" * 32, 1, "MIT", 128, 0)
NUMBERS = ("block_count", "context_length", "embedding_length", "feed_forward_length", "attention.head_count")


class Library:
    """Of a model library, where the weights are."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def weights(self, card: ModelCard) -> Path:
        return self._folder / f"{card.digest}.gguf"


def lay_down(folder: Path, architecture: str = "llama") -> None:
    metadata = {"general.architecture": Field(ValueType.STRING, architecture)}
    metadata |= {f"{architecture}.{key}": Field(ValueType.UINT32, 32) for key in NUMBERS}
    with (folder / f"{CARD.digest}.gguf").open("wb") as opened:
        write_gguf(opened.write, metadata, [Tensor("token_embd.weight", 0, (32, 1), memoryview(bytes(128)))])


@pytest.fixture
def sizes(tmp_path: Path) -> ReplicaSizes:
    return ReplicaSizes(Library(tmp_path))


def test_a_shape_is_read_once_and_goes_with_the_digest(tmp_path: Path, sizes: ReplicaSizes) -> None:
    lay_down(tmp_path)
    found = sizes.device_bytes(CARD, Parameters(), 1)
    (tmp_path / f"{CARD.digest}.gguf").unlink()
    assert sizes.device_bytes(CARD, Parameters(), 1) == found
    assert sizes.device_bytes(CARD, Parameters(slots=16), 1) > found


def test_the_card_says_what_a_model_is_for(tmp_path: Path, sizes: ReplicaSizes) -> None:
    lay_down(tmp_path)
    embedding = replace(CARD, kind=ModelKind.EMBEDDING, digest="cd" * 32)
    (tmp_path / f"{embedding.digest}.gguf").write_bytes((tmp_path / f"{CARD.digest}.gguf").read_bytes())
    assert sizes.device_bytes(embedding, Parameters(), 1) != sizes.device_bytes(CARD, Parameters(), 1)


def test_weights_that_are_laid_down_later_are_looked_at_then(tmp_path: Path, sizes: ReplicaSizes) -> None:
    assert not sizes.is_laid_down(CARD)
    with pytest.raises(FitUnknown, match="No such file"):
        sizes.device_bytes(CARD, Parameters(), 1)
    lay_down(tmp_path)
    assert sizes.is_laid_down(CARD)
    assert sizes.device_bytes(CARD, Parameters(), 1) > 0


def test_a_model_that_nobody_knows_is_refused_and_shown_without_a_size(tmp_path: Path, sizes: ReplicaSizes) -> None:
    lay_down(tmp_path, "mamba")
    for _ in range(2):
        with pytest.raises(FitUnknown, match="mamba"):
            sizes.device_bytes(CARD, Parameters(), 1)
    assert sizes.configured(EngineSettings())(CARD) is None


def test_a_model_is_shown_with_what_it_takes_as_configuration_runs_it(tmp_path: Path, sizes: ReplicaSizes) -> None:
    lay_down(tmp_path)
    few, many = (sizes.configured(EngineSettings(slots=slots))(CARD) for slots in (1, 8))
    assert few is not None and many is not None and few < many
