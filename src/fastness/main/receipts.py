"""Receipts, composed."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from fastness.main.process import RECEIPT_SALTS

if TYPE_CHECKING:
    from fastness.control.failures import Log
    from fastness.control.receipts import ReceiptDesk


def receipts(home: Path, log: Log) -> ReceiptDesk:
    """Build the desk where receipts are made; raises PepperError, OSError."""
    from fastness.control.receipts import ReceiptDesk
    from fastness.identity.pepper import load_or_create
    from fastness.ledger.receipts.receipt import Archive

    secret = load_or_create(home / RECEIPT_SALTS)

    def manifest(weights: str) -> str | None:
        return manifest_of(home, weights)

    return ReceiptDesk(Archive(home / "ledger", home / "receipts", home / "cosigned", secret, manifest), log)


def manifest_of(home: Path, weights: str) -> str | None:
    """Return the manifest of the admitted artefact that has a file with this SHA-256; None where there is none."""
    from fastness.registry.admission.record import Records

    try:
        admitted = [record.admission.artefact for record in Records(home).all()]
    except (OSError, ValueError):
        return None
    for artefact in admitted:
        if any(file.digest == weights for file in artefact.files):
            files = sorted(artefact.files, key=lambda file: file.path)
            return "".join(f"{file.digest}  {file.path}\n" for file in files)
    return None
