"""The files of an artefact: found, opened without following anything, and held to what they were when found.

Everything that is learned of a file comes from one descriptor, and its digest covers the very bytes that were parsed:
what is in memory is hashed first, the rest is read on from there.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from fastness.config import RegistrySettings
from fastness.core.admission import ArtefactFile
from fastness.registry.inspection.naming import DIRECTORIES, Part, bytes_max, check_plain, part_of
from fastness.registry.inspection.port import ArtefactRefused

CHUNK_BYTES: Final = 1 << 20
_KINDS: Final = ((stat.S_ISLNK, "a symbolic link"), (stat.S_ISFIFO, "a pipe"), (stat.S_ISSOCK, "a socket"))
_OPEN: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


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
        if _mark(os.fstat(self._descriptor)) != self._found.mark:
            raise _changed(self.path)
        return ArtefactFile(self.path, self.size_bytes, digest.hexdigest())

    def _read(self, at: int, size_bytes: int) -> bytes:
        try:
            chunk = os.pread(self._descriptor, size_bytes, at)
        except OSError as error:
            raise ArtefactRefused("file.unreadable", f"cannot be read: {error.strerror}", self.path) from None
        if not chunk:
            raise _changed(self.path)
        return chunk


class Folder:
    """An artefact's place: one file, or a directory. Nothing in it is opened by a path."""

    def __init__(self, path: Path, settings: RegistrySettings) -> None:
        self._path = path
        self._settings = settings

    @contextmanager
    def open(self) -> Iterator[tuple[Found, ...]]:
        """Find all files; when the body is done, find them again, and refuse when anything is different."""
        with _descriptor(self._path.parent, os.O_PATH | os.O_DIRECTORY) as self._parent:
            before = self._find()
            yield tuple(before[path] for path in sorted(before))
            if self._find() != before:
                raise _changed(self._path.name)

    @contextmanager
    def read(self, found: Found) -> Iterator[Opened]:
        """Open one file."""
        *folders, name = found.path.split("/")
        with self._directory(folders) as parent:
            try:
                descriptor = os.open(name, _OPEN, dir_fd=parent)
            except OSError as error:
                raise ArtefactRefused("file.unreadable", f"cannot be opened: {error.strerror}", found.path) from None
            try:
                if _mark(os.fstat(descriptor)) != found.mark:
                    raise _changed(found.path)
                yield Opened(found, descriptor)
            finally:
                os.close(descriptor)

    @contextmanager
    def _directory(self, folders: list[str]) -> Iterator[int]:
        """Open the directory that holds a file: for an artefact that is a file, the one around it."""
        if stat.S_ISREG(self._status(self._path.name, self._parent, self._path.name).st_mode):
            yield self._parent
            return
        flags = _OPEN | os.O_DIRECTORY
        with _descriptor(Path(self._path.name), flags, self._parent) as root:
            if not folders:
                yield root
                return
            with _descriptor(Path(folders[0]), flags, root) as below:
                yield below

    def _find(self) -> Mapping[str, Found]:
        name = self._path.name
        status = self._status(name, self._parent, name)
        found: dict[str, Found] = {}
        if stat.S_ISDIR(status.st_mode):
            with self._directory([]) as root:
                for path, each in self._walk(root, ""):
                    found[path] = self._accept(path, each)
                    if len(found) > self._settings.files_max:
                        raise ArtefactRefused("file.count", f"at most {self._settings.files_max} files", name)
        else:
            found[name] = self._accept(name, status)
            if found[name].part is not Part.GGUF:
                raise ArtefactRefused("file.weights", "a single file is a GGUF file; name the directory", name)
        # A name elsewhere is common (package installers link) and harmless: what counts is the digest of what was read.
        if len({(each.mark.device, each.mark.inode) for each in found.values()}) != len(found):
            raise ArtefactRefused("file.linked", "has one file under two names", name)
        total_bytes = sum(each.mark.size_bytes for each in found.values())
        if total_bytes > (most := self._settings.artefact_bytes_max):
            raise ArtefactRefused("file.size", f"{total_bytes:,} bytes together; {most:,} are allowed", name)
        return found

    def _walk(self, descriptor: int, prefix: str) -> Iterator[tuple[str, os.stat_result]]:
        with os.scandir(descriptor) as entries:
            names = [entry.name for _, entry in zip(range(self._settings.files_max + 1), entries, strict=False)]
        for name in names:
            path = prefix + name
            check_plain(name)
            status = self._status(name, descriptor, path)
            if not stat.S_ISDIR(status.st_mode):
                yield path, status
            elif path in DIRECTORIES:
                with _descriptor(Path(name), _OPEN | os.O_DIRECTORY, descriptor) as below:
                    yield from self._walk(below, path + "/")
            else:
                raise ArtefactRefused("file.depth", f"directories here are {', '.join(DIRECTORIES)} only", path)

    def _status(self, name: str, descriptor: int, path: str) -> os.stat_result:
        try:
            return os.stat(name, dir_fd=descriptor, follow_symlinks=False)
        except OSError as error:
            raise ArtefactRefused("file.unreadable", f"cannot be looked at: {error.strerror}", path) from None

    def _accept(self, path: str, status: os.stat_result) -> Found:
        check_plain(path.rpartition("/")[2])
        for is_kind, word in _KINDS:
            if is_kind(status.st_mode):
                raise ArtefactRefused("file.symlink" if is_kind is stat.S_ISLNK else "file.special", f"is {word}", path)
        if not stat.S_ISREG(status.st_mode):
            raise ArtefactRefused("file.special", "is a device", path)
        part = part_of(path)
        if not status.st_size:
            raise ArtefactRefused("file.size", "is empty", path)
        most = bytes_max(path, part, self._settings.template_bytes_max)
        if most is not None and status.st_size > most:
            rule = {Part.JSON: "json.bounds", Part.TEMPLATE: "template.size"}.get(part, "file.size")
            raise ArtefactRefused(rule, f"has {status.st_size:,} bytes; {most:,} are allowed", path)
        return Found(path, part, _mark(status))


@contextmanager
def _descriptor(path: Path, flags: int, parent: int | None = None) -> Iterator[int]:
    try:
        descriptor = os.open(path, flags | os.O_CLOEXEC, dir_fd=parent)
    except OSError as error:
        raise ArtefactRefused("file.unreadable", f"cannot be opened: {error.strerror}", path.name) from None
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _mark(status: os.stat_result) -> Mark:
    return Mark(status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)


def _changed(path: str) -> ArtefactRefused:
    return ArtefactRefused("file.changed", "changed while it was read; import it from a place nobody writes to", path)
