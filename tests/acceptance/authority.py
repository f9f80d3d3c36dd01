"""A certificate authority for tests: what an operator and their departments would hold."""

from __future__ import annotations

import datetime
import ipaddress
import ssl
from dataclasses import dataclass, field
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

DAY = datetime.timedelta(days=1)


@dataclass
class Authority:
    """One CA, which writes certificates and their keys into `place`."""

    place: Path
    name: str
    key: ec.EllipticCurvePrivateKey = field(default_factory=lambda: ec.generate_private_key(ec.SECP256R1()))

    def __post_init__(self) -> None:
        built = self._builder(self.name, self.key, DAY).add_extension(x509.BasicConstraints(True, 0), critical=True)
        self.file = self.place / f"{self.name}.pem"
        self.file.write_bytes(built.sign(self.key, hashes.SHA256()).public_bytes(Encoding.PEM))

    def server(self) -> tuple[Path, Path]:
        """A certificate for 127.0.0.1, and its key."""
        return self._issue(
            "server", [x509.IPAddress(ipaddress.ip_address("127.0.0.1"))], ExtendedKeyUsageOID.SERVER_AUTH
        )

    def client(self, name: str, *uris: str, ends: datetime.timedelta = DAY) -> tuple[Path, Path]:
        """A client certificate with these URIs, and its key."""
        names = [x509.UniformResourceIdentifier(uri) for uri in uris]
        return self._issue(name, names, ExtendedKeyUsageOID.CLIENT_AUTH, ends)

    def trusting(self, shown: tuple[Path, Path] | None = None) -> ssl.SSLContext:
        """What a client trusts, and what it shows."""
        context = ssl.create_default_context(cafile=str(self.file))
        if shown is not None:
            context.load_cert_chain(*shown)
        return context

    def _issue(
        self, name: str, names: list[x509.GeneralName], use: x509.ObjectIdentifier, ends: datetime.timedelta = DAY
    ) -> tuple[Path, Path]:
        key = ec.generate_private_key(ec.SECP256R1())
        built = self._builder(name, key, ends).add_extension(x509.ExtendedKeyUsage([use]), critical=False)
        if names:
            built = built.add_extension(x509.SubjectAlternativeName(names), critical=False)
        certificate, secret = self.place / f"{name}.pem", self.place / f"{name}.key"
        certificate.write_bytes(built.sign(self.key, hashes.SHA256()).public_bytes(Encoding.PEM))
        secret.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        return certificate, secret

    def _builder(self, name: str, key: ec.EllipticCurvePrivateKey, ends: datetime.timedelta) -> x509.CertificateBuilder:
        now = datetime.datetime.now(datetime.UTC)
        return (
            x509.CertificateBuilder()
            .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
            .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, self.name)]))
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - 10 * DAY)
            .not_valid_after(now + ends)
        )
