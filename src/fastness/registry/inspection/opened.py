"""One file of an artefact while it is read: everything that is learned of it comes from one descriptor.

Its digest covers the very bytes that were parsed: what is in memory is hashed first, the rest is read on from there.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from typing import Final

from fastness.core.admission import ArtefactFile
from fastness.registry.inspection.naming import Part
from fastness.registry.inspection.port import ArtefactRefused

CHUNK_BYTES: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class Mark:
    """By what a file is recognised as unchanged."""

    device: int
    inode: int
    size_bytes: int
    modified_ns: int
    changed_ns: int


@dataclass(frozen=True, slots=True)
class Found:
    """A file of an artefact, before it is opened."""

    path: str
    part: Part
    mark: Mark


class Opened:
    """One file that is being read. The digest is of `beginning` as it was read once, and of what follows it."""

    def __init__(self, found: Found, descriptor: int) -> None:
        self.path = found.path
        self.size_bytes = found.mark.size_bytes
        self._descriptor = descriptor
        self._found = found
        self._beginning = b""

    def beginning(self, size_bytes: int) -> bytes:
        """Return the first `size_bytes` of the file (all of it, if it has fewer); what was read once stays the same."""
        wanted = min(size_bytes, self.size_bytes)
        parts = [self._beginning]
        at = len(self._beginning)
        while at < wanted:
            parts.append(self._read(at, min(CHUNK_BYTES, wanted - at)))
            at += len(parts[-1])
        self._beginning = b"".join(parts)
        return self._beginning[:wanted]

    def end(self, size_bytes: int) -> bytes:
        """Return up to the last `size_bytes` of the file; only good for a look: they are read again for the digest."""
        start = max(0, self.size_bytes - size_bytes)
        return self._read(start, self.size_bytes - start) if start < self.size_bytes else b""

    def finish(self) -> ArtefactFile:
        """Hash what was parsed, then the rest, and make sure that the file is what it was."""
        digest, at = hashlib.sha256(self._beginning), len(self._beginning)
        while at < self.size_bytes:
            chunk = self._read(at, min(CHUNK_BYTES, self.size_bytes - at))
            digest.update(chunk)
            at += len(chunk)
        if mark_of(os.fstat(self._descriptor)) != self._found.mark:
            raise changed(self.path)
        return ArtefactFile(self.path, self.size_bytes, digest.hexdigest())

    def _read(self, at: int, size_bytes: int) -> bytes:
        try:
            chunk = os.pread(self._descriptor, size_bytes, at)
        except OSError as error:
            raise ArtefactRefused("file.unreadable", f"cannot be read: {error.strerror}", self.path) from None
        if not chunk:
            raise changed(self.path)
        return chunk


def mark_of(status: os.stat_result) -> Mark:
    """Return the mark of a file that was looked at."""
    return Mark(status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)


def changed(path: str) -> ArtefactRefused:
    """Return the refusal of a file that did not hold still."""
    return ArtefactRefused("file.changed", "changed while it was read; import it from a place nobody writes to", path)
