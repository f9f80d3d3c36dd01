"""A model on its way here, on the disk: one file, or a folder of files that come one after the other.

What has come lies beside the models as `DIGEST.fetched`, which for a folder is a folder with the list of its files. All
positions are bytes from the model's first on: for a folder, from the first file on its list.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from bisect import bisect_right
from contextlib import suppress
from itertools import accumulate
from pathlib import Path
from typing import Final, Protocol

from fastness.core.file_list import ListedFile, folder_digest, read_list

CHUNK_BYTES: Final = 1_048_576
SUFFIX: Final = ".fetched"
"""What has come of a model is called so, beside the models."""
KEPT_S: Final = 7 * 86_400
"""For so long what was begun is kept when nobody goes on with it."""
_LIST: Final = "list"
_FILES: Final = "files"


class Landing(Protocol):
    """Where a model comes down. All of it blocks, and raises OSError."""

    def begun(self) -> int:
        """Return how much lies here from before, to go on from there."""
        ...

    def write(self, content: bytes, offset: int) -> None:
        """Write all of `content` from `offset` on."""
        ...

    def settle(self) -> None:
        """Make what was written last, and let go of files."""
        ...

    def digest(self) -> str:
        """Return the digest of what has come, in hex."""
        ...

    def give_name(self) -> None:
        """Give what is whole and right its name, durably, and let nobody write to it any more."""
        ...


class LandingFile:
    """A model that is one file: `DIGEST.gguf` when it is whole."""

    def __init__(self, folder: Path, digest: str) -> None:
        self._partial, self._target = folder / f"{digest}{SUFFIX}", folder / f"{digest}.gguf"
        self._descriptor: int | None = None

    def begun(self) -> int:
        """See Landing."""
        with suppress(FileNotFoundError):
            return self._partial.stat().st_size
        return 0

    def write(self, content: bytes, offset: int) -> None:
        """See Landing."""
        if self._descriptor is None:
            self._descriptor = _open_to_write(self._partial)
        _write_at(self._descriptor, content, offset)

    def settle(self) -> None:
        """See Landing."""
        if self._descriptor is not None:
            descriptor, self._descriptor = self._descriptor, None
            _sync_and_close(descriptor)

    def digest(self) -> str:
        """See Landing."""
        return digest_of(self._partial)

    def give_name(self) -> None:
        """See Landing."""
        self._partial.chmod(0o444)
        self._partial.rename(self._target)
        _sync_folder(self._target.parent)


class LandingFolder:
    """A model that is a folder: `DIGEST/…` when it is whole. Its list says what comes, in which order."""

    def __init__(self, folder: Path, digest: str, files: tuple[ListedFile, ...]) -> None:
        self._partial, self._target = folder / f"{digest}{SUFFIX}", folder / digest
        self._files = files
        self._ends = list(accumulate(one.size_bytes for one in files))
        self._open: tuple[int, int] | None = None  # which file, and its descriptor

    @classmethod
    def begin(cls, folder: Path, digest: str, text: bytes, size_bytes: int) -> LandingFolder:
        """Make the folder for what this list names; raises ValueError for no such list."""
        files = read_list(text, size_bytes)
        made = cls(folder, digest, files)
        for one in files:
            made._path(one).parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            os.close(_open_to_write(made._path(one)))  # those that are empty are there as well
        (made._partial / _LIST).write_bytes(text)
        return made

    @classmethod
    def go_on(cls, folder: Path, digest: str, size_bytes: int) -> LandingFolder | None:
        """Return what was begun before, if it can be gone on with."""
        with suppress(OSError, ValueError):
            text = (folder / f"{digest}{SUFFIX}" / _LIST).read_bytes()
            made = cls(folder, digest, read_list(text, size_bytes))
            if all(made._path(one).is_file() for one in made._files):
                return made
        return None

    def _path(self, one: ListedFile) -> Path:
        return self._partial / _FILES / one.path

    def is_listed(self, text: bytes) -> bool:
        """Tell whether this is the list by which it was begun."""
        return (self._partial / _LIST).read_bytes() == text

    def begun(self) -> int:
        """See Landing."""
        there_bytes = 0
        for one in self._files:
            size_bytes = self._path(one).stat().st_size
            there_bytes += min(size_bytes, one.size_bytes)
            if size_bytes != one.size_bytes:
                break
        return there_bytes

    def write(self, content: bytes, offset: int) -> None:
        """See Landing."""
        view = memoryview(content)
        while view:
            at = bisect_right(self._ends, offset)
            if self._open is None or self._open[0] != at:
                self.settle()
                self._open = at, _open_to_write(self._path(self._files[at]))
            part = view[: self._ends[at] - offset]
            _write_at(self._open[1], part, offset - self._ends[at] + self._files[at].size_bytes)
            view, offset = view[len(part) :], offset + len(part)

    def settle(self) -> None:
        """See Landing."""
        if self._open is not None:
            (_, descriptor), self._open = self._open, None
            _sync_and_close(descriptor)

    def digest(self) -> str:
        """See Landing."""
        return folder_digest((one.path, digest_of(self._path(one))) for one in self._files)

    def give_name(self) -> None:
        """See Landing."""
        for one in self._files:
            self._path(one).chmod(0o444)
        for where, _, _ in os.walk(self._partial / _FILES):
            _sync_folder(Path(where))
        (self._partial / _FILES).rename(self._target)
        _sync_folder(self._target.parent)
        shutil.rmtree(self._partial)


def landing(folder: Path, digest: str, size_bytes: int) -> Landing | None:
    """Return where a model comes down that was begun before; None: nothing of use lies here. Raises OSError."""
    partial = folder / f"{digest}{SUFFIX}"
    found: Landing | None = None
    if partial.is_dir():
        found = LandingFolder.go_on(folder, digest, size_bytes)
    elif partial.exists() and partial.stat().st_size <= size_bytes:
        found = LandingFile(folder, digest)
    if found is None:
        discard(folder, digest)
    return found


def discard(folder: Path, digest: str) -> None:
    """Throw away what has come of a model; raises OSError."""
    _remove(folder / f"{digest}{SUFFIX}")


def is_here(folder: Path, digest: str) -> bool:
    """Tell whether a model has its name, and so was verified."""
    return (folder / f"{digest}.gguf").exists() or (folder / digest).is_dir()


def remove_left_overs(folder: Path, now_s: float) -> None:
    """Remove what was begun and not gone on with for a week; raises nothing."""
    with suppress(OSError):
        for path in folder.glob(f"*{SUFFIX}"):
            newest_s = max(one.stat().st_mtime for one in (path, *path.rglob("*")))
            if now_s - newest_s > KEPT_S:
                _remove(path)


def digest_of(path: Path) -> str:
    """Return the SHA-256 of a file, in hex; raises OSError."""
    digest, buffer = hashlib.sha256(), memoryview(bytearray(CHUNK_BYTES))
    with path.open("rb", buffering=0) as opened:
        while size_bytes := opened.readinto(buffer):
            digest.update(buffer[:size_bytes])
    return digest.hexdigest()


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _open_to_write(path: Path) -> int:
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)


def _write_at(descriptor: int, content: bytes | memoryview, offset: int) -> None:
    view = memoryview(content)
    while view:
        written = os.pwrite(descriptor, view, offset)
        view, offset = view[written:], offset + written


def _sync_and_close(descriptor: int) -> None:
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _sync_folder(folder: Path) -> None:
    _sync_and_close(os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC))
