"""Letters as files below the run directory, where those who write them and those who carry them meet.

`letters/out` is to be carried away, `letters/in` was brought; each file is one letter, whole, replaced by the next.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

LETTERS_OUT: Final = "letters/out"
"""Sealed letters to be carried away: on the head one for each way to a node, on a node `head`."""
LETTERS_IN: Final = "letters/in"
"""Sealed letters that were brought, by the way that they came."""
HEAD: Final = "head"
"""On a node: what it writes to the head, and what Ray brought from there."""
HEAD_BY_DOOR: Final = "head.door"
"""On a node: what its door brought from the head."""
_DOOR: Final = "door."
LETTER_BYTES_MAX: Final = 16_777_216
"""One letter; a larger one is not read."""


def door_way(host: str) -> str:
    """Return the name on the head of the way to a node by its door. No way that Ray names is called like that."""
    return _DOOR + host


def host_of(way: str) -> str | None:
    """Return the node whose door a way on the head leads through; None: it is one of Ray's."""
    return way[len(_DOOR) :] if way.startswith(_DOOR) else None


def put(folder: str, name: str, letter: bytes) -> None:
    """Replace a letter, whole. Raises OSError."""
    draft, path = f"{folder}/.{name}", f"{folder}/{name}"
    with open(draft, "wb") as file:  # noqa: PTH123 - thousands a second at most
        file.write(letter)
    os.replace(draft, path)  # noqa: PTH105


def fetch(path: str) -> bytes:
    """Return a letter; nothing where there is none, or one that is too large."""
    try:
        with open(path, "rb") as file:  # noqa: PTH123
            content = file.read(LETTER_BYTES_MAX + 1)
    except OSError:
        return b""
    return content if len(content) <= LETTER_BYTES_MAX else b""


class Pigeonhole:
    """A file that somebody else replaces: gives each new content once."""

    def __init__(self, path: Path) -> None:
        self._path = str(path)
        self._seen: tuple[int, int, int] | None = None

    def poll(self) -> bytes:
        """Return what was put there since the last time; nothing: nothing, or nothing that can be read."""
        try:
            found = os.stat(self._path)  # noqa: PTH116 - twenty times a second
        except OSError:
            return b""
        seen = (found.st_mtime_ns, found.st_ino, found.st_size)
        if seen == self._seen:
            return b""
        self._seen = seen
        return fetch(self._path)
