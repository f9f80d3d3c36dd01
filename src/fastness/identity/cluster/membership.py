"""This host as a member of the cluster: its own certificate, and the judgement of those that others show."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key

from fastness.identity.cluster import folder as files
from fastness.identity.cluster.authority import read_authority
from fastness.identity.cluster.certificate import UNREADABLE, HostCertificate, NotTrusted, read_certificate
from fastness.identity.cluster.claims import HostClaims
from fastness.identity.cluster.revocation import Revoked, read_revoked

REMEMBERED_MAX: Final = 1_024
"""Certificates of others whose reading is kept: each connection brings one."""


class Membership:
    """What this host is and whom it trusts. Reads the files of `folder` at once; raises NotTrusted.

    The list of revoked certificates is read again by `refresh`; all else is as it was when the process began.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.authority = read_authority(files.read_file(folder, files.AUTHORITY))
        try:
            own = x509.load_pem_x509_certificate(files.read_file(folder, files.CERTIFICATE))
            key = load_pem_private_key(files.read_file(folder, files.KEY), None)
        except UNREADABLE as error:
            raise NotTrusted(f"The certificate or key in {folder} cannot be read: {error}") from None
        self.certificate_der = own.public_bytes(Encoding.DER)
        self.certificate = read_certificate(self.certificate_der, self.authority)
        if not isinstance(key, ec.EllipticCurvePrivateKey) or key.public_key() != self.certificate.key:
            raise NotTrusted(f"{folder / files.KEY} is not the key of {files.CERTIFICATE} beside it.")
        self.key = key
        self._remembered: dict[bytes, HostCertificate] = {}
        self._revoked = Revoked()
        self._stamp: tuple[int, int] | None = None
        self.refresh()

    @property
    def claims(self) -> HostClaims:
        """Return what the authority says of this host."""
        return self.certificate.claims

    @property
    def revoked(self) -> Revoked:
        """Return the list of revoked certificates that is in force here."""
        return self._revoked

    def refresh(self) -> bool:
        """Read the list of revoked certificates again if its file changed; tell whether it did. Raises NotTrusted.

        Then, and for a list older than the one in force, that one stays.
        """
        try:
            found = (self.folder / files.REVOKED).stat()
        except FileNotFoundError:
            return False
        stamp = (found.st_mtime_ns, found.st_ino)
        if stamp == self._stamp:
            return False
        read = read_revoked(files.read_file(self.folder, files.REVOKED), self.authority)
        self._stamp = stamp
        if read.number <= self._revoked.number:
            return False
        self._revoked = read
        return True

    def take_revoked(self, pem: bytes) -> bool:
        """Keep a list that came from elsewhere if it is newer than ours; tell whether it was. Raises NotTrusted."""
        read = read_revoked(pem, self.authority)
        if read.number <= self._revoked.number:
            return False
        files.replace_file(self.folder, files.REVOKED, pem)
        self._revoked = read
        return True

    def check(self, certificate_der: bytes, now_s: float) -> HostCertificate:
        """Return what a certificate that somebody shows is worth now; raises NotTrusted, which says why it is not."""
        found = self._remembered.get(certificate_der)
        if found is None:
            found = read_certificate(certificate_der, self.authority)
            if len(self._remembered) >= REMEMBERED_MAX:
                self._remembered.clear()
            self._remembered[certificate_der] = found
        found.check_time(now_s)
        if found.serial in self._revoked.serials:
            raise NotTrusted(f"The certificate {found.serial:x} of {found.claims.name} was revoked.")
        return found

    def server_context(self) -> ssl.SSLContext:
        """Return the context of a door: TLS 1.3 only, and nobody without a certificate of our authority.

        Nothing is resumed: each connection is verified anew. What the certificate says is for `check`.
        """
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.options |= ssl.OP_NO_TICKET
        context.num_tickets = 0
        return self._prepared(context)

    def client_context(self) -> ssl.SSLContext:
        """Return the context of whoever comes to a door: the name that is asked for has to be in its certificate."""
        return self._prepared(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT))

    def _prepared(self, context: ssl.SSLContext) -> ssl.SSLContext:
        context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_3
        context.verify_mode = ssl.CERT_REQUIRED
        context.verify_flags |= ssl.VERIFY_X509_STRICT
        context.load_verify_locations(cadata=self.authority.public_bytes(Encoding.PEM).decode())
        context.load_cert_chain(self.folder / files.CERTIFICATE, self.folder / files.KEY)
        return context
