"""What the commands of admission take, what they give, and how they say it: to people, and to the ledger."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from fastness.control.problem import Problem
from fastness.core.admission import Admission, Artefact, ArtefactFile, ArtefactKind
from fastness.core.event import Scalar
from fastness.core.marking import Label
from fastness.registry.admission.refusal import AdmissionRefused
from fastness.registry.inspection.port import ArtefactRefused, Inspected


@dataclass(frozen=True, slots=True)
class ImportWish:
    """What an importer says of a file or directory; `base` names the model that an adapter is for."""

    path: Path
    name: str
    kind: ArtefactKind
    licence: str
    provenance: str
    base: str | None = None
    signature: Path | None = None
    accept_template_sha256: str | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of an approval: `approvers` cover `asked`, of which `needed` are needed."""

    admission: Admission
    asked: Label
    approvers: tuple[str, ...]
    needed: int


def named(artefact: Artefact) -> dict[str, Scalar]:
    """Return how ledger entries name an artefact."""
    return {"model": artefact.name, "kind": artefact.kind.value, "digest": artefact.digest}


def imported(artefact: Artefact) -> dict[str, Scalar]:
    """Return what the ledger's entry of an import says."""
    return {**named(artefact), "size_bytes": artefact.size_bytes, "files": len(artefact.files)}


def refused(rule: str, message: str) -> Problem:
    """Return the problem of what breaks a rule of admission."""
    said = f"{message.rstrip('.')} (rule {rule})."
    return Problem("artefact_refused", said, "docs/how-to/admit-a-model.md says what each rule is for.")


def told(error: ArtefactRefused | AdmissionRefused) -> str:
    """Say what was refused: a file begins with its name, anything else is a sentence."""
    if isinstance(error, ArtefactRefused):
        return f"{error.file}: {error.message}"
    return error.message[:1].upper() + error.message[1:]


def check_same(copied: Iterable[ArtefactFile], inspected: Inspected) -> None:
    """Compare what was copied with what was inspected; raises AdmissionRefused."""
    found = {file.path: file.digest for file in (*inspected.artefact.files, *inspected.signatures)}
    if found != {file.path: file.digest for file in copied}:
        raise AdmissionRefused("admission.changed", "what was inspected are not the bytes that were copied")
