"""Commands on the cluster: make its authority, certify hosts, revoke them. Each is recorded before it counts."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from fastness.config import ClusterSettings
from fastness.control.problem import Problem
from fastness.core.event import Event, EventType, Scalar
from fastness.identity.cluster import folder as files
from fastness.identity.cluster.authority import Authority, IssuedCertificate
from fastness.identity.cluster.certificate import NotTrusted
from fastness.identity.cluster.claims import HostClaims, HostRole
from fastness.identity.cluster.invitation import HeadPlace, write_invitation
from fastness.identity.cluster.revocation import Revoked, read_revoked
from fastness.ledger.port import Ledger
from fastness.store.snapshot_file import SnapshotReader, write_snapshot

TOKEN_BYTES: Final = 32
_SHOW: Final = "fastness node list shows the hosts that were invited."


@dataclass(frozen=True, slots=True)
class Issued:
    """One certificate that was issued: its claims as text, its serial number in hexadecimal, and when it ends."""

    name: str
    role: HostRole
    claims: str
    serial: str
    issued_s: int
    expires_s: int
    revoked_s: int | None = None


@dataclass(frozen=True, slots=True)
class Register:
    """All certificates that the authority issued, oldest first."""

    issued: tuple[Issued, ...] = ()


class Cluster:
    """The authority of this installation, in `folder`. `entropy` is os.urandom, `clock` gives seconds since 1970."""

    def __init__(
        self,
        folder: Path,
        settings: ClusterSettings,
        ledger: Ledger,
        clock: Callable[[], float],
        entropy: Callable[[int], bytes],
    ) -> None:
        self._folder, self._settings, self._ledger = folder, settings, ledger
        self._clock, self._entropy = clock, entropy
        self._order = asyncio.Lock()

    def hosts(self) -> tuple[Issued, ...]:
        """Return the certificates that were issued here."""
        register = SnapshotReader(self._folder / files.REGISTER, Register).poll()
        return register.issued if register else ()

    async def create(self, claims: HostClaims, by: str) -> Issued:
        """Make an authority, and this host its head; raises Problem (conflict) where there is one."""
        async with self._order:
            if self._folder.exists():
                raise Problem(
                    "conflict",
                    f"{self._folder} is there: this host belongs to a cluster already.",
                    "fastness node list shows its hosts; to begin anew, move that directory away.",
                )
            authority = Authority.create(self._clock(), self._settings.authority_lifetime_s)
            certificate = self._issue(authority, claims)
            issued = await self._record(claims, certificate, by)
            contents = {
                files.AUTHORITY: authority.certificate_pem,
                files.AUTHORITY_KEY: authority.key_pem,
                files.CERTIFICATE: certificate.certificate_pem,
                files.KEY: certificate.key_pem,
                files.TOKEN: self._entropy(TOKEN_BYTES).hex().encode(),
                files.REVOKED: authority.sign_revoked(Revoked(1), self._clock()),
            }
            await asyncio.to_thread(files.make_folder, self._folder, contents)
            write_snapshot(self._folder / files.REGISTER, Register((issued,)))
            return issued

    async def invite(self, claims: HostClaims, by: str) -> tuple[Issued, str]:
        """Certify a host anew; return the certificate and the file to carry there, which holds its private key.

        A host that has certificates keeps them until they end, or are revoked; so it is renewed. Raises Problem.
        """
        async with self._order:
            authority = self._authority()
            certificate = self._issue(authority, claims)
            issued = await self._record(claims, certificate, by)
            write_snapshot(self._folder / files.REGISTER, Register((*self.hosts(), issued)))
            contents = {
                files.AUTHORITY: authority.certificate_pem,
                files.CERTIFICATE: certificate.certificate_pem,
                files.KEY: certificate.key_pem,
                files.TOKEN: files.read_file(self._folder, files.TOKEN),
                files.REVOKED: files.read_file(self._folder, files.REVOKED),
            }
            return issued, write_invitation(contents, self._place())

    async def revoke(self, name: str, by: str) -> tuple[Issued, ...]:
        """Revoke every certificate of a host; return those that counted until now. Raises Problem."""
        async with self._order:
            authority, hosts, now_s = self._authority(), self.hosts(), int(self._clock())
            counted = [one for one in hosts if one.name == name and one.revoked_s is None]
            if not counted:
                raise Problem("not_found", f"No certificate of a host {name[:80]!r} counts here.", _SHOW, param="name")
            if any(one.role is HostRole.HEAD for one in counted):
                raise Problem(
                    "conflict",
                    f"{name} is the head: without its certificate no host would hear it.",
                    "Make a new cluster instead: move FASTNESS_HOME/cluster away, then fastness init cluster.",
                )
            for one in counted:
                fields: dict[str, Scalar] = {"host": name, "serial": one.serial, "by": by}
                await self._ledger.commit(Event(EventType.CERTIFICATE_REVOKED, now_s * 1_000, fields))
            known = read_revoked(files.read_file(self._folder, files.REVOKED), authority.certificate)
            serials = known.serials | {int(one.serial, 16) for one in counted}
            pem = authority.sign_revoked(Revoked(known.number + 1, serials), now_s)
            files.replace_file(self._folder, files.REVOKED, pem)
            gone = {one.serial: replace(one, revoked_s=now_s) for one in counted}
            write_snapshot(self._folder / files.REGISTER, Register(tuple(gone.get(one.serial, one) for one in hosts)))
            return tuple(gone.values())

    def known(self, name: str) -> HostClaims | None:
        """Return what was certified of a host last, for when it is renewed."""
        found = [one for one in self.hosts() if one.name == name]
        return HostClaims.from_json(found[-1].claims.encode()) if found else None

    async def _record(self, claims: HostClaims, certificate: IssuedCertificate, by: str) -> Issued:
        now_s, text = int(self._clock()), claims.to_json()
        fields: dict[str, Scalar] = {
            "host": claims.name,
            "role": claims.role.value,
            "serial": f"{certificate.serial:x}",
            "expires_s": certificate.not_after_s,
            "addresses": " ".join(claims.addresses),
            "jurisdiction": claims.jurisdiction,
            "operator": claims.operator or None,
            "ceiling": claims.ceiling,
            "claims_sha256": hashlib.sha256(text).hexdigest(),
            "by": by,
        }
        await self._ledger.commit(Event(EventType.CERTIFICATE_ISSUED, now_s * 1_000, fields))
        return Issued(
            claims.name, claims.role, text.decode(), f"{certificate.serial:x}", now_s, certificate.not_after_s
        )

    def _issue(self, authority: Authority, claims: HostClaims) -> IssuedCertificate:
        try:
            return authority.issue(claims, self._clock(), self._settings.certificate_lifetime_s)
        except NotTrusted as error:
            raise Problem("conflict", f"{error}", "docs/how-to/join-a-node.md says how to begin anew.") from None

    def _authority(self) -> Authority:
        try:
            certificate = files.read_file(self._folder, files.AUTHORITY)
            return Authority.load(certificate, files.read_file(self._folder, files.AUTHORITY_KEY))
        except NotTrusted as error:
            raise Problem(
                "conflict", f"There is no authority here: {error}", "fastness init cluster, on the head alone"
            ) from None

    def _place(self) -> HeadPlace:
        heads = [self.known(one.name) for one in self.hosts() if one.role is HostRole.HEAD]
        head = heads[-1] if heads else None
        if head is None:
            raise Problem("conflict", "It is not known which host is the head.", _SHOW)
        return HeadPlace(head.name, head.addresses, self._settings.port)
