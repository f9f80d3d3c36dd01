"""What a model says of itself: its metadata held to types and bounds, and to its own tensors."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from fastness.registry.gguf import ValueType
from fastness.registry.inspection.naming import DIRECTORIES
from fastness.registry.inspection.port import ArtefactRefused
from fastness.registry.inspection.weights import Header, Metadata

CONTEXT_TOKENS_MAX: Final = 16_777_216
COUNT_MAX: Final = 2**31 - 1
"""Of layers, heads, widths ...: engines keep them in 32 bits."""
VOCABULARY_MAX: Final = 1_048_576
CONFIG: Final = "config.json"
INDEX: Final = "model.safetensors.index.json"
MODULES: Final = "modules.json"
_ARCHITECTURE: Final = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
_MODULES: Final = frozenset(
    f"sentence_transformers.{place}{name}"
    for place in ("models.", "base.modules.", "sentence_transformer.modules.")
    for name in ("Transformer", "Pooling", "Normalize")
)
_AT_LEAST_ONE: Final = (".head_count", ".feed_forward_length", ".vocab_size")
_WITHOUT_HEADS: Final = ("mamba", "rwkv", "arwkv")
"""Architectures that have no attention, and say so with 0."""
_CONTEXT_KEYS: Final = ("max_position_embeddings", "n_positions", "n_ctx", "max_seq_len", "seq_length")
_TOKEN_ARRAYS: Final = (
    ("tokenizer.ggml.tokens", ValueType.STRING),
    ("tokenizer.ggml.scores", ValueType.FLOAT32),
    ("tokenizer.ggml.token_type", ValueType.INT32),
)


@dataclass(frozen=True, slots=True)
class Description:
    """What a model is: `context_tokens` is 0 for an adapter, `names` are those it gives itself."""

    architecture: str
    context_tokens: int
    names: tuple[str, ...]
    tokenizer: str


def describe_gguf(header: Header) -> Description:
    """Read the description of a model in GGUF; raises ArtefactRefused."""
    metadata = header.metadata
    if (kind := metadata.text("general.type", "model")) != "model":
        raise ArtefactRefused("model.kind", f"general.type is {kind[:40]!r}; the importer says model", header.file)
    architecture = architecture_of(metadata)
    context_tokens = metadata.count(f"{architecture}.context_length", 1, CONTEXT_TOKENS_MAX)
    metadata.count(f"{architecture}.block_count", 1, 4_096)
    metadata.count(f"{architecture}.embedding_length", 1, COUNT_MAX)
    _check_numbers(metadata, architecture)
    _check_tokens(metadata)
    return Description(architecture, context_tokens, gguf_names(metadata), metadata.text("tokenizer.ggml.model"))


def architecture_of(metadata: Metadata) -> str:
    """Return the architecture of a GGUF file; raises ArtefactRefused for one that is not a plain word."""
    architecture = metadata.text("general.architecture")
    if not _ARCHITECTURE.fullmatch(architecture):
        raise metadata.refused("general.architecture", "a plain word")
    return architecture


def gguf_names(metadata: Metadata) -> tuple[str, ...]:
    """Return what a GGUF file calls itself."""
    name, base = metadata.text("general.name", ""), metadata.text("general.basename", "")
    sized = f"{base}-{metadata.text('general.size_label', '')}" if base else ""
    return tuple(word[:128] for word in (name, sized) if word)


def _check_numbers(metadata: Metadata, architecture: str) -> None:
    """No negative or huge count: where an engine multiplies two, 32 bits shall hold what comes."""
    without_heads = architecture.startswith(_WITHOUT_HEADS)
    for key, field in metadata.fields.items():
        if not key.startswith((f"{architecture}.", "tokenizer.", "split.")) or key.endswith("precompiled_charsmap"):
            continue
        values = field.value if isinstance(field.value, tuple) else (field.value,)
        # An id that is not there is written as the largest number of 32 bits.
        is_no_id = key.endswith("_token_id") and field.value == 2**32 - 1
        if not is_no_id and any(type(value) is int and not -1 <= value <= COUNT_MAX for value in values):
            raise metadata.refused(key, f"a whole number up to {COUNT_MAX}")
        if not without_heads and key.endswith(_AT_LEAST_ONE) and field.value in (0, -1):
            raise metadata.refused(key, "at least 1")
    if "split.count" in metadata.fields and metadata.count("split.count", 0, COUNT_MAX) > 1:
        raise metadata.refused("split.count", "0 or 1: merge the parts into one file")


def _check_tokens(metadata: Metadata) -> None:
    """Tokens, scores and types belong together, so there is one of each for each."""
    lengths = {}
    for key, kind in _TOKEN_ARRAYS:
        items = metadata.items(key, kind)
        if items is not None:
            lengths[key] = len(items)
    if len(set(lengths.values())) > 1:
        shown = ", ".join(f"{key} has {count}" for key, count in lengths.items())
        raise ArtefactRefused("model.metadata", f"one entry for each token is needed; {shown}", metadata.file)
    metadata.items("tokenizer.ggml.merges", ValueType.STRING)


def describe_safetensors(jsons: Mapping[str, Any], headers: tuple[Header, ...], where: str) -> Description:
    """Read the description of a model in safetensors from its config.json; raises ArtefactRefused."""
    config = jsons.get(CONFIG)
    if not isinstance(config, dict):
        raise ArtefactRefused("model.metadata", f"a model in safetensors needs a {CONFIG} with one object", where)
    architecture = config.get("model_type")
    if not isinstance(architecture, str) or not _ARCHITECTURE.fullmatch(architecture):
        raise ArtefactRefused("model.metadata", "model_type needs to be a plain word", CONFIG)
    inner = config.get("text_config")
    context_tokens = _context(config) or (_context(inner) if isinstance(inner, dict) else None)
    if context_tokens is None:
        raise ArtefactRefused("model.metadata", f"one of {', '.join(_CONTEXT_KEYS)} is needed", CONFIG)
    _check_index(jsons.get(INDEX), headers, where)
    _check_modules(jsons.get(MODULES))
    named = config.get("_name_or_path")
    names = (named[:128],) if isinstance(named, str) and named else ()
    tokenizer = jsons.get("tokenizer_config.json")
    kind = tokenizer.get("tokenizer_class") if isinstance(tokenizer, dict) else None
    return Description(architecture, context_tokens, names, kind[:64] if isinstance(kind, str) else "")


def _context(config: dict[str, Any]) -> int | None:
    for key in _CONTEXT_KEYS:
        value = config.get(key)
        if value is None:
            continue
        if type(value) is not int or not 1 <= value <= CONTEXT_TOKENS_MAX:
            raise ArtefactRefused("model.metadata", f"{key} is {str(value)[:40]!r}; 1 to {CONTEXT_TOKENS_MAX}", CONFIG)
        return value
    return None


def _check_index(index: Any, headers: tuple[Header, ...], where: str) -> None:
    there = {tensor.name: header.file for header in headers for tensor in header.tensors}
    if len(there) != sum(len(header.tensors) for header in headers):
        raise ArtefactRefused("model.index", "the same tensor is in two files", where)
    if index is None and len(headers) == 1:
        return
    listed = index.get("weight_map") if isinstance(index, dict) else None
    if listed != there:
        raise ArtefactRefused(
            "model.index", f"weight_map of {INDEX} needs to name each of the {len(there)} tensors and its file", where
        )


def _check_modules(modules: Any) -> None:
    if modules is None:
        return
    rows = modules if isinstance(modules, list) else [None]
    for row in rows:
        if not isinstance(row, dict) or row.get("type") not in _MODULES or row.get("path") not in ("", *DIRECTORIES):
            raise ArtefactRefused("json.code", "a module here is Transformer, Pooling or Normalize", MODULES)
