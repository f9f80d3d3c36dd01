"""The files of an artefact: found, opened without following anything, and held to what they were when found."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from fastness.config import RegistrySettings
from fastness.registry.inspection.naming import DIRECTORIES, Part, bytes_max, check_plain, part_of
from fastness.registry.inspection.opened import Found, Opened, changed, mark_of
from fastness.registry.inspection.port import ArtefactRefused

_KINDS: Final = ((stat.S_ISLNK, "a symbolic link"), (stat.S_ISFIFO, "a pipe"), (stat.S_ISSOCK, "a socket"))
_OPEN: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


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
                raise changed(self._path.name)

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
                if mark_of(os.fstat(descriptor)) != found.mark:
                    raise changed(found.path)
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
        return Found(path, part, mark_of(status))


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
