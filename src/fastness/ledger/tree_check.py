"""The hashes beside a log, compared with those of its entries as they are read. Core and the standard library only."""

from __future__ import annotations

from pathlib import Path

from fastness.ledger.stored_tree import TREE_NAME, StoredTree, TreeDamaged, folded
from fastness.ledger.tiles import LEVEL_MAX, TILE_HEIGHT, TILE_WIDTH
from fastness.ledger.tree import HASH_BYTES


class TreeCheck:
    """Compares the first `size` hashes, if there are any: a copy of a log need not have them."""

    def __init__(self, directory: Path, size: int) -> None:
        self._stored = StoredTree(directory)
        self._size = size if (directory / TREE_NAME).is_dir() else 0
        self._tile = b""
        self.odd: int | None = None
        """The index of the first entry whose hash is not the one that stands there."""

    def compare(self, index: int, leaf: bytes) -> None:
        """Compare one hash; they come in order. Raises OSError."""
        if index >= self._size or self.odd is not None:
            return
        place = index % TILE_WIDTH
        if not place:
            try:
                self._tile = self._stored.hashes(0, index, min(TILE_WIDTH, self._size - index))
            except TreeDamaged:
                self._tile = b""
        if self._tile[place * HASH_BYTES : (place + 1) * HASH_BYTES] != leaf:
            self.odd = index

    def upper(self) -> str | None:
        """Return what is wrong with the hashes above the entries' own, None if nothing is. Raises OSError."""
        for level in range(1, LEVEL_MAX + 1):
            for index in range(self._size >> TILE_HEIGHT * level):
                try:
                    below = self._stored.hashes(level - 1, index * TILE_WIDTH, TILE_WIDTH)
                    if self._stored.hashes(level, index, 1) != folded(below):
                        return f"hash {index} of {TREE_NAME}/{level} is not over the {TILE_WIDTH} below it"
                except TreeDamaged as error:
                    return str(error)
        return None
