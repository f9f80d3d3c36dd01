"""What else of an admitted artefact may be loaded: an adapter on its base, or a directory for an engine of its own.

As with models, what is handed out was verified in the same call.
"""

from __future__ import annotations

from pathlib import Path

from fastness.core.admission import Admission, AdmissionState, ArtefactKind
from fastness.core.deployment import Adapter
from fastness.core.marking import Label
from fastness.registry.admission.copying import digest_of
from fastness.registry.admission.quarantine import FILES, Quarantine, check_file
from fastness.registry.admission.record import Records, served_file
from fastness.registry.admission.refusal import AdmissionRefused


def admitted_ceiling(home: Path, name: str) -> Label | None:
    """Return the most that an imported model may be used for; None for one that is not imported, or not admitted.

    Raises ValueError for a record that is damaged.
    """
    record = Records(home).read(name)
    return record.admission.ceiling if record and record.admission.state is AdmissionState.ADMITTED else None


def ensure_adapter(home: Path, name: str, base: str) -> tuple[Adapter, Path]:
    """Return an admitted adapter and its file, for a model whose weights have the digest `base`.

    Raises AdmissionRefused when it is not admitted, is for another base, or was changed; ValueError for its record.
    """
    admission = _admitted(home, name, ArtefactKind.ADAPTER)
    artefact, file = admission.artefact, served_file(admission.artefact)
    if artefact.base != base:
        raise AdmissionRefused(
            "admission.changed", f"the adapter {name} was admitted for the weights {artefact.base}, not for {base}"
        )
    if file is None or admission.ceiling is None:
        raise AdmissionRefused("admission.changed", f"the adapter {name} is not one that the embedded engine can load")
    path = Records(home).weights(file.digest)
    if not path.exists() or digest_of(path) != file.digest:
        raise AdmissionRefused("admission.changed", f"the adapter {name} is not as it was admitted: {path}")
    return Adapter(name, file.digest, base, admission.ceiling), path


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
