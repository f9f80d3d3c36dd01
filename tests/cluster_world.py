"""Clusters for tests: an authority, its head and its hosts, each in a folder of its own."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from fastness.identity.cluster import folder as files
from fastness.identity.cluster.authority import Authority, IssuedCertificate
from fastness.identity.cluster.claims import HostClaims, HostRole
from fastness.identity.cluster.invitation import HeadPlace
from fastness.identity.cluster.membership import Membership
from fastness.identity.cluster.revocation import Revoked

NOW_S = 1_800_000_000.0
YEAR_S = 365 * 86_400
TOKEN = b"ab" * 32


def claims(name: str = "bristol-07", role: HostRole = HostRole.NODE, **changed: object) -> HostClaims:
    said: dict[str, object] = {"addresses": ("10.0.0.7",), "jurisdiction": "GB", "ceiling": "OFFICIAL"} | changed
    return HostClaims(name, role, **said)  # type: ignore[arg-type]


@dataclass
class World:
    """One installation's authority, and hosts that it has certified."""

    path: Path
    now_s: float = NOW_S

    def __post_init__(self) -> None:
        self.path.mkdir(parents=True, exist_ok=True)
        self.authority = Authority.create(self.now_s, 10 * YEAR_S)
        self.revoked = Revoked(1)

    def issue(self, said: HostClaims, lifetime_s: int = YEAR_S) -> IssuedCertificate:
        return self.authority.issue(said, self.now_s, lifetime_s)

    def contents(self, issued: IssuedCertificate) -> dict[str, bytes]:
        return {
            files.AUTHORITY: self.authority.certificate_pem,
            files.CERTIFICATE: issued.certificate_pem,
            files.KEY: issued.key_pem,
            files.TOKEN: TOKEN,
            files.REVOKED: self.authority.sign_revoked(self.revoked, self.now_s),
        }

    def host(
        self, name: str = "bristol-07", role: HostRole = HostRole.NODE, *, lifetime_s: int = YEAR_S, **said: object
    ) -> Membership:
        """Certify a host and install its folder; return its membership."""
        folder = self.path / name / "cluster"
        contents = self.contents(self.issue(claims(name, role, **said), lifetime_s))
        files.make_folder(folder, contents | {files.HEAD: HeadPlace("head", ("10.0.0.1",), 7443).to_json()})
        return Membership(folder)

    def revoke(self, *serials: int) -> bytes:
        self.revoked = Revoked(self.revoked.number + 1, self.revoked.serials | set(serials))
        return self.authority.sign_revoked(self.revoked, self.now_s)


def as_object(text: str) -> dict[str, object]:
    found = json.loads(text)
    assert isinstance(found, dict)
    return found
