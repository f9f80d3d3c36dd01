"""The manifest of a bundle: what is in it, which of its line it is, and until when it is to be believed."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Annotated, Final, Literal

import msgspec

from fastness.core.admission import Artefact, ArtefactFile, ArtefactKind
from fastness.registry.admission.refusal import AdmissionRefused

MANIFEST_BYTES_MAX: Final = 67_108_864
ENTRIES_MAX: Final = 1_000
FORMAT: Final = "fastness-bundle/1"
FUTURE_S_MAX: Final = 86_400
"""How far ahead the clock of whoever made a bundle may be."""
SIGNATURE_PATH: Final = "bundle.sig"
MANIFEST_PATH: Final = "manifest.json"
FILES_FOLDER: Final = "files/"

_Digest = Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{64}$")]
_Line = Annotated[str, msgspec.Meta(min_length=1, max_length=1_024)]
_Size = Annotated[int, msgspec.Meta(ge=0, le=1 << 50)]
_Time = Annotated[int, msgspec.Meta(ge=0, le=2**53 - 1)]


class Blob(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A file of the bundle: it lies at `files/<digest>`."""

    digest: _Digest
    size_bytes: _Size


class EntryFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A file of an artefact, by the path it has there."""

    path: _Line
    digest: _Digest
    size_bytes: _Size


class Entry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A model or adapter. `base` is the digest of the weights an adapter was made for; `signature` its own."""

    name: _Line
    kind: ArtefactKind
    digest: _Digest
    licence: _Line
    provenance: _Line
    files: Annotated[tuple[EntryFile, ...], msgspec.Meta(min_length=1, max_length=1_000_000)]
    base: _Digest | None = None
    signature: Blob | None = None


class Manifest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Bundles of one `id` are a line: `version` only grows. Times are seconds since 1970.

    `policy` is the policy in force where it was made, as PolicyBundle JSON, and `policy_digest` its own digest.
    """

    format: Literal["fastness-bundle/1"]
    id: Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{32}$")]
    version: Annotated[int, msgspec.Meta(ge=1, le=2**53 - 1)]
    created_s: _Time
    expires_s: _Time
    artefacts: Annotated[tuple[Entry, ...], msgspec.Meta(max_length=ENTRIES_MAX)]
    policy: Blob | None = None
    policy_digest: _Digest | None = None

    def blobs(self) -> dict[str, int]:
        """Return the size of each file of the bundle by its digest; raises AdmissionRefused for two sizes of one."""
        sizes: dict[str, int] = {}
        for one in self._blobs():
            if sizes.setdefault(one.digest, one.size_bytes) != one.size_bytes:
                raise AdmissionRefused("bundle.form", f"the manifest gives files/{one.digest[:12]}… two sizes")
        return sizes

    def _blobs(self) -> Iterator[Blob | EntryFile]:
        for entry in self.artefacts:
            yield from entry.files
            if entry.signature is not None:
                yield entry.signature
        if self.policy is not None:
            yield self.policy


_MANIFEST: Final = msgspec.json.Decoder(Manifest)


def entry_of(artefact: Artefact, signature: Blob | None) -> Entry:
    """Return how a manifest names an artefact."""
    files = tuple(EntryFile(file.path, file.digest, file.size_bytes) for file in artefact.files)
    return Entry(
        artefact.name,
        artefact.kind,
        artefact.digest,
        artefact.licence,
        artefact.provenance,
        files,
        artefact.base,
        signature,
    )


def manifest_text(manifest: Manifest) -> bytes:
    """Return a manifest as it is written and signed."""
    return msgspec.json.format(msgspec.json.encode(manifest))


def read_manifest(text: bytes) -> Manifest:
    """Read a manifest that was signed; raises AdmissionRefused."""
    try:
        return _MANIFEST.decode(text)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise AdmissionRefused("bundle.form", f"the manifest is not that of a bundle: {error}") from None


def check_age(manifest: Manifest, now_s: float, age_s_max: int) -> None:
    """Refuse what is expired, too old, or from the future, so that nobody can hold us at an old state."""
    made = f"the bundle was made on {_moment(manifest.created_s)}"
    if manifest.created_s > now_s + FUTURE_S_MAX:
        raise AdmissionRefused("bundle.freeze", f"{made}, and it is {_moment(now_s)}: one of the clocks is wrong")
    if now_s > manifest.expires_s:
        raise AdmissionRefused(
            "bundle.freeze", f"{made} to be used until {_moment(manifest.expires_s)}. Ask for a new one."
        )
    if now_s - manifest.created_s > age_s_max:
        raise AdmissionRefused(
            "bundle.freeze", f"{made}; registry.bundle_age_s_max is {age_s_max} seconds. Ask for a new one."
        )


def check_newer(manifest: Manifest, newest: int) -> None:
    """Refuse what is not newer than the last bundle of its line, so that nobody can take us back."""
    if manifest.version <= newest:
        raise AdmissionRefused(
            "bundle.rollback",
            f"this is version {manifest.version} of bundle {manifest.id[:8]}…; version {newest} was taken over. "
            "Ask for the newest.",
        )


def artefact_files(entry: Entry) -> tuple[ArtefactFile, ...]:
    """Return the files of an entry as admission names them."""
    return tuple(ArtefactFile(file.path, file.size_bytes, file.digest) for file in entry.files)


def _moment(time_s: float) -> str:
    return datetime.fromtimestamp(time_s, UTC).strftime("%Y-%m-%d %H:%MZ")
