"""Quarantine: where copies of artefacts lie while they are inspected and approved. No engine is ever given a path here.

Below `home/quarantine`: `<digest>/files/…`, `<digest>/review.json` (what inspection found, for the approvers) and
`<digest>/model.sig` (a signature given beside the files). What is being made has a `.partial` name and a lock; what a
killed process left has no lock any more, and is cleared away by the next.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec

from fastness.config import RegistrySettings
from fastness.core.admission import Artefact, ArtefactFile
from fastness.registry.admission.copying import copy_tree, digest_of
from fastness.registry.admission.refusal import AdmissionRefused
from fastness.registry.durable import PARTIAL_SUFFIX, sync_directory
from fastness.registry.inspection.port import Inspected

FILES: Final = "files"
SIGNATURE: Final = "model.sig"
REVIEW_BYTES_MAX: Final = 67_108_864
_REVIEW: Final = "review.json"


@dataclass(frozen=True, slots=True)
class Review:
    """What an approver is shown: what inspection found, and what became of the signature, in words."""

    inspected: Inspected
    signature: str


_REVIEWS: Final = msgspec.json.Decoder(Review)


@dataclass(frozen=True, slots=True)
class Draft:
    """A private directory in which an artefact is being taken in."""

    folder: Path

    @property
    def content(self) -> Path:
        """Return where its files are."""
        return self.folder / FILES


class Quarantine:
    """The copies below one home. Its methods block. Several processes and threads may take in at once."""

    def __init__(self, home: Path, settings: RegistrySettings) -> None:
        self.root = home / "quarantine"
        self._settings = settings

    @contextmanager
    def draft(self) -> Iterator[Draft]:
        """Make a draft, which is gone when the block ends unless it was kept."""
        folder, lock = self._new()
        try:
            yield Draft(folder)
        finally:
            os.close(lock)
            if folder.exists():
                remove_tree(folder)

    def copy_in(self, draft: Draft, source: Path) -> tuple[ArtefactFile, ...]:
        """Copy a file or directory into a draft; raises ArtefactRefused, AdmissionRefused."""
        bounds = self._settings
        return copy_tree(source, draft.content, files_max=bounds.files_max, bytes_max=bounds.artefact_bytes_max)

    def keep(self, draft: Draft, artefact: Artefact, review: Review, signature: bytes | None) -> None:
        """Give a draft its name, whole; a remnant under that name, which nobody knows of, makes place."""
        _write(draft.folder / _REVIEW, msgspec.json.encode(review))
        if signature is not None:
            _write(draft.folder / SIGNATURE, signature)
        sync_directory(draft.folder)
        place = self.folder(artefact.digest)
        if place.exists():
            remove_tree(place)
        draft.folder.rename(place)
        sync_directory(self.root)

    def folder(self, digest: str) -> Path:
        """Return where an artefact lies."""
        return self.root / digest

    def review(self, digest: str) -> Review:
        """Return what inspection found; raises AdmissionRefused when it is gone or damaged."""
        file = self.folder(digest) / _REVIEW
        try:
            with file.open("rb") as opened:
                return _REVIEWS.decode(opened.read(REVIEW_BYTES_MAX))
        except (OSError, msgspec.MsgspecError) as error:
            raise AdmissionRefused("admission.changed", f"{file} cannot be read: {error}. Import it again.") from None

    def signature(self, digest: str) -> bytes | None:
        """Return the signature that came with an artefact."""
        file = self.folder(digest) / SIGNATURE
        return file.read_bytes() if file.exists() else None

    def check(self, artefact: Artefact) -> None:
        """Hash every file again; raises AdmissionRefused naming the first that is not what was inspected."""
        for file in artefact.files:
            check_file(self.folder(artefact.digest) / FILES / file.path, file, artefact.name)

    def remove(self, digest: str) -> None:
        """Remove an artefact's copy."""
        if self.folder(digest).exists():
            remove_tree(self.folder(digest))

    def _new(self) -> tuple[Path, int]:
        self.root.mkdir(parents=True, exist_ok=True, mode=0o700)
        with (self.root / ".lock").open("wb") as opened:
            fcntl.flock(opened, fcntl.LOCK_EX)
            for left in self.root.glob(f"*{PARTIAL_SUFFIX}"):
                _clear_if_dead(left)
            folder = Path(tempfile.mkdtemp(PARTIAL_SUFFIX, dir=self.root))
            lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            fcntl.flock(lock, fcntl.LOCK_EX)
        return folder, lock


def check_file(path: Path, file: ArtefactFile, name: str) -> None:
    """Compare a file with what was inspected; raises AdmissionRefused."""
    try:
        digest = digest_of(path)
    except OSError as error:
        raise AdmissionRefused(
            "admission.changed",
            f"a file of {name} cannot be read: {path}: {error.strerror or error}. It is not admitted.",
        ) from None
    if digest != file.digest:
        raise AdmissionRefused(
            "admission.changed",
            f"a file of {name} is not what was inspected: {path} has SHA-256 {digest}; {file.digest} was inspected. "
            "It is not admitted. Find out what changed it, revoke it, and import it again.",
        )


def remove_tree(folder: Path) -> None:
    """Remove a directory of ours with everything in it."""
    shutil.rmtree(folder)


def _clear_if_dead(left: Path) -> None:
    try:
        lock = os.open(left, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        remove_tree(left)
    except BlockingIOError:  # somebody is at work on it
        pass
    finally:
        os.close(lock)


def _write(path: Path, content: bytes) -> None:
    with path.open("xb") as opened:
        opened.write(content)
        opened.flush()
        os.fsync(opened.fileno())
