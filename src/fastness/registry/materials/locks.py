"""The locks that came with this release: which hashes were accepted for each version of each distribution."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from importlib import resources
from typing import Final

SHIPPED: Final = ("pkcs11.txt", "postgresql.txt", "ray.txt", "runtime.txt", "starter-models.txt")
"""What a release may install. The others are what tests need: not shipped, and they say nothing of an installation."""

_LINE = re.compile(r"^([A-Za-z0-9._-]+)==(\S+)|--hash=sha256:([0-9a-f]{64})", re.MULTILINE)

Locked = Mapping[tuple[str, str], tuple[str, ...]]
"""By canonical name and version: the SHA-256, in hex, of every file that installation takes for it."""


def canonical(name: str) -> str:
    """Return a distribution's name as indexes compare it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def read_locks(texts: Iterable[str]) -> Locked:
    """Read requirements with hashes, as pip takes them."""
    found: dict[tuple[str, str], dict[str, None]] = {}
    for text in texts:
        hashes: dict[str, None] = {}
        for name, version, digest in _LINE.findall(text):
            if digest:
                hashes[digest] = None
            else:
                hashes = found.setdefault((canonical(name), version), {})
    return {key: tuple(hashes) for key, hashes in found.items()}


def shipped_locks() -> Locked:
    """Return the locks that this release was made with; empty where it came without."""
    folder = resources.files("fastness") / "locks"
    files = [folder / name for name in SHIPPED]
    return read_locks(file.read_text("utf-8") for file in files if file.is_file())
