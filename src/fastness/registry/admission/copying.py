"""Copying what cannot be trusted: through descriptors, hashed as it is copied, never through a link.

Whatever happens to the source afterwards, or between two looks at it, the copy and its digests belong together: each
byte is read once.
"""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from fastness.core.admission import ArtefactFile
from fastness.registry.admission.refusal import AdmissionRefused
from fastness.registry.durable import sync_directory
from fastness.registry.inspection.port import ArtefactRefused

CHUNK_BYTES: Final = 1_048_576
DEPTH_MAX: Final = 4
_FILES_MAX: Final = 1_000_000
SPARE_BYTES: Final = 67_108_864
"""Space that is left free beside a copy: the store and the ledger need some too."""
_FILE: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
_FOLDER: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_DIRECTORY

Progress = Callable[[int], None]
"""Receives the bytes done."""


def copy_tree(source: Path, target: Path, *, files_max: int, bytes_max: int) -> tuple[ArtefactFile, ...]:
    """Copy a file, or a directory's files, into the new directory `target`; return them sorted by path.

    The copies are read-only and on the disk when this returns. Raises ArtefactRefused (links, devices, too many, too
    large, changed while copied), AdmissionRefused (no space), OSError.
    """
    target.mkdir(parents=True, mode=0o700)
    with _opened(source) as (root, single):
        paths = [single] if single else _listed(root, files_max)
        sizes = _sizes(root, paths)
        check_space(target, sum(sizes), bytes_max, source.name)
        copied = tuple(_copy(root, path, size, target) for path, size in zip(paths, sizes, strict=True))
    sync_tree(target)
    return copied


def check_space(where: Path, size_bytes: int, bytes_max: int, name: str) -> None:
    """Refuse what is too large by its setting, or for the disk."""
    if size_bytes > bytes_max:
        raise ArtefactRefused("file.size", f"{size_bytes:,} bytes; registry.artefact_bytes_max is {bytes_max:,}", name)
    found = os.statvfs(where)
    free_bytes = found.f_bavail * found.f_frsize - SPARE_BYTES
    if size_bytes > free_bytes:
        raise AdmissionRefused(
            "admission.space",
            f"{size_bytes:,} bytes are needed in {where}; {max(0, free_bytes):,} may be used. "
            "Free some, or set FASTNESS_HOME to a directory on a larger disk.",
        )


def write_copy(read: Callable[[int], bytes], target: Path, size_bytes: int) -> str:
    """Write exactly `size_bytes` to a new read-only file and return their SHA-256; raises EOFError when fewer come."""
    target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    digest, left_bytes = hashlib.sha256(), size_bytes
    descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o400)
    with os.fdopen(descriptor, "wb", buffering=0) as opened:
        while left_bytes:
            chunk = read(min(CHUNK_BYTES, left_bytes))
            if not chunk:
                raise EOFError
            digest.update(chunk)
            view = memoryview(chunk)
            while view:
                view = view[opened.write(view) :]
            left_bytes -= len(chunk)
        os.fchmod(descriptor, 0o444)
        os.fsync(descriptor)
    return digest.hexdigest()


def digest_of(path: Path, progress: Progress = lambda _done_bytes: None) -> str:
    """Return the SHA-256 of a plain file, not through a link; raises OSError."""
    digest, done_bytes, buffer = hashlib.sha256(), 0, memoryview(bytearray(CHUNK_BYTES))
    with os.fdopen(os.open(path, _FILE), "rb", buffering=0) as opened:
        if not stat.S_ISREG(os.fstat(opened.fileno()).st_mode):
            raise OSError(f"{path} is not a plain file")
        while count := opened.readinto(buffer):
            digest.update(buffer[:count])
            done_bytes += count
            progress(done_bytes)
    return digest.hexdigest()


def files_below(folder: Path) -> tuple[ArtefactFile, ...]:
    """Return the files of a directory with their digests, sorted by path; raises OSError, ArtefactRefused."""
    with _opened(folder) as (root, _):
        paths = _listed(root, _FILES_MAX)
    return tuple(ArtefactFile(one, (folder / one).stat().st_size, digest_of(folder / one)) for one in paths)


def sync_tree(folder: Path) -> None:
    """Make the names below a directory durable."""
    for where, _, _ in os.walk(folder):
        sync_directory(Path(where))


@contextmanager
def _opened(source: Path) -> Iterator[tuple[int, str]]:
    """Open a directory, or the directory that holds a file, and the file's name (empty for a directory)."""
    try:
        found = source.lstat()
        single = "" if stat.S_ISDIR(found.st_mode) else source.name
        if stat.S_ISLNK(found.st_mode):
            raise ArtefactRefused("file.symlink", "is a symbolic link; name what it points to", source.name)
        root = os.open(source.parent if single else source, _FOLDER if not single else _FOLDER & ~os.O_NOFOLLOW)
    except OSError as error:
        raise ArtefactRefused("file.unreadable", f"cannot be read: {error.strerror}", str(source)) from None
    try:
        yield root, single
    finally:
        os.close(root)


def _listed(root: int, files_max: int) -> list[str]:
    """List the files below a directory, sorted; directories count too, so that no tree of them is walked for ever."""
    found: list[str] = []
    try:
        for count, path in enumerate(_walk(root, "", 0)):
            if count >= files_max:
                raise ArtefactRefused("file.count", f"has more than {files_max} files", path)
            if not path.endswith("/"):
                found.append(path)
    except OSError as error:
        raise ArtefactRefused("file.changed", f"cannot be listed: {error.strerror}", ".") from None
    return sorted(found)


def _walk(folder: int, prefix: str, depth: int) -> Iterator[str]:
    if depth > DEPTH_MAX:
        raise ArtefactRefused("file.depth", f"lies deeper than {DEPTH_MAX} directories", prefix)
    with os.scandir(folder) as entries:
        for entry in entries:
            path = prefix + entry.name
            if entry.is_symlink():
                raise ArtefactRefused("file.symlink", "is a symbolic link", path)
            if not entry.is_dir(follow_symlinks=False):
                yield path
                continue
            yield path + "/"
            below = os.open(entry.name, _FOLDER, dir_fd=folder)
            try:
                yield from _walk(below, path + "/", depth + 1)
            finally:
                os.close(below)


def _sizes(root: int, paths: list[str]) -> list[int]:
    try:
        return [os.stat(path, dir_fd=root, follow_symlinks=False).st_size for path in paths]
    except OSError as error:
        raise ArtefactRefused("file.changed", f"changed while it was read: {error.strerror}", ".") from None


def _copy(root: int, path: str, size_bytes: int, target: Path) -> ArtefactFile:
    *folders, name = path.split("/")
    opened = [root]
    try:
        for folder in folders:
            opened.append(os.open(folder, _FOLDER, dir_fd=opened[-1]))
        opened.append(os.open(name, _FILE, dir_fd=opened[-1]))
        before = os.fstat(opened[-1])
        if not stat.S_ISREG(before.st_mode):
            raise ArtefactRefused("file.special", "is not a plain file", path)
        if before.st_size != size_bytes:
            raise ArtefactRefused("file.changed", "changed while it was read", path)
        digest = write_copy(lambda most: os.read(opened[-1], most), target / path, size_bytes)
        after = os.fstat(opened[-1])
        if (after.st_size, after.st_mtime_ns) != (before.st_size, before.st_mtime_ns):
            raise ArtefactRefused("file.changed", "changed while it was copied", path)
    except EOFError:
        raise ArtefactRefused("file.changed", "became shorter while it was copied", path) from None
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise AdmissionRefused("admission.space", f"{target.parent} is full") from None
        rule = "file.symlink" if error.errno == errno.ELOOP else "file.unreadable"
        raise ArtefactRefused(rule, f"cannot be copied: {error.strerror}", path) from None
    finally:
        for descriptor in opened[1:]:
            os.close(descriptor)
    return ArtefactFile(path, size_bytes, digest)
