"""Where an entry is, by its request id: sorted runs on disk, each of which covers a range of a log.

A run is a file of keys (the first 8 bytes of a request id), ascending, then as many indexes in the same order, then a
SHA-256. Its name tells which entries it covers. Sixteen small ones become one larger, so that there are few of
them. Everything in them follows from the log: what is damaged or missing is made again.
"""

from __future__ import annotations

import os
import re
import sys
from array import array
from bisect import bisect_left
from collections.abc import Iterable, Iterator
from hashlib import sha256
from heapq import merge
from itertools import islice
from mmap import ACCESS_READ, mmap
from pathlib import Path
from typing import Final

RUN_ENTRIES: Final = 4_096
"""Entries of a log that a run of the first size covers;"""
GROWTH: Final = 16
"""so many of one size become one of the next,"""
SIZES: Final = 3
"""up to the third, of a million entries: more would take long to write, and a thousand of them are still found in."""
_NAME: Final = re.compile(r"([0-9]{16})-([0-9]{16})\.run")
_DIGEST_BYTES: Final = 32
_WORD_BYTES: Final = 8


def key_of(request_id: str) -> int | None:
    """Return the key of a request id, None for what is none."""
    digits = request_id.removeprefix("req_")[: 2 * _WORD_BYTES]
    try:
        return int(digits, 16) if len(digits) == 2 * _WORD_BYTES else None
    except ValueError:
        return None


class Run:
    """One run: of the entries from `first` up to, not including, `end`."""

    def __init__(self, path: Path) -> None:
        """Read it; raises ValueError for one that is damaged, OSError."""
        match = _NAME.fullmatch(path.name)
        if match is None:
            raise ValueError(f"{path.name} is not the name of a run")
        self.path, self.first, self.end = path, int(match[1]), int(match[2])
        with path.open("rb") as file:  # mapped, for all runs of a long log together may be larger than memory
            content = memoryview(mmap(file.fileno(), 0, access=ACCESS_READ))
        words, digest = content[:-_DIGEST_BYTES], content[-_DIGEST_BYTES:]
        if len(words) % (2 * _WORD_BYTES) or _digest(words) != digest:
            raise ValueError(f"{path} is damaged")
        numbers = words.cast("Q")
        half = len(numbers) // 2
        self._keys, self._indexes = numbers[:half], numbers[half:]

    def find(self, key: int) -> Iterator[int]:
        """Return the indexes of entries with this key."""
        for at in range(bisect_left(self._keys, key), len(self._keys)):
            if self._keys[at] != key:
                return
            yield self._indexes[at]

    def pairs(self) -> Iterator[tuple[int, int]]:
        """Return all keys with their indexes, ascending."""
        return zip(self._keys, self._indexes, strict=True)


class Runs:
    """The runs of one log, in a directory of their own, with one writer at a time."""

    def __init__(self, directory: Path) -> None:
        """Take up what is there, from the first entry on without a gap; the rest is removed. Raises OSError."""
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._directory = directory
        self._runs: list[Run] = []
        # Where a crash left both a run and those it was made of, the longer one comes first, and the others are stale.
        for path in sorted(directory.glob("*.run"), key=_longest_first):
            try:
                run = Run(path)
            except ValueError:  # empty, too: a power cut came before it was whole
                run = None
            if run is not None and run.first == self.end:
                self._runs.append(run)
            else:
                path.unlink()

    @property
    def end(self) -> int:
        """How many entries of the log the runs cover."""
        return self._runs[-1].end if self._runs else 0

    def clear(self) -> None:
        """Remove all of them."""
        while self._runs:
            self._runs.pop().path.unlink()

    def find(self, key: int) -> list[int]:
        """Return the indexes of entries with this key, the newest first."""
        return [index for run in reversed(self._runs) for index in run.find(key)]

    def add(self, end: int, pairs: dict[int, list[int]]) -> None:
        """Cover the entries up to `end`; raises OSError."""
        flat = sorted((key, index) for key, indexes in pairs.items() for index in indexes)
        self._runs.append(self._write(self.end, end, flat))
        for size in range(SIZES - 1):
            entries = RUN_ENTRIES * GROWTH**size
            small = [run for run in self._runs[-GROWTH:] if run.end - run.first <= entries]
            if len(small) < GROWTH:
                return
            larger = self._write(small[0].first, end, merge(*(run.pairs() for run in small)))
            self._runs[-GROWTH:] = [larger]
            for run in small:
                run.path.unlink()

    def _write(self, first: int, end: int, pairs: Iterable[tuple[int, int]]) -> Run:
        keys, indexes, following = array("Q"), array("Q"), iter(pairs)
        while piece := list(islice(following, RUN_ENTRIES)):
            keys.extend([key for key, _ in piece])
            indexes.extend([index for _, index in piece])
        words = keys.tobytes() + indexes.tobytes()
        path = self._directory / f"{first:016d}-{end:016d}.run"
        draft = path.with_suffix(".new")
        with draft.open("wb") as file:
            file.write(words + _digest(words))
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
        return Run(path)


def _longest_first(path: Path) -> tuple[str, int]:
    read = _NAME.fullmatch(path.name)
    return path.name[:16], -int(read[2]) if read else 0


def _digest(words: bytes | memoryview) -> bytes:
    """Return what stands at the end: a machine that writes numbers in another order finds the run damaged."""
    digest = sha256(sys.byteorder.encode())
    digest.update(words)
    return digest.digest()
