"""A model on this disk as a door gives it away: its files, opened, as if they were one after the other."""

from __future__ import annotations

import os
import stat
from bisect import bisect_right
from itertools import accumulate
from pathlib import Path
from typing import Final

from fastness.core.file_list import FILES_MAX, ListedFile, write_list

CHUNK_BYTES: Final = 262_144


class OpenModel:
    """To be closed. `listed` is the list of its files as text; empty for a model that is one file."""

    def __init__(self, descriptors: list[int], listed: bytes) -> None:
        self._descriptors, self.listed = descriptors, listed
        sizes = [os.fstat(one).st_size for one in descriptors]
        self._ends = list(accumulate(sizes))
        self.size_bytes = sum(sizes)

    @classmethod
    def file(cls, path: Path) -> OpenModel:
        """Open a model that is one file; raises OSError."""
        return cls([_opened(path)], b"")

    @classmethod
    def folder(cls, folder: Path) -> OpenModel:
        """Open a model that is a folder; raises OSError, also for one with too many files."""
        paths = sorted(
            str((Path(where) / name).relative_to(folder)) for where, _, names in os.walk(folder) for name in names
        )
        if len(paths) > FILES_MAX:
            raise OSError(f"{folder} has {len(paths):,} files, of {FILES_MAX:,}")
        descriptors: list[int] = []
        try:
            descriptors.extend(_opened(folder / path) for path in paths)
            sizes = [os.fstat(one).st_size for one in descriptors]
            return cls(descriptors, write_list(map(ListedFile, paths, sizes)))
        except BaseException:
            for one in descriptors:
                os.close(one)
            raise

    def read(self, offset: int) -> bytes:
        """Return some bytes from there on; empty at the end. Raises OSError."""
        at = bisect_right(self._ends, offset)
        if at == len(self._ends):
            return b""
        before = self._ends[at - 1] if at else 0
        return os.pread(self._descriptors[at], min(CHUNK_BYTES, self._ends[at] - offset), offset - before)

    def close(self) -> None:
        """Let go of the files."""
        for one in self._descriptors:
            os.close(one)


def _opened(path: Path) -> int:
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError("not a plain file")
    return descriptor
