"""Keys and certificates of a department, made anew for each test."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from fastness.registry.signing.keys import Signer, public_pem

NOW = dt.datetime(2026, 11, 22, 12, tzinfo=dt.UTC)
NOW_S = NOW.timestamp()
DAY = dt.timedelta(days=1)


def new_key(curve=ec.SECP256R1):
    return ec.generate_private_key(curve())


def pem(key):
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def write(path: Path, content: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


@dataclass
class Holder:
    """A key with its certificate."""

    key: ec.EllipticCurvePrivateKey
    certificate: x509.Certificate

    @property
    def pem(self) -> bytes:
        return self.certificate.public_bytes(Encoding.PEM)

    def issue(self, name, *, ca=False, curve=ec.SECP256R1, since=NOW - DAY, until=NOW + DAY, **options):
        key = new_key(curve)
        return Holder(key, certificate(name, key.public_key(), self, ca=ca, since=since, until=until, **options))

    def signer(self, *others: Holder) -> Signer:
        return Signer(self.key, (self.certificate, *(one.certificate for one in others)))


def root(name="Department CA", **options) -> Holder:
    key = new_key()
    holder = Holder(key, None)
    holder.certificate = certificate(name, key.public_key(), None, ca=True, key=key, **options)
    return holder


def certificate(
    name, public, issuer, *, ca, since=NOW - DAY, until=NOW + DAY, key=None, path_length=None, signs=None,
    purposes=(ExtendedKeyUsageOID.CODE_SIGNING,), extra=None,
):  # fmt: skip
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer.certificate.subject if issuer else subject)
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(since)
        .not_valid_after(until)
        .add_extension(x509.BasicConstraints(ca=ca, path_length=path_length), critical=True)
        .add_extension(usage(signs=not ca if signs is None else signs, issues=ca), critical=True)
    )
    if purposes and not ca:
        builder = builder.add_extension(x509.ExtendedKeyUsage(purposes), critical=False)
    if extra is not None:
        builder = builder.add_extension(extra, critical=True)
    return builder.sign(issuer.key if issuer else key, hashes.SHA256())


def usage(*, signs, issues):
    return x509.KeyUsage(
        digital_signature=signs, content_commitment=False, key_encipherment=False, data_encipherment=False,
        key_agreement=False, key_cert_sign=issues, crl_sign=False, encipher_only=False, decipher_only=False,
    )  # fmt: skip


def trust_key(directory: Path, signer: Signer, name="signer") -> Path:
    return write(directory / f"{name}.pem", public_pem(signer.key.public_key()))


def trust_authority(directory: Path, holder: Holder, name="ca") -> Path:
    return write(directory / f"{name}.pem", holder.pem)
