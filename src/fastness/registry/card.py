"""A card: what is known of a model, and where its weights come from. One TOML file a model, checked when read."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from datetime import UTC, date, datetime, time
from enum import StrEnum
from importlib import resources
from pathlib import PurePosixPath
from types import MappingProxyType
from typing import Annotated, Final, Literal

import msgspec

from fastness.core.ids import is_name
from fastness.core.model import ModelCard, ModelKind, ToolFormat

CARD_BYTES_MAX: Final = 65_536
FILES_MAX: Final = 64
WEIGHTS_BYTES_MAX: Final = 1 << 42
CONTEXT_TOKENS_MAX: Final = 16_777_216
DIMENSIONS_MAX: Final = 65_536


class CardError(ValueError):
    """A card that cannot be used; the message names the card, the field, what came and what was needed."""


class Conversion(StrEnum):
    """How the source becomes the GGUF that is served."""

    NONE = "none"
    BERT = "bert"


_Digest = Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{64}$")]
_Line = Annotated[str, msgspec.Meta(min_length=1, max_length=256)]


class SourceFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One file of a source: `path` is relative to the source's folder; `digest` is its SHA-256 in hex."""

    path: _Line
    digest: _Digest
    size_bytes: Annotated[int, msgspec.Meta(ge=1, le=WEIGHTS_BYTES_MAX)]


class Source(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where weights come from: files below `folder` of an installed Python distribution, which is never imported."""

    distribution: Annotated[str, msgspec.Meta(pattern="^[a-z0-9](?:[a-z0-9.-]{0,126}[a-z0-9])?$")]
    version: Annotated[str, msgspec.Meta(pattern="^[0-9][0-9a-z.+]{0,62}$")]
    folder: _Line
    conversion: Conversion
    files: Annotated[tuple[SourceFile, ...], msgspec.Meta(min_length=1, max_length=FILES_MAX)]

    @property
    def pip_command(self) -> str:
        """Return the command that installs the distribution without what it depends on."""
        return f"pip install --no-deps {self.distribution}=={self.version}"


class _Tools(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    open: _Line
    close: _Line
    instruction: Annotated[str, msgspec.Meta(min_length=1, max_length=8_192)]
    result: Annotated[str, msgspec.Meta(min_length=1, max_length=1_024)] = "{content}"
    result_role: Literal["tool", "user"] = "tool"
    calls_max: Annotated[int, msgspec.Meta(ge=1, le=128)] = 16


class _Card(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    name: str
    kind: ModelKind
    licence: _Line
    published: date
    digest: _Digest
    size_bytes: Annotated[int, msgspec.Meta(ge=1, le=WEIGHTS_BYTES_MAX)]
    context_tokens: Annotated[int, msgspec.Meta(ge=1, le=CONTEXT_TOKENS_MAX)]
    source: Source
    embedding_dimensions: Annotated[int, msgspec.Meta(ge=1, le=DIMENSIONS_MAX)] | None = None
    tool_format: _Tools | None = None


msgspec.json.Decoder(_Card)  # so that msgspec has looked at it before several threads ask


def read_card(text: str, where: str) -> tuple[ModelCard, Source]:
    """Read a card; `where` names it in errors. Raises CardError."""
    if len(text.encode()) > CARD_BYTES_MAX:
        raise CardError(f"{where}: the card exceeds {CARD_BYTES_MAX} bytes")
    try:
        card = msgspec.convert(tomllib.loads(text), _Card)
    except (tomllib.TOMLDecodeError, msgspec.ValidationError) as error:
        raise CardError(f"{where}: {error}") from None
    if problem := _problem(card):
        raise CardError(f"{where}: {problem}")
    tools = ToolFormat(**msgspec.structs.asdict(card.tool_format)) if card.tool_format else None
    model = ModelCard(
        name=card.name,
        kind=card.kind,
        digest=card.digest,
        size_bytes=card.size_bytes,
        licence=card.licence,
        context_tokens=card.context_tokens,
        created_s=int(datetime.combine(card.published, time(), UTC).timestamp()),
        tool_format=tools,
        embedding_dimensions=card.embedding_dimensions,
    )
    return model, card.source


def _problem(card: _Card) -> str | None:
    if not is_name(card.name):
        return f"name is {card.name!r}; lower-case letters, digits and hyphens are needed"
    if (card.kind is ModelKind.EMBEDDING) != (card.embedding_dimensions is not None):
        return f"embedding_dimensions belongs to embedding models, and to each of them; this one is for {card.kind}"
    if card.tool_format and (card.kind is not ModelKind.CHAT or "{tools}" not in card.tool_format.instruction):
        return "tool_format belongs to chat models, and its instruction needs the place `{tools}`"
    if card.tool_format and "{content}" not in card.tool_format.result:
        return "tool_format.result needs the place `{content}`"
    for path in (card.source.folder, *(file.path for file in card.source.files)):
        if PurePosixPath(path).is_absolute() or ".." in PurePosixPath(path).parts:
            return f"source path {path!r} leaves the distribution"
    if card.source.conversion is Conversion.NONE:
        only = card.source.files[0]
        if len(card.source.files) != 1 or (only.digest, only.size_bytes) != (card.digest, card.size_bytes):
            return "without a conversion there is one source file, with the digest and size of the card"
    return None


def packaged_cards() -> Mapping[str, str]:
    """Return the texts of the cards that come with Fastness, by name."""
    folder = resources.files("fastness.registry") / "cards"
    texts = {file.name.removesuffix(".toml"): file.read_text("utf-8") for file in folder.iterdir() if file.is_file()}
    return MappingProxyType(texts)
