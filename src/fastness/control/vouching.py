"""Whose signature an artefact carries: found beside its files, given by the importer, or that of a bundle."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from fastness.core.admission import Artefact, ArtefactFile
from fastness.registry.admission.quarantine import Draft, Quarantine
from fastness.registry.admission.refusal import AdmissionRefused
from fastness.registry.bundle.transfer import vouches_for
from fastness.registry.inspection.port import Inspected
from fastness.registry.signing import oms
from fastness.registry.signing.oms import SIGNATURE_BYTES_MAX, SignatureRefused
from fastness.registry.signing.trust import Trust, read_trust

BUNDLE_SIGNATURE: Final = "bundle.sig"


@dataclass(frozen=True, slots=True)
class Voucher:
    """A signature's text, whose it is (None: nobody trusted), and what an approver is told of it."""

    text: bytes | None
    signer: str | None
    said: str

    def named(self, inspected: Inspected) -> Inspected:
        """Return what was found, with the signer."""
        return replace(inspected, artefact=replace(inspected.artefact, signer=self.signer))


UNSIGNED: Final = Voucher(None, None, "not signed")


class Vouching:
    """Checks signatures against those who are trusted at that moment. Its methods block."""

    def __init__(self, directory: Path, quarantine: Quarantine, clock: Callable[[], float]) -> None:
        """`directory` holds the public keys and authorities that are trusted."""
        self.directory = directory
        self._quarantine = quarantine
        self._clock = clock

    @property
    def trust(self) -> Trust:
        """Return who is trusted now; raises KeyRefused."""
        return read_trust(self.directory)

    def of_draft(self, draft: Draft, inspected: Inspected, given: Path | None) -> Voucher:
        """Find and check the signature of what is being imported; raises AdmissionRefused."""
        return self._find(draft.content, inspected, given)

    def of_path(self, path: Path, inspected: Inspected, given: Path | None) -> Voucher:
        """Find and check the signature of something where it lies; raises AdmissionRefused."""
        folder = path if path.is_dir() else path.parent
        return self._find(folder, inspected, given)

    def still_signed(self, artefact: Artefact) -> bool:
        """Tell whether somebody who is trusted now has signed, alone or with a bundle; raises KeyRefused."""
        if artefact.signer is None:
            return False
        text = self._quarantine.signature(artefact.digest)
        if text is not None:
            try:
                oms.check(oms.verify(text, self.trust, self._clock()), artefact.files)
            except SignatureRefused:
                return False
            return True
        bundle = self._quarantine.folder(artefact.digest) / BUNDLE_SIGNATURE
        return bundle.exists() and vouches_for(bundle.read_bytes(), artefact.files, self.trust, self._clock())

    def _find(self, folder: Path, inspected: Inspected, given: Path | None) -> Voucher:
        files = inspected.artefact.files
        if given is not None:
            return self.checked(_read(given), files, must=True)
        for beside in inspected.signatures:
            return self.checked(_read(folder / beside.path), files, must=False)
        return UNSIGNED

    def checked(self, text: bytes, files: Sequence[ArtefactFile], *, must: bool) -> Voucher:
        """Check a signature. One that nobody trusted made is told to the approvers, unless it `must` be trusted.

        Raises AdmissionRefused for one that must, and for one of somebody trusted that does not fit the files.
        """
        try:
            signed = oms.verify(text, self.trust, self._clock())
        except SignatureRefused as error:
            if must:
                raise AdmissionRefused("admission.signature", str(error)) from None
            return Voucher(text, None, f"signed, but nobody trusted here has done it: {error}")
        try:
            oms.check(signed, files)
        except SignatureRefused as error:
            raise AdmissionRefused("admission.signature", f"the signature is not on these files: {error}") from None
        return Voucher(text, signed.signer, f"signed by {signed.signer}, who is trusted here")


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as opened:
            return opened.read(SIGNATURE_BYTES_MAX + 1)
    except OSError as error:
        raise AdmissionRefused("admission.signature", f"{path} cannot be read: {error.strerror}") from None
