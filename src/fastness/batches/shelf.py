"""What is kept of files and batches, on this machine's disk: `<root>/<tenant>/<id>.record` and `<id>.sealed`.

A record is sealed under its tenant's key and holds the key of its content: without the record nobody can read the
content, so a file is destroyed by destroying its record first. Names of files and metadata of batches are in records
only. Everything is read once, at the start; from then on the disk is only written.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from threading import Lock
from typing import Final, TypeVar

import msgspec

from fastness.batches.records import BatchRecord, FileRecord
from fastness.batches.sealed import SealedFile, read_sealed, write_sealed
from fastness.batches.vault import Vault
from fastness.core.ids import is_name
from fastness.sealed.box import Damaged

RECORD_BYTES_MAX: Final = 1_048_576
"""One record on disk."""
_RECORD: Final = ".record"
_CONTENT: Final = ".sealed"
_DRAFT: Final = ".partial"

R = TypeVar("R", FileRecord, BatchRecord)


class Shelf:
    """Files and batches by id. Methods that write block, and raise OSError; records are written one after the other."""

    def __init__(self, root: Path, vault: Vault) -> None:
        self._root = root
        self._vault = vault
        self._writing = Lock()
        self.files: dict[str, FileRecord] = {}
        self.batches: dict[str, BatchRecord] = {}

    def load(self, unreadable: Callable[[str], None]) -> None:
        """Read all records and remove what a crash left behind; `unreadable` hears the id of what cannot be opened."""
        self._root.mkdir(mode=0o700, parents=True, exist_ok=True)
        for folder in sorted(one for one in self._root.iterdir() if one.is_dir() and is_name(one.name)):
            whole = True
            for path in sorted(folder.iterdir()):
                if path.suffix == _DRAFT:
                    path.unlink()
                elif path.suffix == _RECORD:
                    try:
                        self._load(folder.name, path)
                    except (Damaged, msgspec.DecodeError, OSError):
                        whole = False
                        unreadable(path.stem)
            if whole:  # or what a record refers to that another secret would open could be taken for a stray
                self._remove_strays(folder)

    def keep(self, record: FileRecord | BatchRecord) -> None:
        """Remember a record, or what it is now, durably. It is shown by `show`."""
        folder = self._folder(record.tenant)
        sealed = self._vault.seal(record.tenant, record.id, msgspec.json.encode(record))
        path = folder / (record.id + _RECORD)
        draft = path.with_suffix(_DRAFT)
        with self._writing:
            with open(draft, "wb", opener=_private) as file:
                file.write(sealed)
                file.flush()
                os.fsync(file.fileno())
            draft.rename(path)
            _sync(folder)

    def show(self, record: FileRecord | BatchRecord) -> None:
        """Let readers see a record that the disk has, or will have in a moment."""
        if isinstance(record, FileRecord):
            self.files[record.id] = record
        else:
            self.batches[record.id] = record

    def destroy(self, record: FileRecord | BatchRecord) -> None:
        """Destroy a record, and with it the key of its content; then the content. Idempotent."""
        folder = self._folder(record.tenant)
        path = folder / (record.id + _RECORD)
        if path.exists():
            with path.open("r+b", buffering=0) as file:
                file.write(bytes(path.stat().st_size))
                os.fsync(file.fileno())
            path.unlink()
            _sync(folder)
        self.content_path(record.tenant, record.id).unlink(missing_ok=True)
        self.files.pop(record.id, None)
        self.batches.pop(record.id, None)

    def write(self, tenant: str, file: str, key: bytes, content: Iterable[bytes]) -> None:
        """Write the content of a file that has no record yet."""
        write_sealed(self._in_folder(tenant, file), key, file, content)
        _sync(self._folder(tenant))

    def read(self, record: FileRecord) -> Iterator[bytes]:
        """Read the content of a file, piece by piece; raises Damaged."""
        return read_sealed(self.content_path(record.tenant, record.id), record.key, record.id)

    def results(self, tenant: str, file: str, key: bytes) -> SealedFile:
        """Open a file of results, to write on where it ends."""
        return SealedFile(self._in_folder(tenant, file), key, file)

    def content_path(self, tenant: str, file: str) -> Path:
        """Return where the content of a file is."""
        return self._root / tenant / (file + _CONTENT)

    def _in_folder(self, tenant: str, file: str) -> Path:
        return self._folder(tenant) / (file + _CONTENT)

    def _folder(self, tenant: str) -> Path:
        if not is_name(tenant):
            raise ValueError("a tenant is named by a DNS label")
        folder = self._root / tenant
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        return folder

    def _load(self, tenant: str, path: Path) -> None:
        if path.stat().st_size > RECORD_BYTES_MAX:
            raise Damaged(f"the record {path.stem} is too large")
        plain = self._vault.open(tenant, path.stem, path.read_bytes())
        kind: type[FileRecord] | type[BatchRecord] = FileRecord if path.stem.startswith("file-") else BatchRecord
        self.show(msgspec.json.decode(plain, type=kind))

    def _remove_strays(self, folder: Path) -> None:
        """Remove content that nothing refers to: an upload or a batch that a crash ended before it was recorded."""
        known = {*self.files}
        for batch in self.batches.values():
            if not batch.progress.ended:
                known |= {batch.output.file, batch.errors.file}
        for path in folder.glob("*" + _CONTENT):
            if path.stem not in known and not path.with_suffix(_RECORD).exists():
                path.unlink()


def _private(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
