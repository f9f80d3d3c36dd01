"""What stands beside the weights: whether, and up to which marking, an imported artefact may be loaded.

Control, which owns the store, writes `home/models/admitted/<name>.json`; the supervisor, which has no store, reads it.
What an engine can load gets a second name beside the shipped models: weights in one file `home/models/<digest>.gguf`, a
folder of safetensors `home/models/<digest>/`. The artefact as a whole stays where it was inspected.
"""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec

from fastness.core.admission import Admission, AdmissionState, Artefact, ArtefactFile, ArtefactKind
from fastness.core.ids import is_name
from fastness.core.model import ModelCard, ModelKind
from fastness.registry.admission.converting import convert, is_convertible
from fastness.registry.admission.quarantine import FILES, Quarantine, Review, check_file
from fastness.registry.durable import PARTIAL_SUFFIX, replace_file, sync_directory
from fastness.registry.folder import SAFETENSORS
from fastness.registry.inspection.port import Inspected

RECORD_BYTES_MAX: Final = 1_048_576
EMBEDDERS: Final = frozenset(
    {"bert", "nomic-bert", "nomic-bert-moe", "jina-bert-v2", "jina-bert-v3", "gemma-embedding"}
)
"""Architectures that embed; every other answers chats."""
_TOKENS: Final = frozenset({"token_embd.weight", "embeddings.word_embeddings.weight"})
"""The tensor whose rows are as long as an embedding: in GGUF, and in a BERT of safetensors."""


@dataclass(frozen=True, slots=True)
class Record:
    """The admission, and the card under which an engine serves it (None: none can)."""

    admission: Admission
    card: ModelCard | None


_RECORD: Final = msgspec.json.Decoder(Record)


class Records:
    """The records below one home."""

    def __init__(self, home: Path) -> None:
        self._models = home / "models"
        self._records = self._models / "admitted"

    def read(self, name: str) -> Record | None:
        """Return the record of that name, None when there is none; raises ValueError for one that is damaged."""
        if not is_name(name):
            return None
        try:
            with (self._records / f"{name}.json").open("rb") as opened:
                return _RECORD.decode(opened.read(RECORD_BYTES_MAX))
        except FileNotFoundError:
            return None
        except (OSError, msgspec.MsgspecError) as error:
            raise ValueError(f"the record of {name} in {self._records} cannot be read: {error}") from None

    def text(self, name: str) -> str:
        """Return the record of that name as it is written; empty when there is none, or it is damaged."""
        try:
            record = self.read(name)
        except ValueError:
            return ""
        return "" if record is None else msgspec.json.encode(record).decode()

    def take(self, text: str) -> None:
        """Keep a record that another host wrote, unless it is what is here; raises ValueError."""
        try:
            record = _RECORD.decode(text)
        except msgspec.MsgspecError as error:
            raise ValueError(f"a record of admission that came cannot be read: {error}") from None
        name = record.admission.artefact.name
        if not is_name(name) or len(text) > RECORD_BYTES_MAX:
            raise ValueError(f"{name[:80]!r} is no name of a model, or its record is too large")
        if self.text(name) != text:
            self.write(record)

    def all(self) -> tuple[Record, ...]:
        """Return every record, by name; raises ValueError."""
        return tuple(one for one in map(self.read, self.names()) if one is not None)

    def names(self) -> tuple[str, ...]:
        """Return the names that have a record, which is not looked at."""
        return tuple(sorted(file.stem for file in self._records.glob("*.json")))

    def weights(self, digest: str) -> Path:
        """Return where weights of that digest are: a file, or the folder of a model that is one."""
        folder = self._models / digest
        return folder if folder.is_dir() else self._models / f"{digest}.gguf"

    def write(self, record: Record) -> None:
        """Replace the record of a name, durably."""
        self._records.mkdir(parents=True, exist_ok=True, mode=0o700)
        file = self._records / f"{record.admission.artefact.name}.json"
        replace_file(file, msgspec.json.format(msgspec.json.encode(record)))

    def lay_down(self, admission: Admission, quarantine: Quarantine) -> Record:
        """Prepare the weights of an admitted artefact and write its record. Again is harmless.

        Raises AdmissionRefused when a byte is not as it was inspected.
        """
        weights = self.prepare(admission.artefact, quarantine)
        record = Record(admission, card_of(admission, weights, quarantine.review(admission.artefact.digest)))
        self.write(record)
        return record

    def prepare(self, artefact: Artefact, quarantine: Quarantine) -> ArtefactFile | None:
        """Verify every file once more, and give what the embedded engine can load its name; nothing may load it yet.

        Raises AdmissionRefused when a byte is not as it was inspected, or a conversion is not possible.
        """
        self._models.mkdir(parents=True, exist_ok=True, mode=0o700)
        quarantine.check(artefact)
        folder = quarantine.folder(artefact.digest) / FILES
        with locked(self._models):
            weights = served_file(artefact)
            if weights is not None:
                self._link(folder / weights.path, weights, artefact.name)
            elif is_convertible(artefact):
                weights = convert(artefact, folder, self._models)
            elif is_served_whole(artefact):
                weights = self._link_all(folder, artefact)
        return weights

    def _link_all(self, source: Path, artefact: Artefact) -> ArtefactFile:
        """Give a folder its name among the models: second names of the same files, each hashed under it."""
        draft = self._models / f"{artefact.digest}.{os.urandom(4).hex()}{PARTIAL_SUFFIX}"
        try:
            for file in artefact.files:
                (draft / file.path).parent.mkdir(parents=True, exist_ok=True, mode=0o700)
                os.link(source / file.path, draft / file.path, follow_symlinks=False)
                check_file(draft / file.path, file, artefact.name)
            place = self._models / artefact.digest
            if place.exists():
                shutil.rmtree(place)
            draft.rename(place)
        finally:
            shutil.rmtree(draft, ignore_errors=True)
        sync_directory(self._models)
        return ArtefactFile(artefact.digest, artefact.size_bytes, artefact.digest)

    def _link(self, source: Path, file: ArtefactFile, name: str) -> None:
        """Give weights their name among the models: the same bytes, a second name, and hashed under it."""
        draft = self._models / f"{file.digest}.{os.urandom(4).hex()}{PARTIAL_SUFFIX}"
        os.link(source, draft, follow_symlinks=False)
        try:
            check_file(draft, file, name)
            draft.replace(self._models / f"{file.digest}.gguf")
        finally:
            draft.unlink(missing_ok=True)
        sync_directory(self._models)


def served_file(artefact: Artefact) -> ArtefactFile | None:
    """Return the file that the embedded engine loads; None when it can load none of them."""
    weights = [file for file in artefact.files if file.path.endswith(".gguf")]
    return weights[0] if artefact.format == "gguf" and len(weights) == 1 else None


def weights_of(artefact: Artefact) -> ArtefactFile:
    """Return what an engine loads of an adapter, by its digest: its one file, or all of them together."""
    return served_file(artefact) or ArtefactFile(artefact.digest, artefact.size_bytes, artefact.digest)


def is_served_whole(artefact: Artefact) -> bool:
    """Tell whether the files of an artefact are given to an engine as they are: it that reads safetensors."""
    return artefact.format == SAFETENSORS and not is_convertible(artefact)


def served_by(artefact: Artefact) -> str:
    """Say in words which engine can load an artefact."""
    if is_convertible(artefact):
        return "the embedded engine (llama.cpp), converted to GGUF when it is admitted"
    if is_served_whole(artefact):
        return "vLLM, as it is" if artefact.kind is ArtefactKind.MODEL else "vLLM, on its base"
    if served_file(artefact) is None:
        return "an engine that reads safetensors; the embedded engine (llama.cpp) reads GGUF only"
    if artefact.kind is ArtefactKind.ADAPTER:
        return "the embedded engine (llama.cpp), on its base"
    return "the embedded engine (llama.cpp)"


def card_of(admission: Admission, file: ArtefactFile | None, review: Review) -> ModelCard | None:
    """Return the card of an imported model with these weights; None when it cannot be served by itself."""
    artefact = admission.artefact
    if file is None or artefact.kind is not ArtefactKind.MODEL or admission.state is not AdmissionState.ADMITTED:
        return None
    embeds = artefact.architecture in EMBEDDERS
    return ModelCard(
        name=artefact.name,
        kind=ModelKind.EMBEDDING if embeds else ModelKind.CHAT,
        digest=file.digest,
        size_bytes=file.size_bytes,
        licence=artefact.licence,
        context_tokens=artefact.context_tokens,
        created_s=admission.imported_s,
        embedding_dimensions=_dimensions(review.inspected) if embeds else None,
        format=SAFETENSORS if is_served_whole(artefact) else "gguf",
    )


@contextmanager
def locked(models: Path) -> Iterator[None]:
    """Wait until no other process lays down models here."""
    with (models / ".lock").open("wb") as opened:
        fcntl.flock(opened, fcntl.LOCK_EX)
        yield


def _dimensions(inspected: Inspected) -> int | None:
    return next((one.shape[-1] for one in inspected.tensors if one.name in _TOKENS), None)
