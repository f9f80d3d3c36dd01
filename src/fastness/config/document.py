"""The settings in force as one document, and its digest: the name by which entries of the ledger call them."""

from __future__ import annotations

import json
from dataclasses import asdict
from hashlib import sha256

from fastness.config.settings import Settings


def configuration_document(settings: Settings) -> bytes:
    """Return all settings but `home` as canonical JSON: sections with every setting of theirs. No secret is in it.

    Where state lives is no part of it: the same settings have the same digest on every machine.
    """
    sections = {name: value for name, value in asdict(settings).items() if name != "home"}
    return json.dumps(sections, ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode()


def configuration_digest(settings: Settings) -> str:
    """Return the SHA-256 of that document, in hex."""
    return sha256(configuration_document(settings)).hexdigest()
