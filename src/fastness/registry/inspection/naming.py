"""Which names may lie in an artefact, and what each is; everything else is refused by the rule that fits best."""

from __future__ import annotations

import re
from enum import StrEnum
from types import MappingProxyType
from typing import Final

from fastness.registry.inspection.port import ArtefactRefused

NAME_BYTES_MAX: Final = 128
MIB: Final = 1 << 20


class Part(StrEnum):
    """What a file is to an artefact."""

    GGUF = "gguf"
    SAFETENSORS = "safetensors"
    JSON = "json"
    TEXT = "text"
    TEMPLATE = "template"
    SIGNATURE = "signature"


POOLING: Final = "1_Pooling"
DIRECTORIES: Final = (POOLING, "2_Normalize")
"""Those of sentence-transformers; the second is empty."""

_BYTES_MAX: Final = MappingProxyType(
    {
        "tokenizer.json": 64 * MIB,
        "model.safetensors.index.json": 16 * MIB,
        "vocab.txt": 16 * MIB,
        "vocab.json": 16 * MIB,
        "merges.txt": 16 * MIB,
    }
)
_BYTES_MAX_OTHERS: Final = 4 * MIB
_COMPANIONS: Final = MappingProxyType(
    {
        "README.md": Part.TEXT,
        "vocab.txt": Part.TEXT,
        "merges.txt": Part.TEXT,
        ".gitattributes": Part.TEXT,
        "chat_template.jinja": Part.TEMPLATE,
        "model.sig": Part.SIGNATURE,
    }
    | dict.fromkeys(
        (
            "config.json",
            "tokenizer.json",
            "tokenizer_config.json",
            "generation_config.json",
            "special_tokens_map.json",
            "added_tokens.json",
            "vocab.json",
            "model.safetensors.index.json",
            "adapter_config.json",
            "modules.json",
            "sentence_bert_config.json",
            "config_sentence_transformers.json",
            "data_config.json",
            f"{POOLING}/config.json",
        ),
        Part.JSON,
    )
)
_LEGAL: Final = re.compile(r"(LICEN[SC]E|NOTICE)([._-][A-Za-z0-9]{1,32})*")
_PLAIN: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_PICKLES = "bin pt pth pkl pickle ckpt joblib dill npy npz h5 hdf5 keras onnx pb msgpack mar nemo"
_PROGRAMS = """
py pyc pyo pyd pyx pyw ipynb so dll dylib exe bat cmd ps1 sh bash zsh js mjs wasm jar class lua rb pl php elf ptx metal
"""
_ARCHIVES = "zip tar gz tgz bz2 tbz xz txz zst lz4 lzma 7z rar whl egg iso img cab deb rpm"
_FOREIGN: Final = MappingProxyType(
    dict.fromkeys(_PICKLES.split(), ("file.pickle", "is of a format that can carry pickles or programs"))
    | dict.fromkeys(_PROGRAMS.split(), ("file.code", "is a program"))
    | dict.fromkeys(_ARCHIVES.split(), ("file.archive", "is an archive"))
)


def check_plain(name: str) -> None:
    """Refuse a name that could mislead a person or a program."""
    if name == ".gitattributes":
        return
    if len(name.encode(errors="replace")) > NAME_BYTES_MAX:
        raise ArtefactRefused("file.name", f"a name has at most {NAME_BYTES_MAX} bytes", _shown(name))
    if not _PLAIN.fullmatch(name) or ".." in name:
        raise ArtefactRefused("file.name", "letters, digits, `.`, `_` and `-` only, and no dots in front", _shown(name))


def part_of(path: str) -> Part:
    """Say what the file at `path` (relative, with `/`) is; raises ArtefactRefused when it has no place here."""
    name = path.rpartition("/")[2]
    found = _COMPANIONS.get(path)
    if found is not None:
        return found
    last, rules = None, []
    for last in name.lower().split(".")[1:]:
        # `model.so.1` and `weights.pt.json` too: a name is for people, who read all of it
        rules += [_FOREIGN[last]] if last in _FOREIGN else []
    if path == name and last in ("gguf", "safetensors") and not rules and name.endswith(last):
        return Part(last)
    if rules:
        raise ArtefactRefused(rules[0][0], rules[0][1], path)
    if path == name and name.endswith(".sigstore.json"):
        return Part.SIGNATURE
    if path == name and _LEGAL.fullmatch(name):
        return Part.TEXT
    raise ArtefactRefused(
        "file.unexpected", "only weights (.gguf, .safetensors) and the companions listed in the manual", path
    )


def bytes_max(path: str, part: Part, template_bytes_max: int) -> int | None:
    """Return the most bytes that the file at `path` may have; None for weights, which the artefact's size bounds."""
    if part in (Part.GGUF, Part.SAFETENSORS):
        return None
    return template_bytes_max if part is Part.TEMPLATE else _BYTES_MAX.get(path, _BYTES_MAX_OTHERS)


def _shown(name: str) -> str:
    return ascii(name[:NAME_BYTES_MAX])
