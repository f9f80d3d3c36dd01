"""One log, read for what it proves: its checkpoint, its tiles, and proofs. Core and standard library only.

It reads the files of a log that may be written meanwhile, and holds nothing open. `verify` looks at all of a log; this
takes the hashes on disk as they are, for whoever gets a proof made of wrong ones sees that it proves nothing.
"""

from __future__ import annotations

from pathlib import Path

from fastness.ledger.checkpoint import Checkpoint, parse_checkpoint
from fastness.ledger.following import take_lines
from fastness.ledger.locating import locate
from fastness.ledger.note import NOTE_BYTES_MAX, Note, parse_note
from fastness.ledger.stored_tree import StoredTree
from fastness.ledger.tiles import CHECKPOINT_PATH, Tile, bundle, tiles_of, width_of
from fastness.ledger.tlog_proof import TlogProof
from fastness.ledger.tree import consistency_proof, inclusion_proof


class StoredLog:
    """The log in `directory`. Methods raise OSError, LedgerCorrupt, TreeDamaged, and FileNotFoundError without one."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._tree = StoredTree(directory)

    def checkpoint(self) -> tuple[Note, Checkpoint]:
        """Return the last checkpoint, as it was signed and as what it says; raises NoteInvalid, ValueError."""
        with (self._directory / CHECKPOINT_PATH).open("rb") as file:
            note = parse_note(file.read(NOTE_BYTES_MAX + 1))
        return note, parse_checkpoint(note.text)

    def entry(self, index: int) -> bytes:
        """Return an entry, canonical JSON as it was hashed; raises IndexError when there is none."""
        return self._entries(index, 1)[0]

    def tile(self, tile: Tile) -> bytes:
        """Return the bytes of a tile or a bundle; raises IndexError for one that the checkpoint does not cover."""
        _, checkpoint = self.checkpoint()
        level = tile.level or 0
        if tile.width > width_of(checkpoint.size, level, tile.index):
            raise IndexError(f"{tile} is not of a log of {checkpoint.size} entries")
        if tile.level is None:
            return bundle(self._entries(tile.index << 8, tile.width))
        return self._tree.hashes(level, tile.index << 8, tile.width)

    def prove(self, index: int, extra: bytes | None = None) -> TlogProof:
        """Return the proof that an entry is under the last checkpoint; raises IndexError for one that is not yet."""
        note, checkpoint = self.checkpoint()
        if not 0 <= index < checkpoint.size:
            raise IndexError(f"entry {index} is not under the checkpoint of {checkpoint.size} entries")
        return TlogProof(index, tuple(inclusion_proof(index, checkpoint.size, self._tree.node)), note, extra)

    def prove_growth(self, old: int, size: int) -> list[bytes]:
        """Return the proof that the log of `size` entries begins with that of `old`; raises ValueError."""
        return consistency_proof(old, size, self._tree.node)

    def export(self, directory: Path) -> int:
        """Write checkpoint, tiles and bundles below `directory` as the files of C2SP tlog-tiles; returns how many.

        What is there already is written over, so a copy of an earlier time becomes one of now.
        """
        note, checkpoint = self.checkpoint()
        tiles = list(tiles_of(checkpoint.size))
        for tile in [*tiles, *(Tile(None, tile.index, tile.width) for tile in tiles if tile.level == 0)]:
            path = directory / str(tile)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(self.tile(tile))
        (directory / CHECKPOINT_PATH).write_text(str(note), encoding="utf-8")  # last: what it names is there
        return len(tiles) + 1

    def root(self, size: int) -> bytes:
        """Return the root over the first `size` entries, by the hashes on disk."""
        return self._tree.root(size)

    def _entries(self, first: int, count: int) -> list[bytes]:
        lines, _ = take_lines(self._directory, locate(self._directory, first), count)
        return [line[:-1] for line in lines]
