"""A model that is a folder of files, for an engine that reads safetensors: named by what all of them are, together.

Below `home/models`: `<digest>/…`, the files as they were inspected. The digest is that of the artefact: SHA-256 over a
line for each file with its own digest and its path, sorted by path. So no list of them has to be kept to verify them.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Final, Protocol

from fastness.core.file_list import FILES_MAX, folder_digest
from fastness.registry.admission.copying import digest_of

SAFETENSORS: Final = "safetensors"
"""The format of such a model, on its card."""


class Weighed(Protocol):
    """What engines load: a model, or an adapter. `digest` is that of the file, or of the folder, as `format` says."""

    @property
    def name(self) -> str:
        """What people call it."""
        ...

    @property
    def digest(self) -> str:
        """SHA-256, in hex."""
        ...

    @property
    def size_bytes(self) -> int:
        """Of all its files."""
        ...

    @property
    def format(self) -> str:
        """`gguf` or `safetensors`."""
        ...


def files_in(folder: Path) -> list[str]:
    """Return the paths of the plain files below a folder, relative to it, sorted; raises OSError, also for too many."""
    found: list[str] = []
    for where, _, names in os.walk(folder):
        found += [str((Path(where) / name).relative_to(folder)) for name in names]
    if len(found) > FILES_MAX:
        raise OSError(f"{folder} has {len(found):,} files, of {FILES_MAX:,}")
    return sorted(found)


def digest_of_folder(folder: Path, progress: Callable[[int], None] = lambda _done_bytes: None) -> str:
    """Return the digest of a folder as it is now; `progress` gets the bytes done. Raises OSError."""
    done_bytes, digests = 0, []
    for path in files_in(folder):
        base = done_bytes
        digests.append((path, digest_of(folder / path, lambda done, base=base: progress(base + done))))  # type: ignore[misc]
        done_bytes += (folder / path).stat().st_size
    return folder_digest(digests)


def is_folder(card: Weighed) -> bool:
    """Tell whether a model or adapter is a folder, and not one file."""
    return card.format == SAFETENSORS
