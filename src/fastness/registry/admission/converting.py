"""A sentence-embedding BERT in safetensors becomes the GGUF that the embedded engine reads, when it is admitted.

It is converted from the bytes that were inspected, mapped and hashed in one; the result is named by its own digest.
"""

from __future__ import annotations

import hashlib
import mmap
import os
import tempfile
from pathlib import Path

from fastness.core.admission import Artefact, ArtefactFile, ArtefactKind
from fastness.registry.admission.refusal import AdmissionRefused
from fastness.registry.convert_bert import FILES, ConversionError, convert_bert
from fastness.registry.durable import PARTIAL_SUFFIX, sync_directory
from fastness.registry.gguf import GgufError
from fastness.registry.safetensors import SafetensorsError


def is_convertible(artefact: Artefact) -> bool:
    """Tell whether an artefact is a BERT with all the files that the conversion needs."""
    is_bert = (artefact.kind, artefact.format, artefact.architecture) == (ArtefactKind.MODEL, "safetensors", "bert")
    return is_bert and set(FILES) <= {file.path for file in artefact.files}


def convert(artefact: Artefact, folder: Path, models: Path) -> ArtefactFile:
    """Lay the converted weights down at `models/<digest>.gguf`; raises AdmissionRefused, OSError."""
    expected = {file.path: file.digest for file in artefact.files}
    files = {name: _mapped(folder / name, expected[name], artefact.name) for name in FILES}
    digest, size_bytes = hashlib.sha256(), 0
    descriptor, path = tempfile.mkstemp(PARTIAL_SUFFIX, dir=models)
    draft = Path(path)
    try:
        with os.fdopen(descriptor, "wb") as opened:

            def write(part: bytes | memoryview) -> None:
                nonlocal size_bytes
                view = memoryview(part).cast("B")
                digest.update(view)
                opened.write(view)
                size_bytes += view.nbytes

            try:
                convert_bert(artefact.name, files, write)
            except (ConversionError, SafetensorsError, GgufError) as error:
                raise AdmissionRefused(
                    "admission.convert", f"the files of {artefact.name} cannot be converted to GGUF: {error}"
                ) from None
            opened.flush()
            os.fchmod(descriptor, 0o444)
            os.fsync(descriptor)
        draft.rename(models / f"{digest.hexdigest()}.gguf")
    finally:
        draft.unlink(missing_ok=True)
    sync_directory(models)
    return ArtefactFile("converted.gguf", size_bytes, digest.hexdigest())


def _mapped(path: Path, digest: str, name: str) -> memoryview:
    """Map a file and hash the mapping, so that what is checked and what is converted are the same bytes."""
    with os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC), "rb") as opened:
        content = memoryview(mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ))
    if hashlib.sha256(content).hexdigest() != digest:
        raise AdmissionRefused("admission.changed", f"a file of {name} is not what was inspected: {path}")
    return content
