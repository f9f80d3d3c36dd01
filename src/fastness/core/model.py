"""A model: weights, tokenizer and card, named by digest."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class ModelKind(StrEnum):
    """What a model is for; it decides which routes may name it."""

    CHAT = "chat"
    EMBEDDING = "embedding"


@dataclass(frozen=True, slots=True)
class ToolFormat:
    """How this model is told of tools and how it calls one.

    `instruction` is put into the system message with `{tools}` replaced by one JSON object a line. A call is written
    as `open`, a JSON object with `name` and `arguments`, `close`. A tool's result is shown as `result` with
    `{content}` replaced, in a message of role `result_role`. `calls_max` is how many calls in one answer the model can
    be trusted to end by itself: a small model told that it may repeat a call repeats it.
    """

    instruction: str
    open: str
    close: str
    result: str = "{content}"
    result_role: str = "tool"
    calls_max: int = 16


@dataclass(frozen=True, slots=True)
class ModelCard:
    """What is known of a model. `digest` is the SHA-256 of the weights in hex; `size_bytes` is their file's size.

    In the format `safetensors` a model is a folder of files, and both are of all of them together.
    """

    name: str
    kind: ModelKind
    digest: str
    size_bytes: int
    licence: str
    context_tokens: int
    created_s: int
    tool_format: ToolFormat | None = None
    embedding_dimensions: int | None = None
    format: str = "gguf"
