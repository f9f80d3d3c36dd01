"""A model that is a folder: named by all of its files together, and handed out as copies that nobody can change."""

from __future__ import annotations

import json
import os
import struct
from pathlib import Path

import pytest

from fastness.core.file_list import folder_digest
from fastness.core.model import ModelCard, ModelKind
from fastness.registry.folder import digest_of_folder, files_in
from fastness.registry.folder_shape import folder_shape
from fastness.registry.library import ModelRefused, ModelUnavailable
from fastness.registry.sealed_copy import path_of, sealed_copies
from fastness.scheduling.fit import FitUnknown

CONFIG = {
    "model_type": "llama",
    "hidden_size": 576,
    "num_attention_heads": 9,
    "num_key_value_heads": 3,
    "num_hidden_layers": 30,
    "intermediate_size": 1536,
    "vocab_size": 49152,
    "max_position_embeddings": 8192,
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "model"
    (folder / "1_Pooling").mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(CONFIG))
    (folder / "1_Pooling/config.json").write_text("{}")
    header = json.dumps({"w": {"dtype": "BF16", "shape": [4, 8], "data_offsets": [0, 64]}}).encode()
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", len(header)) + header + bytes(64))
    return folder


def card(folder: Path) -> ModelCard:
    size = sum((folder / one).stat().st_size for one in files_in(folder))
    return ModelCard("m", ModelKind.CHAT, digest_of_folder(folder), size, "MIT", 8_192, 0, format="safetensors")


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def test_the_name_depends_on_every_path_and_every_byte(folder: Path) -> None:
    first = digest_of_folder(folder)
    (folder / "config.json").rename(folder / "other.json")
    second = digest_of_folder(folder)
    (folder / "model.safetensors").write_bytes(b"x")
    assert len({first, second, digest_of_folder(folder)}) == 3
    assert folder_digest([("b", "1"), ("a", "2")]) == folder_digest([("a", "2"), ("b", "1")])


def test_every_file_is_copied_and_nobody_can_write_to_it(folder: Path) -> None:
    copies = sealed_copies(card(folder), folder)
    try:
        assert list(copies) == ["1_Pooling/config.json", "config.json", "model.safetensors"]
        for name, descriptor in copies.items():
            assert path_of(descriptor).read_bytes() == (folder / name).read_bytes()
            with pytest.raises(OSError, match="not permitted"):
                os.write(descriptor, b"x")
    finally:
        for descriptor in copies.values():
            os.close(descriptor)


@pytest.mark.parametrize("how", ["changed", "another", "fewer", "link"])
def test_what_is_not_as_it_was_admitted_is_refused_and_nothing_stays_open(folder: Path, how: str) -> None:
    admitted, before = card(folder), descriptors()
    if how == "changed":
        text = (folder / "config.json").read_text()
        (folder / "config.json").write_text(text.replace("8192", "8193"))
    elif how == "another":
        (folder / "extra.json").write_text("{}")
    elif how == "fewer":
        (folder / "1_Pooling/config.json").unlink()
    else:
        (folder / "config.json").rename(folder.parent / "elsewhere")
        (folder / "config.json").symlink_to(folder.parent / "elsewhere")
    with pytest.raises((ModelRefused, ModelUnavailable)):
        sealed_copies(admitted, folder)
    assert descriptors() == before


def test_its_shape_is_what_its_configuration_and_its_weights_say(folder: Path) -> None:
    shape = folder_shape(folder)
    assert (shape.layers, shape.kv_heads, shape.key_width, shape.vocabulary) == (30, 3, 64, 49_152)
    assert [(one.type, one.size_bytes) for one in shape.weights] == [("BF16", 64)]


@pytest.mark.parametrize(
    "wrong", [{"num_local_experts": 8}, {"hidden_size": 0}, {"model_type": None, "vocab_size": "x"}]
)
def test_a_model_that_the_formulas_do_not_know_has_no_shape(folder: Path, wrong: dict[str, object]) -> None:
    (folder / "config.json").write_text(json.dumps(CONFIG | wrong))
    with pytest.raises(FitUnknown):
        folder_shape(folder)
