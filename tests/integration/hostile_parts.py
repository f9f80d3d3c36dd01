"""What honest and hostile artefacts are built of: a GGUF and a safetensors writer that write whatever they are told."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from fastness.core.admission import ArtefactKind
from fastness.registry.inspection.port import Base, TensorOutline, Wish

CHATML = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
WIDTH, INNER, VOCABULARY, LAYERS = 64, 96, 32, 2
I8, U16, U32, I32, F32V, BOOL, TEXT, ARRAY, U64 = 1, 2, 4, 5, 6, 7, 8, 9, 10


@dataclass(frozen=True)
class Case:
    """One hostile artefact: `make` lays it down below an empty directory and returns its path.

    It must be refused by one of `rules`. `sealed_only`: it may use up the memory or time of whoever reads it.
    """

    id: str
    rules: tuple[str, ...]
    make: Callable[[Path], Path]
    kind: ArtefactKind = ArtefactKind.MODEL
    sealed_only: bool = False

    def wish(self) -> Wish:
        base = BASE_GGUF if self.kind is ArtefactKind.ADAPTER else None
        return Wish("small", self.kind, "Apache-2.0", "made by a test", base)


# --- GGUF ------------------------------------------------------------------------------------------------------------


def text(value: str | bytes) -> bytes:
    encoded = value.encode() if isinstance(value, str) else value
    return struct.pack("<Q", len(encoded)) + encoded


def entry(key: str | bytes, kind: int, value: bytes) -> list[bytes]:
    """A metadata entry in its structural parts."""
    return [text(key), struct.pack("<I", kind), value]


def u32(key: str, value: int) -> list[bytes]:
    return entry(key, U32, struct.pack("<I", value))


def string(key: str | bytes, value: str | bytes) -> list[bytes]:
    return entry(key, TEXT, text(value))


def texts(key: str, values: Iterable[str]) -> list[bytes]:
    values = list(values)
    return entry(key, ARRAY, struct.pack("<IQ", TEXT, len(values)) + b"".join(map(text, values)))


def numbers(key: str, kind: int, letter: str, values: Iterable[float]) -> list[bytes]:
    values = list(values)
    return entry(key, ARRAY, struct.pack(f"<IQ{len(values)}{letter}", kind, len(values), *values))


@dataclass(frozen=True)
class Tensor:
    name: str | bytes
    dimensions: tuple[int, ...]
    kind: int = 0
    offset: int | None = None
    size_bytes: int | None = None

    def parts(self, offset: int) -> list[bytes]:
        return [
            text(self.name),
            struct.pack("<I", len(self.dimensions)),
            b"".join(struct.pack("<Q", each % 2**64) for each in self.dimensions),
            struct.pack("<I", self.kind),
            struct.pack("<Q", offset if self.offset is None else self.offset),
        ]

    def content(self) -> bytes:
        if self.size_bytes is not None:
            return bytes(self.size_bytes)
        count = 1
        for each in self.dimensions:
            count *= each
        return bytes(4 * count)


def honest_metadata(template: str | None = CHATML) -> dict[str, list[bytes]]:
    found = {
        "general.architecture": string("general.architecture", "llama"),
        "general.name": string("general.name", "Small"),
        "llama.block_count": u32("llama.block_count", LAYERS),
        "llama.context_length": u32("llama.context_length", 256),
        "llama.embedding_length": u32("llama.embedding_length", WIDTH),
        "llama.attention.head_count": u32("llama.attention.head_count", 4),
        "tokenizer.ggml.model": string("tokenizer.ggml.model", "gpt2"),
        "tokenizer.ggml.tokens": texts("tokenizer.ggml.tokens", (f"t{each}" for each in range(VOCABULARY))),
        "tokenizer.ggml.token_type": numbers("tokenizer.ggml.token_type", I32, "i", [1] * VOCABULARY),
        "tokenizer.ggml.scores": numbers("tokenizer.ggml.scores", F32V, "f", [0.5] * VOCABULARY),
        "tokenizer.ggml.merges": texts("tokenizer.ggml.merges", ["t 1"]),
    }
    if template is not None:
        found["tokenizer.chat_template"] = string("tokenizer.chat_template", template)
    return found


def honest_tensors() -> list[Tensor]:
    found = [Tensor("token_embd.weight", (WIDTH, VOCABULARY))]
    for layer in range(LAYERS):
        found += [Tensor(f"blk.{layer}.attn_{letter}.weight", (WIDTH, WIDTH)) for letter in "qkv"]
        found += [Tensor(f"blk.{layer}.ffn_up.weight", (WIDTH, INNER))]
    return found


def gguf_parts(
    metadata: Iterable[list[bytes]], tensors: Iterable[Tensor], counts: tuple[int | None, int | None] = (None, None)
) -> list[bytes]:
    """All structural parts of a file in order: joined, they are the file."""
    metadata, tensors = list(metadata), list(tensors)
    announced = (len(tensors) if counts[0] is None else counts[0], len(metadata) if counts[1] is None else counts[1])
    parts = [b"GGUF", struct.pack("<I", 3), struct.pack("<Q", announced[0]), struct.pack("<Q", announced[1])]
    parts += [part for each in metadata for part in each]
    offset, body = 0, []
    for tensor in tensors:
        parts += tensor.parts(offset)
        content = tensor.content()
        body += [content, bytes(-len(content) % 32)]
        offset += len(content) + -len(content) % 32
    return [*parts, bytes(-sum(map(len, parts)) % 32), *body]


def gguf(
    changes: dict[str, list[bytes] | None] | None = None,
    tensors: list[Tensor] | None = None,
    counts: tuple[int | None, int | None] = (None, None),
    template: str | None = CHATML,
) -> bytes:
    """An honest small model, but for what is told."""
    metadata = honest_metadata(template)
    for key, value in (changes or {}).items():
        metadata.pop(key, None)
        if value is not None:
            metadata[key] = value
    return b"".join(gguf_parts(metadata.values(), honest_tensors() if tensors is None else tensors, counts))


# --- safetensors -----------------------------------------------------------------------------------------------------


def safetensors(header: object, body: bytes = b"", length: int | None = None) -> bytes:
    encoded = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", (len(encoded) if length is None else length) % 2**64) + encoded + body


def packed(shapes: dict[str, tuple[int, ...]], metadata: dict[str, str] | None = None) -> bytes:
    """An honest safetensors file with zeros of these shapes."""
    header: dict[str, object] = {"__metadata__": metadata or {"format": "pt"}}
    at = 0
    for name, shape in shapes.items():
        size_bytes = 4
        for each in shape:
            size_bytes *= each
        header[name] = {"dtype": "F32", "shape": list(shape), "data_offsets": [at, at + size_bytes]}
        at += size_bytes
    return safetensors(header, bytes(at))


def hf_shapes() -> dict[str, tuple[int, ...]]:
    found: dict[str, tuple[int, ...]] = {"model.embed_tokens.weight": (VOCABULARY, WIDTH)}
    for layer in range(LAYERS):
        found |= {f"model.layers.{layer}.self_attn.{each}_proj.weight": (WIDTH, WIDTH) for each in "qkv"}
        found[f"model.layers.{layer}.mlp.up_proj.weight"] = (INNER, WIDTH)
    return found


CONFIG = {"model_type": "llama", "max_position_embeddings": 256, "hidden_size": WIDTH, "architectures": ["LlamaModel"]}
TOKENIZER = {"tokenizer_class": "LlamaTokenizer", "chat_template": CHATML}


def folder(where: Path, files: dict[str, object]) -> Path:
    """Lay down a directory; values are bytes, texts, or trees that become JSON; None leaves a file out."""
    path = where / "small"
    path.mkdir()
    for name, content in files.items():
        if content is None:
            continue
        (path / name).parent.mkdir(exist_ok=True)
        if isinstance(content, str):
            content = content.encode()
        (path / name).write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())
    return path


def model_files(**changes: object) -> dict[str, object]:
    """The files of an honest model in safetensors; the names in `changes` have `_` for the first `.`."""
    found: dict[str, object] = {
        "config.json": CONFIG,
        "tokenizer_config.json": TOKENIZER,
        "model.safetensors": packed(hf_shapes()),
        "README.md": "# Small\n",
        "LICENSE": "Apache License\n",
    }
    return found | {name.replace("_", ".", 1) if "." not in name else name: each for name, each in changes.items()}


# --- adapters --------------------------------------------------------------------------------------------------------

BASE_SAFETENSORS = Base(
    "b" * 64, "safetensors", "llama", ("small",), tuple(TensorOutline(*each) for each in hf_shapes().items())
)
BASE_GGUF = replace(
    BASE_SAFETENSORS,
    format="gguf",
    tensors=tuple(TensorOutline(str(each.name), each.dimensions[::-1]) for each in honest_tensors()),
)
ADAPTER_CONFIG: dict[str, object] = {
    "peft_type": "LORA",
    "r": 4,
    "lora_alpha": 8,
    "lora_dropout": 0.0,
    "bias": "none",
    "target_modules": ["q_proj", "v_proj"],
    "base_model_name_or_path": "owner/Small",
    "auto_mapping": None,
    "task_type": "CAUSAL_LM",
    "modules_to_save": None,
}


def peft_shapes(rank: int = 4) -> dict[str, tuple[int, ...]]:
    found = {}
    for layer in range(LAYERS):
        for each in "qv":
            name = f"base_model.model.model.layers.{layer}.self_attn.{each}_proj"
            found |= {f"{name}.lora_A.weight": (rank, WIDTH), f"{name}.lora_B.weight": (WIDTH, rank)}
    return found


def peft(
    where: Path, config: dict[str, object] | None = None, shapes: dict[str, tuple[int, ...]] | None = None
) -> Path:
    told = {name: each for name, each in (ADAPTER_CONFIG | (config or {})).items() if each is not ...}
    weights = packed(peft_shapes() if shapes is None else shapes)
    return folder(where, {"adapter_config.json": told, "adapter_model.safetensors": weights})


def adapter_metadata() -> dict[str, list[bytes]]:
    return {
        "general.architecture": string("general.architecture", "llama"),
        "general.type": string("general.type", "adapter"),
        "adapter.type": string("adapter.type", "lora"),
        "adapter.lora.alpha": entry("adapter.lora.alpha", F32V, struct.pack("<f", 8.0)),
        "general.base_model.0.name": string("general.base_model.0.name", "Small"),
    }


def adapter_tensors(rank: int = 4) -> list[Tensor]:
    found = []
    for layer in range(LAYERS):
        found += [
            Tensor(f"blk.{layer}.attn_q.weight.lora_a", (WIDTH, rank)),
            Tensor(f"blk.{layer}.attn_q.weight.lora_b", (rank, WIDTH)),
        ]
    return found


def gguf_adapter(changes: dict[str, list[bytes] | None] | None = None, tensors: list[Tensor] | None = None) -> bytes:
    metadata = adapter_metadata()
    for key, value in (changes or {}).items():
        metadata.pop(key, None)
        if value is not None:
            metadata[key] = value
    return b"".join(gguf_parts(metadata.values(), adapter_tensors() if tensors is None else tensors))


def file(name: str, content: bytes) -> Callable[[Path], Path]:
    """A maker of an artefact that is one file."""

    def make(where: Path) -> Path:
        (where / name).write_bytes(content)
        return where / name

    return make


def directory(files: dict[str, object]) -> Callable[[Path], Path]:
    """A maker of an artefact that is a directory."""
    return lambda where: folder(where, files)
