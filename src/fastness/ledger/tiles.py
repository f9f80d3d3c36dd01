"""How a log is laid out for readers (C2SP tlog-tiles, https://c2sp.org/tlog-tiles): paths, and bytes. Standard library.

    checkpoint                  the signed tree head
    tile/<level>/<N>[.p/<W>]    up to 256 hashes: of leaves at level 0, of whole tiles of the level below at the others
    tile/entries/<N>[.p/<W>]    the entries below tile N of level 0, each after its length in two bytes, big-endian

Tiles of less than 256 hashes, `W` of them, stand at the right end only.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from fastness.ledger.tree import SIZE_MAX

TILE_HEIGHT: Final = 8
TILE_WIDTH: Final = 1 << TILE_HEIGHT
LEVEL_MAX: Final = 63
ENTRY_BYTES_MAX: Final = 65_535
CHECKPOINT_PATH: Final = "checkpoint"

_PATH: Final = re.compile(r"tile/(entries|[0-9]{1,2})/((?:x[0-9]{3}/){0,6}[0-9]{3})(?:\.p/([1-9][0-9]{0,2}))?")


@dataclass(frozen=True, slots=True)
class Tile:
    """A tile, or (level None) a bundle of entries; `str` of it is its path. `width` is from 1 to 256."""

    level: int | None
    index: int
    width: int = TILE_WIDTH

    def __str__(self) -> str:
        level = "entries" if self.level is None else str(self.level)
        partial = "" if self.width == TILE_WIDTH else f".p/{self.width}"
        return f"tile/{level}/{_index_path(self.index)}{partial}"


def parse_tile(path: str) -> Tile:
    """Read the path of a tile or a bundle; raises ValueError unless it is exactly what `str` of one writes."""
    if (match := _PATH.fullmatch(path)) is None:
        raise ValueError(f"{path[:120]!r} is not the path of a tile")
    level, index, width = match.groups()
    tile = Tile(
        None if level == "entries" else int(level),
        int(index.replace("x", "").replace("/", "")),
        int(width) if width else TILE_WIDTH,
    )
    if str(tile) != path or (tile.level or 0) > LEVEL_MAX or tile.index > SIZE_MAX:
        raise ValueError(f"{path[:120]!r} is not the path of a tile")
    return tile


def width_of(size: int, level: int, index: int) -> int:
    """Return how many hashes tile `index` of `level` has in a tree of `size` leaves, from 0 to 256."""
    return max(0, min(TILE_WIDTH, (size >> TILE_HEIGHT * level) - index * TILE_WIDTH))


def tiles_of(size: int) -> Iterator[Tile]:
    """Return all tiles of a tree of `size` leaves, level by level from the leaves up, each from the left."""
    for level in range(LEVEL_MAX + 1):
        hashes = size >> TILE_HEIGHT * level
        for index in range(-(-hashes // TILE_WIDTH)):
            yield Tile(level, index, width_of(size, level, index))


def bundle(entries: Iterable[bytes]) -> bytes:
    """Return the bytes of a bundle of entries; raises ValueError for one of more than ENTRY_BYTES_MAX bytes."""
    parts = []
    for entry in entries:
        if len(entry) > ENTRY_BYTES_MAX:
            raise ValueError(f"an entry of {len(entry)} bytes is longer than the {ENTRY_BYTES_MAX} of this format")
        parts += [len(entry).to_bytes(2, "big"), entry]
    return b"".join(parts)


def entries_of(content: bytes) -> list[bytes]:
    """Read a bundle of entries; raises ValueError when it ends in the middle of one."""
    entries, offset = [], 0
    while offset < len(content):
        start = offset + 2
        offset = start + int.from_bytes(content[offset:start], "big")
        if start > len(content) or offset > len(content):
            raise ValueError("the bundle ends in the middle of an entry")
        entries.append(content[start:offset])
    return entries


def _index_path(index: int) -> str:
    digits = str(index)
    digits = digits.zfill(-(-len(digits) // 3) * 3)
    groups = [digits[at : at + 3] for at in range(0, len(digits), 3)]
    return "/".join([*(f"x{group}" for group in groups[:-1]), groups[-1]])
