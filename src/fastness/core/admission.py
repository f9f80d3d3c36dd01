"""Admission: what was imported, who agreed to it, and up to which marking it may be used."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from fastness.core.marking import Label


class ArtefactKind(StrEnum):
    """What can be admitted."""

    MODEL = "model"
    ADAPTER = "adapter"


class AdmissionState(StrEnum):
    """The life of an artefact. Only `ADMITTED` may be loaded; `REVOKED` never again under that digest."""

    QUARANTINED = "quarantined"
    ADMITTED = "admitted"
    REVOKED = "revoked"


@dataclass(frozen=True, slots=True)
class ArtefactFile:
    """One file: `path` relative to the artefact, with `/`; `digest` its SHA-256 in hex."""

    path: str
    size_bytes: int
    digest: str


@dataclass(frozen=True, slots=True)
class Artefact:
    """What was inspected. `digest` is the SHA-256 of its manifest: each file's digest, two spaces, its path, a line
    feed, sorted by path.

    `format` is `gguf` or `safetensors`. `architecture` and `context_tokens` are what its header says. `base` is, for an
    adapter, the digest of the weights it was made for. `template_sha256` names the chat template within, `licence` is
    an SPDX identifier, `provenance` where it came from in the importer's words, `signer` the fingerprint of who signed.
    """

    name: str
    kind: ArtefactKind
    format: str
    digest: str
    files: tuple[ArtefactFile, ...]
    size_bytes: int
    architecture: str
    context_tokens: int
    licence: str
    provenance: str
    template_sha256: str | None = None
    base: str | None = None
    signer: str | None = None


@dataclass(frozen=True, slots=True)
class Approval:
    """One approver's agreement: `by` is a principal's id, `ceiling` the most it was given for."""

    by: str
    at_s: int
    ceiling: Label


@dataclass(frozen=True, slots=True)
class Admission:
    """Where an artefact stands. `ceiling` is set once admitted: the ceiling that enough approvers agreed to."""

    artefact: Artefact
    state: AdmissionState
    imported_by: str
    imported_s: int
    approvals: tuple[Approval, ...] = ()
    ceiling: Label | None = None
    revoked_by: str | None = None
    revoked_s: int | None = None
