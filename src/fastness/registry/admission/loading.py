"""What else of an admitted artefact may be loaded: an adapter on its base, or a directory for an engine of its own."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from fastness.core.admission import Admission, AdmissionState, ArtefactKind
from fastness.core.deployment import Adapter
from fastness.core.marking import Label
from fastness.registry.admission.quarantine import FILES, Quarantine, check_file
from fastness.registry.admission.record import Records, weights_of
from fastness.registry.admission.refusal import AdmissionRefused


def admitted_ceiling(home: Path, name: str) -> Label | None:
    """Return the most that an imported model may be used for; None for one that is not imported, or not admitted.

    Raises ValueError for a record that is damaged.
    """
    record = Records(home).read(name)
    return record.admission.ceiling if record and record.admission.state is AdmissionState.ADMITTED else None


@dataclass(frozen=True, slots=True)
class AdapterCard:
    """What is loaded of an admitted adapter: its digest and size, in which format, on weights of which digest."""

    name: str
    digest: str
    size_bytes: int
    format: str
    base: str
    ceiling: Label

    def as_adapter(self) -> Adapter:
        """Return it as what policy is asked about."""
        return Adapter(self.name, self.digest, self.base, self.ceiling)


def admitted_adapter(home: Path, name: str) -> AdapterCard:
    """Return what may be loaded of an adapter; its bytes are not looked at.

    Raises AdmissionRefused when it is not admitted, and ValueError for a record that is damaged.
    """
    admission = _admitted(home, name, ArtefactKind.ADAPTER)
    artefact, weights = admission.artefact, weights_of(admission.artefact)
    assert admission.ceiling is not None
    return AdapterCard(
        name, weights.digest, weights.size_bytes, artefact.format, artefact.base or "", admission.ceiling
    )


def ensure_folder(home: Path, quarantine: Quarantine, name: str) -> tuple[Admission, Path]:
    """Return an admitted artefact and the directory of all its files, each verified now, for an engine of its own.

    Raises AdmissionRefused, and ValueError for a record that is damaged.
    """
    admission = _admitted(home, name, ArtefactKind.MODEL)
    folder = quarantine.folder(admission.artefact.digest) / FILES
    for file in admission.artefact.files:
        check_file(folder / file.path, file, name)
    return admission, folder


def _admitted(home: Path, name: str, kind: ArtefactKind) -> Admission:
    record = Records(home).read(name)
    if record is None or record.admission.artefact.kind is not kind:
        raise AdmissionRefused("admission.changed", f"there is no {kind} {name!r} that is admitted here")
    if record.admission.state is not AdmissionState.ADMITTED:
        raise AdmissionRefused("admission.revoked", f"the {kind} {name} is {record.admission.state}")
    return record.admission
