"""Writing a bundle and taking one in: everything is verified before anything of it is looked at.

A bundle is signed as OpenSSF Model Signing signs a directory, so that other programs can check it too.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from fastness.core.admission import ArtefactFile
from fastness.registry.admission.copying import check_space, write_copy
from fastness.registry.admission.refusal import AdmissionRefused
from fastness.registry.bundle.archive import Member, Read, members, writing
from fastness.registry.bundle.manifest import (
    FILES_FOLDER,
    MANIFEST_BYTES_MAX,
    MANIFEST_PATH,
    SIGNATURE_PATH,
    Entry,
    Manifest,
    manifest_text,
    read_manifest,
)
from fastness.registry.signing import oms
from fastness.registry.signing.keys import Signer
from fastness.registry.signing.oms import SIGNATURE_BYTES_MAX, SignatureRefused, Signed
from fastness.registry.signing.trust import Trust


@dataclass(frozen=True, slots=True)
class Arrived:
    """A bundle that was verified. `files` is the directory of its files, each under its digest."""

    manifest: Manifest
    digest: str
    signer: str
    signature: bytes
    files: Path

    def file(self, digest: str) -> Path:
        """Return one file."""
        return self.files / digest


def write_bundle(
    output: Path, manifest: Manifest, sources: Mapping[str, Path | bytes], signer: Signer, *, as_file: bool
) -> str:
    """Write and sign a bundle; `sources` says where each of its files is. Returns the SHA-256 of its manifest.

    Raises AdmissionRefused when a file is not what the manifest says, FileExistsError, OSError.
    """
    text = manifest_text(manifest)
    blobs = manifest.blobs()
    digest = hashlib.sha256(text).hexdigest()
    named = [ArtefactFile(MANIFEST_PATH, len(text), digest)]
    named += [ArtefactFile(FILES_FOLDER + one, size_bytes, one) for one, size_bytes in blobs.items()]
    signature = oms.sign(f"fastness-bundle-{manifest.id}-{manifest.version}", named, signer)
    with writing(output, as_file=as_file) as sink:
        sink.add(SIGNATURE_PATH, len(signature), io.BytesIO(signature).read)
        sink.add(MANIFEST_PATH, len(text), io.BytesIO(text).read)
        for one in sorted(blobs):
            source = sources[one]
            with io.BytesIO(source) if isinstance(source, bytes) else source.open("rb") as opened:
                _add(sink.add, one, blobs[one], opened.read)
    return digest


def read_bundle(
    source: Path, files: Path, trust: Trust, now_s: float, bytes_max: int, accept: Callable[[Manifest], None]
) -> Arrived:
    """Verify a bundle and copy its files into the new directory `files`.

    `accept` is shown the manifest once its signature holds, before a file is copied, and raises AdmissionRefused for
    one that is not wanted. Raises AdmissionRefused, OSError.
    """
    files.mkdir(parents=True, mode=0o700)
    with members(source) as found:
        signature = _whole(next(found, None), SIGNATURE_PATH, SIGNATURE_BYTES_MAX)
        text = _whole(next(found, None), MANIFEST_PATH, MANIFEST_BYTES_MAX)
        try:
            signed = oms.verify(signature, trust, now_s)
        except SignatureRefused as error:
            raise AdmissionRefused("bundle.signature", f"{error}") from None
        digest = hashlib.sha256(text).hexdigest()
        if signed.files.get(MANIFEST_PATH) != digest:
            raise AdmissionRefused("bundle.mixed", "the manifest is not the one that was signed")
        manifest = read_manifest(text)
        left = _expected(manifest, signed)
        accept(manifest)
        check_space(files, sum(left.values()), bytes_max, source.name)
        for path, size_bytes, read in found:
            _take(path, size_bytes, read, left, files)
    if left:
        raise AdmissionRefused("bundle.form", f"the file files/{min(left)[:12]}… is missing: the bundle was cut")
    return Arrived(manifest, digest, signed.signer, signature, files)


def assemble(entry: Entry, arrived: Arrived, content: Path) -> None:
    """Lay an artefact's files out as they were; each is copied, so that none has a second name."""
    content.mkdir(mode=0o700)
    for file in entry.files:
        target = content / file.path
        if content not in target.parents or ".." in target.parts or not file.path.isprintable():
            raise AdmissionRefused("bundle.form", f"the path {file.path[:80]!r} leaves {entry.name}")
        try:
            with arrived.file(file.digest).open("rb") as opened:
                write_copy(opened.read, target, file.size_bytes)
        except (FileExistsError, NotADirectoryError):
            raise AdmissionRefused("bundle.form", f"the path {file.path[:80]!r} of {entry.name} is taken") from None


def vouches_for(signature: bytes, files: tuple[ArtefactFile, ...], trust: Trust, now_s: float) -> bool:
    """Tell whether a bundle's signature is still by somebody trusted, and was on all of these files."""
    try:
        signed = oms.verify(signature, trust, now_s)
    except SignatureRefused:
        return False
    return {file.digest for file in files} <= set(signed.files.values())


def _add(add: Callable[[str, int, Read], str], digest: str, size_bytes: int, read: Read) -> None:
    try:
        written = add(FILES_FOLDER + digest, size_bytes, read)
    except EOFError:
        written = "fewer bytes"
    if written != digest:
        raise AdmissionRefused(
            "admission.changed", f"a file that should have SHA-256 {digest} has {written}: it is not exported"
        )


def _whole(member: Member | None, path: str, bytes_max: int) -> bytes:
    """Read one of the two files that come first."""
    if member is None or member[0] != path:
        raise AdmissionRefused("bundle.form", f"this is not a bundle: {path} is not where it must be")
    _, size_bytes, read = member
    if size_bytes > bytes_max:
        raise AdmissionRefused("bundle.form", f"the file {path} has {size_bytes:,} bytes; {bytes_max:,} are read")
    content = bytearray()
    while chunk := read(size_bytes - len(content) or 1):
        content += chunk
    if len(content) != size_bytes:
        raise EOFError
    return bytes(content)


def _expected(manifest: Manifest, signed: Signed) -> dict[str, int]:
    """Return the files that must follow; the manifest and the signature name the same ones."""
    blobs = manifest.blobs()
    if {FILES_FOLDER + one: one for one in blobs} != {
        path: digest for path, digest in signed.files.items() if path != MANIFEST_PATH
    }:
        raise AdmissionRefused("bundle.mixed", "the manifest and the signature name different files")
    return blobs


def _take(path: str, size_bytes: int, read: Read, left: dict[str, int], files: Path) -> None:
    digest = path.removeprefix(FILES_FOLDER)
    if path != FILES_FOLDER + digest or digest not in left:
        raise AdmissionRefused("bundle.form", f"{path[:80]!r} is not named in the manifest, or is there twice")
    if size_bytes != left[digest] or write_copy(read, files / digest, size_bytes) != digest:
        raise AdmissionRefused("bundle.mixed", f"the file {path[:20]}… is not the one that was signed")
    if read(1):
        raise AdmissionRefused("bundle.mixed", f"the file {path[:20]}… is longer than what was signed")
    del left[digest]
