"""The files of a model that is a folder: what names all of them together, and the list by which they travel."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

FILES_MAX: Final = 1_024
"""Files of a model, and so descriptors that each of its engines gets."""
LIST_BYTES_MAX: Final = 1_048_576
PATH_BYTES_MAX: Final = 1_024
_NAME_BYTES_MAX: Final = 255
_FOLDERS_MAX: Final = 8
_SIZE: Final = re.compile(r"0|[1-9][0-9]{0,17}", re.ASCII)


@dataclass(frozen=True, slots=True)
class ListedFile:
    """One file: its path in the folder, with `/` between names, and its size."""

    path: str
    size_bytes: int


def folder_digest(files: Iterable[tuple[str, str]]) -> str:
    """Return the digest of a folder from the paths and digests of its files.

    SHA-256, in hex, over a line for each file with its own digest and its path, sorted by path.
    """
    lines = (f"{digest}  {path}\n" for path, digest in sorted(files))
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def write_list(files: Iterable[ListedFile]) -> bytes:
    """Return the list as text: a line for each file, its size and its path, sorted by path."""
    return "".join(f"{one.size_bytes} {one.path}\n" for one in sorted(files, key=lambda one: one.path)).encode()


def read_list(text: bytes, size_bytes: int) -> tuple[ListedFile, ...]:
    """Return what a list names; raises ValueError for one that is none, leads out of the folder, or has another size.

    `size_bytes` is what all files have together, as it was admitted.
    """
    if len(text) > LIST_BYTES_MAX or not text.endswith(b"\n"):
        raise ValueError(f"a list of files has lines, and at most {LIST_BYTES_MAX:,} bytes; this one has {len(text):,}")
    lines = text.decode().removesuffix("\n").split("\n")
    if len(lines) > FILES_MAX:
        raise ValueError(f"it lists {len(lines):,} files, of {FILES_MAX:,}")
    files = tuple(map(_listed, lines))
    paths = [one.path for one in files]
    if paths != sorted(set(paths)):
        raise ValueError("its list of files is not sorted, or names one twice")
    folders = {path[:at] for path in paths for at, character in enumerate(path) if character == "/"}
    if folders & set(paths):
        raise ValueError("its list names a folder as a file")
    if (total_bytes := sum(one.size_bytes for one in files)) != size_bytes:
        raise ValueError(f"its files have {total_bytes:,} bytes together; {size_bytes:,} were admitted")
    return files


def _listed(line: str) -> ListedFile:
    size, _, path = line.partition(" ")
    if not (_SIZE.fullmatch(size) and path.isprintable()):
        raise ValueError(f"a line of a list is a size and a path, not {line[:80]!r}")
    names = path.split("/")
    if len(names) > _FOLDERS_MAX or len(path.encode()) > PATH_BYTES_MAX:
        raise ValueError(f"a path is too long: {path[:80]!r}")
    if any(name in ("", ".", "..") or len(name.encode()) > _NAME_BYTES_MAX for name in names):
        raise ValueError(f"a path leads elsewhere: {path[:80]!r}")
    return ListedFile(path, int(size))
