"""Small LoRA adapters for the starter model, which no package has: random matrices on queries and values."""

from __future__ import annotations

import json
import random
import struct
from array import array
from collections.abc import Iterator
from pathlib import Path

LAYERS, WIDTH, VALUES = 30, 576, 192
"""Of SmolLM2-135M: its layers, what goes into a query or value, and what comes out of a value."""
RANK, ALPHA = 4, 8.0
NAME = "SmolLM2 135M Instruct"
_ALIGNMENT = 32


def gguf_lora(path: Path, seed: int = 1, strength: float = 0.1, base_name: str = NAME) -> Path:
    """Write one in GGUF; `strength` is the deviation of its numbers: at 0.1 the model says something else."""
    head = b"".join(
        (
            _text("general.architecture", "llama"),
            _text("general.type", "adapter"),
            _text("adapter.type", "lora"),
            _string("adapter.lora.alpha") + struct.pack("<If", 6, ALPHA),
            _text("general.base_model.0.name", base_name),
        )
    )
    outlines, bodies, at = [], [], 0
    for name, rows, columns, content in _tensors(seed, strength):
        layer, half = name
        outlines.append(
            _string(f"blk.{layer}.attn_{half[0]}.weight.lora_{half[1]}")
            + struct.pack("<IQQIQ", 2, columns, rows, 0, at)
        )
        bodies.append(content + bytes(-len(content) % _ALIGNMENT))
        at += len(bodies[-1])
    parts = b"GGUF" + struct.pack("<IQQ", 3, len(outlines), 5) + head + b"".join(outlines)
    path.write_bytes(parts + bytes(-len(parts) % _ALIGNMENT) + b"".join(bodies))
    return path


def peft_lora(folder: Path, seed: int = 1, strength: float = 0.1, base_name: str = NAME) -> Path:
    """Write one as PEFT does: a folder with a configuration and safetensors."""
    folder.mkdir(parents=True)
    config = {
        "peft_type": "LORA",
        "r": RANK,
        "lora_alpha": ALPHA,
        "lora_dropout": 0.0,
        "bias": "none",
        "target_modules": ["q_proj", "v_proj"],
        "base_model_name_or_path": base_name,
        "task_type": "CAUSAL_LM",
    }
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    bodies, at = [], 0
    for (layer, half), rows, columns, content in _tensors(seed, strength):
        name = f"base_model.model.model.layers.{layer}.self_attn.{half[0]}_proj.lora_{half[1].upper()}.weight"
        header[name] = {"dtype": "F32", "shape": [rows, columns], "data_offsets": [at, at + len(content)]}
        bodies.append(content)
        at += len(content)
    told = json.dumps(header).encode()
    (folder / "adapter_config.json").write_text(json.dumps(config))
    (folder / "adapter_model.safetensors").write_bytes(struct.pack("<Q", len(told)) + told + b"".join(bodies))
    return folder


def _tensors(seed: int, strength: float) -> Iterator[tuple[tuple[int, str], int, int, bytes]]:
    """Each matrix: its layer and half, such as `qa`; rows, columns, and numbers of 32 bits."""
    chance = random.Random(seed)
    for layer in range(LAYERS):
        for target, outputs in (("q", WIDTH), ("v", VALUES)):
            for half, rows, columns in (("a", RANK, WIDTH), ("b", outputs, RANK)):
                numbers = array("f", (chance.gauss(0.0, strength) for _ in range(rows * columns)))
                yield (layer, target + half), rows, columns, numbers.tobytes()


def _string(text: str) -> bytes:
    return struct.pack("<Q", len(text.encode())) + text.encode()


def _text(key: str, value: str) -> bytes:
    return _string(key) + struct.pack("<I", 8) + _string(value)
