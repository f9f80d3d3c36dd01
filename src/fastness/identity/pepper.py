"""The pepper: 32 random bytes of this installation, without which a stolen database cannot confirm a guessed key."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Final

PEPPER_BYTES: Final = 32


class PepperError(Exception):
    """The pepper cannot be trusted or read; the message says what was found and what to do."""


def load_or_create(path: Path, entropy: Callable[[int], bytes] = os.urandom) -> bytes:
    """Return the 32 bytes kept at `path`, making them (and the directory, 0700) at first use.

    Several processes may call this at once: all of them return the same bytes, and a crash leaves either the whole
    file or none. Raises PepperError when the file or its directory is open to others, is not ours, is no plain file,
    or has a wrong length.
    """
    _make_directory(path.parent)
    try:
        return _load(path)
    except FileNotFoundError:
        _create(path, entropy(PEPPER_BYTES))
        return _load(path)
    except OSError as error:
        raise PepperError(f"{path} cannot be read: {error.strerror}. Needed: a plain file of this user.") from error


def _make_directory(directory: Path) -> None:
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        _require_private(directory, directory.lstat(), stat.S_ISDIR, "directory", "chmod 700")
    except OSError as error:
        raise PepperError(
            f"{directory} cannot be made or read: {error.strerror}. Needed: a private directory."
        ) from error


def _load(path: Path) -> bytes:
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        _require_private(path, os.fstat(descriptor), stat.S_ISREG, "plain file", "chmod 600")
        pepper = os.read(descriptor, PEPPER_BYTES + 1)
    finally:
        os.close(descriptor)
    if len(pepper) != PEPPER_BYTES:
        size = "more" if len(pepper) > PEPPER_BYTES else str(len(pepper))
        raise PepperError(
            f"{path} must hold exactly {PEPPER_BYTES} bytes and holds {size}. Restore it from a backup. "
            "Only if there is none: remove it and issue every API key again, for none of the old ones will be known."
        )
    return pepper


def _require_private(path: Path, found: os.stat_result, is_kind: Callable[[int], bool], kind: str, remedy: str) -> None:
    if not is_kind(found.st_mode):
        raise PepperError(f"{path} is not a {kind}. Move it away, and put the real one back.")
    if found.st_uid != os.geteuid():
        raise PepperError(f"{path} belongs to user {found.st_uid}, and Fastness runs as {os.geteuid()}: chown it.")
    if found.st_mode & 0o077:
        mode = stat.S_IMODE(found.st_mode)
        raise PepperError(f"{path} has mode {mode:04o} and may be open to its owner only: {remedy} {path}")


def _create(path: Path, pepper: bytes) -> None:
    """Write under another name and link: whoever links first wins, and nobody ever sees half a file."""
    draft = path.with_name(f".{path.name}.{os.getpid()}.{os.urandom(4).hex()}")
    try:
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            os.write(descriptor, pepper)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        try:
            os.link(draft, path)
        except FileExistsError:
            pass
        finally:
            draft.unlink()
        _sync_directory(path.parent)
    except OSError as error:
        raise PepperError(f"{path} cannot be written: {error.strerror}. Needed: a writable {path.parent}.") from error


def _sync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
