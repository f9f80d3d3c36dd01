"""The distributions that are installed beside us, each file of theirs held against the record of its installation."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Final

from fastness.registry.materials.licences import field_of, licence_of
from fastness.registry.materials.locks import canonical

CHANGED_MAX: Final = 16
"""How many files of one distribution are named that are not as recorded; one is enough to be looked at."""
_NAME = re.compile(r"^\s*([A-Za-z0-9][A-Za-z0-9._-]*)")


@dataclass(frozen=True, slots=True)
class Distribution:
    """One installed distribution. `name` is canonical; `licence` is an SPDX expression or a licence's name, or empty.

    `record` is the SHA-256 of the list of its files, in hex, empty where there is none; `changed` are files that are
    missing, or not what that list says; `native`: how many of them are machine code. `wants` are the names that it
    depends on, whatever the condition.
    """

    name: str
    version: str
    licence: str
    summary: str
    record: str
    files: int
    native: int
    changed: tuple[str, ...]
    wants: tuple[str, ...]


def installed(path: Sequence[str] | None = None) -> tuple[Distribution, ...]:
    """Return every distribution on `path` (None: this interpreter's), by name; of two of a name, what is imported.

    Reads every file of theirs: some seconds for a gigabyte.
    """
    every = metadata.distributions() if path is None else metadata.distributions(path=list(path))
    found: dict[str, Distribution] = {}
    for one in every:
        name = canonical(field_of(one, "Name"))
        if name and name not in found:
            found[name] = _described(name, one)
    return tuple(found[name] for name in sorted(found))


def _described(name: str, one: metadata.Distribution) -> Distribution:
    files = one.files or []
    return Distribution(
        name=name,
        version=one.version,
        licence=licence_of(one),
        summary=field_of(one, "Summary")[:512],
        record=hashlib.sha256((one.read_text("RECORD") or "").encode()).hexdigest() if files else "",
        files=len(files),
        native=sum(1 for file in files if re.search(r"\.so(\.\d+)*$", file.name)),
        changed=tuple(sorted(_changed(files))[:CHANGED_MAX]),
        wants=tuple(sorted({canonical(match[1]) for text in one.requires or [] if (match := _NAME.match(text))})),
    )


def _changed(files: Sequence[metadata.PackagePath]) -> Iterator[str]:
    for file in files:
        if file.hash is None:  # the record itself, and what was compiled afterwards
            continue
        try:
            with Path(str(file.locate())).open("rb") as opened:
                digest = hashlib.file_digest(opened, file.hash.mode).digest()
        except (OSError, ValueError):
            yield str(file)
            continue
        if base64.urlsafe_b64encode(digest).decode().rstrip("=") != file.hash.value:
            yield str(file)
