"""The inspection itself: find, read, describe, review. It runs in the sealed process; tests run it where they are."""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

from fastness.config import RegistrySettings
from fastness.core.admission import Artefact, ArtefactFile, ArtefactKind
from fastness.registry.inspection.adapter import ADAPTER_CONFIG, describe_adapter
from fastness.registry.inspection.content import HEAD_BYTES, TAIL_BYTES, check_content
from fastness.registry.inspection.files import Folder
from fastness.registry.inspection.json_text import read_json, read_object
from fastness.registry.inspection.model import Description, describe_gguf, describe_safetensors
from fastness.registry.inspection.naming import Part
from fastness.registry.inspection.opened import Found, Opened
from fastness.registry.inspection.port import ArtefactRefused, Inspected, TemplateReview, Wish
from fastness.registry.inspection.template_text import TOKENIZER_CONFIG, Templates
from fastness.registry.inspection.weights import Header, read_header

SHOWN_MAX: Final = 200
"""Characters of one line that an approver is shown."""
_WEIGHTS: Final = (Part.GGUF, Part.SAFETENSORS)
_LISTS: Final = ("modules.json", "data_config.json")
"""The JSON files that may hold something else than one object."""


@dataclass(slots=True)
class _Reading:
    """What was read of an artefact so far."""

    templates: Templates
    files: list[ArtefactFile] = field(default_factory=list)
    signatures: list[ArtefactFile] = field(default_factory=list)
    jsons: dict[str, Any] = field(default_factory=dict)
    headers: list[Header] = field(default_factory=list)


class DirectInspector:
    """Implements Inspector in this process. `alone` says that the process is there for one artefact only."""

    def __init__(self, settings: RegistrySettings, *, alone: bool = False) -> None:
        self._settings = settings
        self._alone = alone

    def inspect(self, path: Path, wish: Wish) -> Inspected:
        """Read the artefact at `path`, which is absolute."""
        folder = Folder(path, self._settings)
        with folder.open() as found:
            format_ = _format(found, path.name)
            reading = _Reading(Templates(self._settings.template_bytes_max))
            # The small ones first: most refusals cost no reading of weights.
            for each in sorted(found, key=lambda one: (one.part in _WEIGHTS, one.path)):
                with folder.read(each) as opened:
                    _read(opened, each, reading)
            description, lines = _describe(reading, wish, format_, path.name)
            review = self._review(reading, wish)
        return _inspected(reading, wish, format_, description, lines, review)

    def _review(self, reading: _Reading, wish: Wish) -> TemplateReview | None:
        reading.templates.add_config(reading.jsons.get(TOKENIZER_CONFIG))
        for header in reading.headers:
            reading.templates.add_metadata(header.metadata)
        if not reading.templates.all:
            return None
        # Most of what this process needs to import is for templates, and many artefacts have none.
        from fastness.registry.inspection.template_review import review

        return review(reading.templates, wish, self._settings, alone=self._alone)


def _format(found: tuple[Found, ...], name: str) -> str:
    parts = [each.part for each in found if each.part in _WEIGHTS]
    if parts == [Part.GGUF]:
        return Part.GGUF.value
    if parts and set(parts) == {Part.SAFETENSORS}:
        return Part.SAFETENSORS.value
    raise ArtefactRefused(
        "file.weights",
        f"one GGUF file, or safetensors files, is needed; there are {parts.count(Part.GGUF)} and "
        f"{parts.count(Part.SAFETENSORS)}",
        name,
    )


def _read(opened: Opened, found: Found, reading: _Reading) -> None:
    check_content(opened.beginning(HEAD_BYTES), opened.end(TAIL_BYTES), found.path)
    if found.part in _WEIGHTS:
        reading.headers.append(read_header(opened, found.part))
    else:
        _read_companion(opened.beginning(opened.size_bytes), found, reading)
    file = opened.finish()
    (reading.signatures if found.part is Part.SIGNATURE else reading.files).append(file)


def _read_companion(content: bytes, found: Found, reading: _Reading) -> None:
    if found.part is Part.TEMPLATE:
        reading.templates.add_file(content)
    elif found.part is Part.TEXT:
        _check_text(content, found.path)
    elif found.path in _LISTS:
        reading.jsons[found.path] = read_json(content, found.path)
    else:
        reading.jsons[found.path] = read_object(content, found.path)


def _check_text(content: bytes, file: str) -> None:
    try:
        text = content.decode()
    except UnicodeDecodeError as error:
        raise ArtefactRefused("file.text", f"is not UTF-8 at byte {error.start}", file) from None
    for letter in set(text):
        if letter not in "\t\n\r\f" and unicodedata.category(letter) == "Cc" and file != "vocab.txt":
            raise ArtefactRefused("file.text", f"has the control character U+{ord(letter):04X}", file)


def _describe(
    reading: _Reading, wish: Wish, format_: str, where: str
) -> tuple[Description, tuple[tuple[str, str], ...]]:
    headers = tuple(reading.headers)
    if wish.kind is ArtefactKind.ADAPTER:
        if len(headers) != 1:
            raise ArtefactRefused("file.weights", f"an adapter is one file of weights, not {len(headers)}", where)
        return describe_adapter(headers[0], reading.jsons, wish.base)
    if ADAPTER_CONFIG in reading.jsons:
        raise ArtefactRefused("model.kind", "is an adapter; the importer says model", ADAPTER_CONFIG)
    if format_ == Part.GGUF:
        return describe_gguf(headers[0]), ()
    return describe_safetensors(reading.jsons, headers, where), ()


def _inspected(
    reading: _Reading,
    wish: Wish,
    format_: str,
    description: Description,
    lines: tuple[tuple[str, str], ...],
    review: TemplateReview | None,
) -> Inspected:
    files = tuple(sorted(reading.files, key=lambda file: file.path))
    manifest = "".join(f"{file.digest}  {file.path}\n" for file in files)
    artefact = Artefact(
        name=wish.name,
        kind=wish.kind,
        format=format_,
        digest=sha256(manifest.encode()).hexdigest(),
        files=files,
        size_bytes=sum(file.size_bytes for file in files),
        architecture=description.architecture,
        context_tokens=description.context_tokens,
        licence=wish.licence,
        provenance=wish.provenance,
        template_sha256=review.sha256 if review else None,
        base=wish.base.digest if wish.base and wish.kind is ArtefactKind.ADAPTER else None,
    )
    types = ", ".join(f"{name} ({count})" for header in reading.headers for name, count in header.types.items())
    tensors = tuple(tensor for header in reading.headers for tensor in header.tensors)
    summary = (
        ("architecture", artefact.architecture),
        ("parameters", f"{sum(header.parameters for header in reading.headers):,}"),
        ("quantisation", types),
        ("context", f"{artefact.context_tokens:,} tokens" if artefact.context_tokens else "as its base"),
        ("tokenizer", description.tokenizer or "none"),
        ("tensors", f"{len(tensors):,}"),
        ("size", f"{artefact.size_bytes:,} bytes in {len(files)} files"),
        ("names itself", ", ".join(description.names) or "nothing"),
        *lines,
    )
    return Inspected(
        artefact=artefact,
        signatures=tuple(sorted(reading.signatures, key=lambda file: file.path)),
        template=reading.templates.whole(),
        template_review=review,
        header=tuple((name, _shown(value)) for name, value in summary),
        names=(wish.name, *description.names),
        tensors=tensors,
    )


def _shown(value: str) -> str:
    """Return a line of what a file says, cut, and with nothing in it that does not print."""
    cut = value if len(value) <= SHOWN_MAX else value[:SHOWN_MAX] + "…"
    return "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in cut)
