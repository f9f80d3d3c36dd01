"""The settings in force as one document, and its digest: the name by which entries of the ledger call them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import fields
from hashlib import sha256
from typing import Final

from fastness.config.settings import SECTIONS, Settings

_SECRET: Final = frozenset({"password", "secret", "token", "pin"})
"""Words in the name of a setting whose value is shown to nobody; one that ends in `_file` names a file."""


def configuration_document(values: Mapping[str, object]) -> bytes:
    """Return settings, by names such as `gateway.port`, as canonical JSON without secrets.

    Where state lives is no part of it: the same settings have the same digest on every machine.
    """
    shown = {name: _shown(name, value) for name, value in values.items()}
    return json.dumps({"settings": shown}, ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode()


def configuration_digest(settings: Settings) -> str:
    """Return the SHA-256 of that document of all settings, in hex."""
    values = {
        f"{section}.{one.name}": getattr(part, one.name)
        for section in SECTIONS
        for part in (getattr(settings, section),)
        for one in fields(part)
    }
    return sha256(configuration_document(values)).hexdigest()


def _shown(name: str, value: object) -> object:
    """Show a setting; the address of a store may have a password in it, and paths of secrets are paths."""
    if name == "store.url" and "@" in str(value):
        return "***@" + str(value).rpartition("@")[2]
    if value and not name.endswith("_file") and _SECRET & set(name.rpartition(".")[2].split("_")):
        return "***"
    return value
