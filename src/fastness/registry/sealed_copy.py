"""Weights as an engine gets them: a copy in memory that nobody can change, whose digest was taken as it was made.

A file that was verified can be replaced or written to before it is loaded, and while it is mapped. The copy cannot:
the kernel refuses every write to it, from whoever holds it, for as long as it exists. It is hashed through the same
descriptor that it is read from, once; every start and restart of an engine then loads these very bytes.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from fastness.core.file_list import folder_digest
from fastness.registry.folder import Weighed, files_in, is_folder
from fastness.registry.library import CHUNK_BYTES, ModelRefused, ModelUnavailable, refuse_other

_NEVER_EXECUTED: Final = 0x0008
"""MFD_NOEXEC_SEAL, which Python 3.11 has no name for."""
SEALS: Final = fcntl.F_SEAL_WRITE | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL


def sealed_copy(card: Weighed, weights: Path, progress: Callable[[int], None] = lambda _done_bytes: None) -> int:
    """Return a descriptor of the sealed copy of a model's weights; closing it lets go of the memory.

    `progress` gets the bytes done, in the calling thread. Raises ModelRefused when they are not those that were
    admitted, ModelUnavailable when they cannot be read or this machine has no memory for them.
    """
    try:
        source = os.open(weights, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        raise ModelUnavailable(f"{card.name}: {weights} cannot be read: {error.strerror}") from None
    try:
        copy = _memory_file(card)
        try:
            _fill(copy, card, weights, source, progress)
        except BaseException:
            os.close(copy)
            raise
    except OSError as error:
        raise ModelUnavailable(
            f"{card.name}: its {card.size_bytes:,} bytes cannot be copied into memory: {error.strerror}. "
            "Needed: that much free memory beside what engines use."
        ) from None
    finally:
        os.close(source)
    return copy


def sealed_copies(
    card: Weighed, weights: Path, progress: Callable[[int], None] = lambda _done_bytes: None
) -> dict[str, int]:
    """Return the descriptors of sealed copies of a model's files by their paths in it; of a single file, by no name.

    Raises what sealed_copy raises.
    """
    if not is_folder(card):
        return {"": sealed_copy(card, weights, progress)}
    copies: dict[str, int] = {}
    try:
        digest = folder_digest(_copied(card, weights, copies, progress))
        refuse_other(card.name, str(weights), digest, card.digest)
    except BaseException as error:
        for copy in copies.values():
            os.close(copy)
        if isinstance(error, OSError):
            raise ModelUnavailable(
                f"{card.name}: the {card.size_bytes:,} bytes of {weights} cannot be copied into memory: {error}. "
                "Needed: that much free memory beside what engines use."
            ) from None
        raise
    return copies


def _copied(
    card: Weighed, folder: Path, copies: dict[str, int], progress: Callable[[int], None]
) -> Iterator[tuple[str, str]]:
    """Copy each file, and yield its path and digest. Together they have the size that was admitted, no byte more."""
    left_bytes = card.size_bytes
    for path in files_in(folder):
        source = os.open(folder / path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
        try:
            found = os.fstat(source)
            if not stat.S_ISREG(found.st_mode) or found.st_size > left_bytes:
                raise ModelRefused(
                    f"{card.name}: {folder} has more than the {card.size_bytes:,} bytes that were admitted, or {path} "
                    "is not a plain file. It is not loaded."
                )
            copy = copies[path] = _memory_file(card)
            done_bytes = card.size_bytes - left_bytes
            digest = _copy(source, copy, found.st_size, lambda done, base=done_bytes: progress(base + done))  # type: ignore[misc]
            fcntl.fcntl(copy, fcntl.F_ADD_SEALS, SEALS)
            left_bytes -= found.st_size
            yield path, digest
        finally:
            os.close(source)


def path_of(descriptor: int) -> Path:
    """Return the path by which a process that inherited the descriptor opens the copy."""
    return Path(f"/proc/self/fd/{descriptor}")


def _memory_file(card: Weighed) -> int:
    flags = os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING
    try:
        return os.memfd_create(card.name, flags | _NEVER_EXECUTED)
    except OSError:  # before Linux 6.3
        return os.memfd_create(card.name, flags)


def _fill(copy: int, card: Weighed, weights: Path, source: int, progress: Callable[[int], None]) -> None:
    found = os.fstat(source)
    if not stat.S_ISREG(found.st_mode):
        raise ModelRefused(f"{card.name}: {weights} is not a plain file. It is not loaded.")
    if found.st_size != card.size_bytes:
        raise ModelRefused(
            f"{card.name}: {weights} has {found.st_size:,} bytes; {card.size_bytes:,} were admitted. It is not loaded."
        )
    digest = _copy(source, copy, card.size_bytes, progress)
    fcntl.fcntl(copy, fcntl.F_ADD_SEALS, SEALS)
    refuse_other(card.name, str(weights), digest, card.digest)


def _copy(source: int, copy: int, size_bytes: int, progress: Callable[[int], None]) -> str:
    """Copy at most `size_bytes` and return their SHA-256: of what was written, read once."""
    digest, done_bytes, buffer = hashlib.sha256(), 0, memoryview(bytearray(CHUNK_BYTES))
    while done_bytes < size_bytes and (count := os.readv(source, [buffer[: size_bytes - done_bytes]])):
        digest.update(buffer[:count])
        written = 0
        while written < count:
            written += os.write(copy, buffer[written:count])
        done_bytes += count
        progress(done_bytes)
    return digest.hexdigest()
