"""What a bundle is made of while it is made: members with their kinds, and what should be there and is not."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec

from fastness.core.event import Scalar
from fastness.perimeter.report_shape import canonical

FORMAT: Final = "fastness-evidence-bundle/1"
MEMBERS_MAX: Final = 100_000
MANIFEST: Final = "manifest.json"
SIGNATURE: Final = "manifest.sig"


class Listed(msgspec.Struct, frozen=True):
    """One line of the manifest."""

    kind: str
    path: str
    sha256: str
    size_bytes: int


class Lacking(msgspec.Struct, frozen=True):
    """What should be in a bundle and is not."""

    what: str
    why: str


class Manifest(msgspec.Struct, frozen=True):
    """The manifest."""

    format: str
    installation: str
    version: str
    from_ms: int
    to_ms: int
    files: tuple[Listed, ...]
    unknown: tuple[Lacking, ...]


@dataclass(frozen=True, slots=True)
class SeenEntry:
    """An entry that is in the bundle, for whoever wants to point to one."""

    log: str
    index: int
    type: str
    time_ms: int
    fields: dict[str, Scalar]


@dataclass(slots=True)
class Draft:
    """A bundle in the making, for the period from `from_ms` up to, not including, `to_ms`."""

    from_ms: int
    to_ms: int
    members: dict[str, bytes] = field(default_factory=dict)
    kinds: dict[str, str] = field(default_factory=dict)
    unknown: list[Lacking] = field(default_factory=list)
    entries: list[SeenEntry] = field(default_factory=list)
    """Those that are not of requests: what was admitted, loaded, changed, opened, destroyed, proved."""

    def add(self, kind: str, path: str, content: bytes) -> None:
        """Take a member; raises ValueError for a second one of that name, and beyond MEMBERS_MAX."""
        if path in self.members or len(self.members) >= MEMBERS_MAX:
            raise ValueError(f"{path} is there already, or there are {MEMBERS_MAX} members")
        self.members[path], self.kinds[path] = content, kind

    def add_json(self, kind: str, path: str, value: Any) -> None:
        """Take a member that is canonical JSON."""
        self.add(kind, path, canonical(value))

    def lacks(self, what: str, why: str) -> None:
        """Say that something should be there and is not."""
        self.unknown.append(Lacking(what, why))

    def manifest(self, installation: str, version: str) -> bytes:
        """Return the manifest of what is there."""
        files = tuple(
            Listed(self.kinds[path], path, hashlib.sha256(content).hexdigest(), len(content))
            for path, content in sorted(self.members.items())
        )
        lacking = tuple(sorted(self.unknown, key=lambda one: (one.what, one.why)))
        return canonical(Manifest(FORMAT, installation, version, self.from_ms, self.to_ms, files, lacking))
