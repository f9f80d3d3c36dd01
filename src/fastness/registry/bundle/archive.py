"""The two forms of a bundle: a directory, or one plain tar file. Both hold files in a fixed order, and nothing else.

The tar is read header by header: regular files only, no extensions, no padding beyond the two empty blocks at its end.
Nothing of what a general tar reader understands besides (links, devices, long names, sparse files) is understood.
"""

from __future__ import annotations

import hashlib
import os
import stat
import tarfile
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import BinaryIO, Final, Protocol

from fastness.registry.admission.copying import CHUNK_BYTES, sync_tree, write_copy
from fastness.registry.admission.quarantine import remove_tree
from fastness.registry.admission.refusal import AdmissionRefused
from fastness.registry.bundle.manifest import FILES_FOLDER, MANIFEST_PATH, SIGNATURE_PATH
from fastness.registry.durable import PARTIAL_SUFFIX, sync_directory

BLOCK_BYTES: Final = 512
_EMPTY: Final = bytes(BLOCK_BYTES)
_OPEN: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
_FOLDER: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_DIRECTORY

Read = Callable[[int], bytes]
"""Returns at most that many bytes, none at the end."""
Member = tuple[str, int, Read]
"""Path, size in bytes, and how its content is read; it must be read before the next."""


class Sink(Protocol):
    """Where a bundle is written."""

    def add(self, path: str, size_bytes: int, read: Read) -> str:
        """Write one file and return its SHA-256; raises EOFError when it is shorter than said."""
        ...


@contextmanager
def writing(output: Path, *, as_file: bool) -> Iterator[Sink]:
    """Write a bundle at `output`, which appears whole or not at all; raises FileExistsError, OSError."""
    if output.exists():
        raise FileExistsError(f"{output} exists already; a bundle never overwrites anything")
    draft = output.with_name(f".{output.name}.{os.urandom(4).hex()}{PARTIAL_SUFFIX}")
    try:
        if as_file:
            with draft.open("xb") as opened:
                yield _TarSink(opened)
                opened.write(_EMPTY + _EMPTY)
                opened.flush()
                os.fsync(opened.fileno())
        else:
            draft.mkdir(mode=0o700)
            yield _FolderSink(draft)
            sync_tree(draft)
        draft.rename(output)
        sync_directory(output.parent)
    finally:
        if draft.is_dir():
            remove_tree(draft)
        draft.unlink(missing_ok=True)


@contextmanager
def members(source: Path) -> Iterator[Iterator[Member]]:
    """Open a bundle and return its files, signature and manifest first. Raises AdmissionRefused as they are read."""
    try:
        kind = source.lstat().st_mode
        if stat.S_ISDIR(kind):
            descriptor = os.open(source, _FOLDER)
        elif stat.S_ISREG(kind):
            descriptor = os.open(source, _OPEN)
        else:
            raise AdmissionRefused("bundle.form", f"{source} is neither a plain file nor a directory")
    except OSError as error:
        raise AdmissionRefused("bundle.form", f"{source} cannot be read: {error.strerror}") from None
    try:
        if stat.S_ISDIR(kind):
            with closing(_folder_members(descriptor)) as found:
                yield found
        else:
            with os.fdopen(os.dup(descriptor), "rb", buffering=CHUNK_BYTES) as opened:
                yield _tar_members(opened)
    except EOFError:
        raise AdmissionRefused("bundle.form", f"{source} ends in the middle of a file: it was cut") from None
    finally:
        os.close(descriptor)


def is_bundle(source: Path) -> bool:
    """Tell whether something is to be read as a bundle: a directory with a manifest, or a tar that begins as ours."""
    if source.is_dir():
        return (source / MANIFEST_PATH).exists() and (source / SIGNATURE_PATH).exists()
    try:
        with source.open("rb") as opened:
            return opened.read(len(SIGNATURE_PATH) + 1) == SIGNATURE_PATH.encode() + b"\0"
    except OSError:
        return False


class _FolderSink:
    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def add(self, path: str, size_bytes: int, read: Read) -> str:
        return write_copy(read, self._folder / path, size_bytes)


class _TarSink:
    def __init__(self, opened: BinaryIO) -> None:
        self._opened = opened

    def add(self, path: str, size_bytes: int, read: Read) -> str:
        header = tarfile.TarInfo(path)
        header.size, header.mode = size_bytes, 0o444
        self._opened.write(header.tobuf(tarfile.GNU_FORMAT, "ascii", "strict"))
        digest, left_bytes = hashlib.sha256(), size_bytes
        while left_bytes:
            chunk = read(min(CHUNK_BYTES, left_bytes))
            if not chunk:
                raise EOFError
            digest.update(chunk)
            self._opened.write(chunk)
            left_bytes -= len(chunk)
        self._opened.write(bytes(-size_bytes % BLOCK_BYTES))
        return digest.hexdigest()


def _folder_members(folder: int) -> Generator[Member, None, None]:
    names = set(os.listdir(folder))
    if names != {SIGNATURE_PATH, MANIFEST_PATH, FILES_FOLDER.rstrip("/")}:
        strange = sorted(names ^ {SIGNATURE_PATH, MANIFEST_PATH, FILES_FOLDER.rstrip("/")})
        raise AdmissionRefused("bundle.form", f"{strange[0]!r} is missing from the bundle, or does not belong in it")
    for name in (SIGNATURE_PATH, MANIFEST_PATH):
        yield from _folder_member(folder, name, "")
    try:
        below = os.open(FILES_FOLDER.rstrip("/"), _FOLDER, dir_fd=folder)
    except OSError as error:
        raise AdmissionRefused("bundle.form", f"files/ cannot be read: {error.strerror}") from None
    try:
        for name in sorted(os.listdir(below)):  # noqa: PTH208 - of a descriptor
            yield from _folder_member(below, name, FILES_FOLDER)
    finally:
        os.close(below)


def _folder_member(folder: int, name: str, prefix: str) -> Iterator[Member]:
    """Return one file of a directory; it is closed when the next one is asked for."""
    try:
        descriptor = os.open(name, _OPEN, dir_fd=folder)
    except OSError as error:
        raise AdmissionRefused("bundle.form", f"{prefix}{name} cannot be read: {error.strerror}") from None
    with os.fdopen(descriptor, "rb", buffering=0) as opened:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            raise AdmissionRefused("bundle.form", f"{prefix}{name} is not a plain file")
        yield prefix + name, found.st_size, opened.read


def _tar_members(opened: BinaryIO) -> Iterator[Member]:
    while (block := _block(opened)) != _EMPTY:
        header = _header(block)
        left_bytes = header.size

        def read(most_bytes: int) -> bytes:
            nonlocal left_bytes
            chunk = opened.read(min(most_bytes, left_bytes))
            left_bytes -= len(chunk)
            return chunk

        yield header.name, header.size, read
        if left_bytes:
            raise EOFError
        if opened.read(-header.size % BLOCK_BYTES).strip(b"\0"):
            raise AdmissionRefused("bundle.form", f"there is something behind {header.name}, where nothing may be")
    if _block(opened) != _EMPTY or opened.read(1):
        raise AdmissionRefused("bundle.form", "there is something behind the end of the bundle")


def _block(opened: BinaryIO) -> bytes:
    block = opened.read(BLOCK_BYTES)
    if len(block) != BLOCK_BYTES:
        raise EOFError
    return block


def _header(block: bytes) -> tarfile.TarInfo:
    try:
        header = tarfile.TarInfo.frombuf(block, "ascii", "strict")
    except (tarfile.HeaderError, ValueError) as error:
        raise AdmissionRefused("bundle.form", f"the bundle is not a tar file of ours: {error}") from None
    if header.type != tarfile.REGTYPE or header.size < 0:
        raise AdmissionRefused("bundle.form", f"{header.name[:80]!r} is not a plain file")
    return header
