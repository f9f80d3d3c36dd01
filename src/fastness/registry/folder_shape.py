"""The shape of a model that is a folder: what its config.json says, and what its files of weights have."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any, Final

from fastness.core.model import ModelKind
from fastness.registry.safetensors import SafetensorsError, header_size_bytes, read_safetensors_header
from fastness.scheduling.fit import FitUnknown, ModelShape, WeightRole, Weights

CONFIG_BYTES_MAX: Final = 1_048_576
_LENGTH_BYTES: Final = 8
_BEYOND: Final = (
    "sliding_window",
    "num_local_experts",
    "num_experts",
    "n_routed_experts",
    "kv_lora_rank",
    "state_size",
)
"""What makes a model one that the formulas do not know."""


def folder_shape(folder: Path) -> ModelShape:
    """Return the shape of the model in `folder`; raises FitUnknown, saying what cannot be read."""
    try:
        with (folder / "config.json").open("rb") as opened:
            config = json.loads(opened.read(CONFIG_BYTES_MAX))
        files = sorted(folder.glob("*.safetensors"))
        return _shape(config.get("text_config", config), files)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, ZeroDivisionError, SafetensorsError) as error:
        if isinstance(error, FitUnknown):
            raise
        raise FitUnknown(f"the shape of the model in {folder} cannot be read: {error!r}. It is not placed.") from None


def _shape(config: dict[str, Any], files: list[Path]) -> ModelShape:
    for key in _BEYOND:
        if config.get(key) and (key != "sliding_window" or config.get("use_sliding_window", True)):
            raise FitUnknown(
                f"What a model with {key} takes is not known here. Say yourself what a replica takes on each device: "
                "device_bytes"
            )
    width, heads = _count(config, "hidden_size"), _count(config, "num_attention_heads")
    head = int(config.get("head_dim") or width // heads)
    return ModelShape(
        architecture=str(config["model_type"]),
        kind=ModelKind.CHAT,
        layers=_count(config, "num_hidden_layers"),
        embedding=width,
        heads=heads,
        kv_heads=int(config.get("num_key_value_heads") or heads),
        key_width=head,
        value_width=head,
        feed_forward=_count(config, "intermediate_size"),
        vocabulary=_count(config, "vocab_size"),
        merges=0,
        context_tokens=_count(config, "max_position_embeddings"),
        file_bytes=sum(file.stat().st_size for file in files),
        weights=_weights(files),
    )


def _count(config: dict[str, Any], key: str) -> int:
    number = config[key]
    if type(number) is not int or number < 1:
        raise ValueError(f"{key} is {number!r}; a whole number from 1 is needed")
    return number


def _weights(files: list[Path]) -> tuple[Weights, ...]:
    sizes: Counter[str] = Counter()
    for file in files:
        size_bytes = file.stat().st_size
        with file.open("rb") as opened:
            beginning = opened.read(_LENGTH_BYTES)
            beginning += opened.read(header_size_bytes(beginning, size_bytes) - _LENGTH_BYTES)
        for extent in read_safetensors_header(memoryview(beginning), size_bytes).tensors.values():
            sizes[extent.type] += extent.stop - extent.start
    if not sizes:
        raise ValueError("there are no weights in safetensors")
    return tuple(Weights(WeightRole.MATRIX, kind, size_bytes) for kind, size_bytes in sizes.items())
