"""The hashes of a log on disk: one file for each level of its tiles, below `tree/`. Core and standard library only.

    tree/0    the hash of each entry, one after the other
    tree/1    the hash over each 256 of those: of each full tile of level 0; and so on

All of it follows from the entries: it is there so that a proof need not read the log. Tiles of tlog-tiles are ranges of
these files.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from typing import Final, Protocol

from fastness.ledger.tiles import LEVEL_MAX, TILE_HEIGHT, TILE_WIDTH
from fastness.ledger.tree import HASH_BYTES, root

TREE_NAME: Final = "tree"


class TreeDamaged(Exception):  # noqa: N818 - a state of a file
    """A file of hashes is shorter than it must be. The log has all that is needed to write it anew."""


class Writing(Protocol):
    """The calls that change files; `segments.FileOperations` has them. Each raises OSError."""

    def write(self, fd: int, content: bytes, offset: int) -> int:
        """Write at `offset`; returns how many bytes were taken."""
        ...

    def truncate(self, fd: int, size_bytes: int) -> None:
        """Cut the file to `size_bytes`."""
        ...

    def sync(self, fd: int) -> None:
        """Make the content and the length of a file durable."""
        ...

    def sync_directory(self, fd: int) -> None:
        """Make the names in a directory durable."""
        ...


class StoredTree:
    """The hashes of the log in `directory`, read. Every method raises TreeDamaged, OSError."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory / TREE_NAME

    def hashes(self, level: int, first: int, count: int) -> bytes:
        """Return `count` hashes of a level, 32 bytes each, from the one at `first` on."""
        try:
            with self._path(level).open("rb", buffering=0) as file:
                found = os.pread(file.fileno(), count * HASH_BYTES, first * HASH_BYTES)
        except FileNotFoundError:
            found = b""
        if len(found) != count * HASH_BYTES:
            raise TreeDamaged(f"{self._path(level)} lacks some of the hashes from {first} to {first + count}")
        return found

    def node(self, height: int, place: int) -> bytes:
        """Return the hash of a node, as `tree.Nodes` does."""
        level, above = divmod(height, TILE_HEIGHT)
        return folded(self.hashes(level, place << above, 1 << above))

    def root(self, size: int) -> bytes:
        """Return the root of the first `size` entries."""
        return root(size, self.node)

    def _path(self, level: int) -> Path:
        return self._directory / str(level)


class TreeWriter(StoredTree):
    """The hashes of a log, with one writer. `resume` comes first."""

    def __init__(self, directory: Path, files: Writing) -> None:
        super().__init__(directory)
        self._files = files
        self.size = 0
        self._open: dict[int, int] = {}
        self._unsynced: set[int] = set()

    def resume(self, size: int, expected: bytes) -> bool:
        """Go on after the first `size` entries if what is there has the root `expected`; else begin anew, without any.

        Returns whether it goes on. Raises OSError.
        """
        self.close()
        self._unsynced.clear()
        self._directory.mkdir(mode=0o700, exist_ok=True)
        try:
            resumed = self.root(size) == expected
        except TreeDamaged:
            resumed = False
        self.size = size if resumed else 0
        return resumed

    def extend(self, leaves: Sequence[bytes]) -> None:
        """Take the hashes of further entries; raises OSError, TreeDamaged, and then is as long as it was."""
        size = self.size + len(leaves)
        self._write(0, self.size, b"".join(leaves))
        for level in range(1, LEVEL_MAX + 1):
            before, after = (one >> TILE_HEIGHT * level for one in (self.size, size))
            if before == after:
                break
            tiles = (self.hashes(level - 1, index * TILE_WIDTH, TILE_WIDTH) for index in range(before, after))
            self._write(level, before, b"".join(map(folded, tiles)))
        self.size = size

    def sync(self) -> None:
        """Make durable what was written; raises OSError."""
        while self._unsynced:
            level = min(self._unsynced)
            self._files.sync(self._open[level])
            self._unsynced.discard(level)

    def close(self) -> None:
        """Let go of the files."""
        while self._open:
            os.close(self._open.popitem()[1])

    def _write(self, level: int, first: int, content: bytes) -> None:
        if (fd := self._open.get(level)) is None:
            fd = os.open(self._path(level), os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
            self._open[level] = fd
        offset = first * HASH_BYTES
        self._unsynced.add(level)
        while content:
            if (taken := self._files.write(fd, content, offset)) <= 0:
                raise OSError(errno.EIO, "the disk takes no more bytes", str(self._path(level)))
            content, offset = content[taken:], offset + taken


def folded(hashes: bytes) -> bytes:
    """Return the root over a power of two of hashes, given one after the other."""
    level = [hashes[at : at + HASH_BYTES] for at in range(0, len(hashes), HASH_BYTES)]
    while len(level) > 1:
        level = [sha256(b"\x01" + left + right).digest() for left, right in zip(level[::2], level[1::2], strict=True)]
    return level[0]
