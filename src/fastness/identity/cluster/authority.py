"""The installation's own certificate authority, which lives on the head: it certifies hosts, and revokes them."""

from __future__ import annotations

import datetime
from dataclasses import dataclass
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from fastness.identity.cluster.certificate import (
    CLAIMS_OID,
    UNREADABLE,
    NotTrusted,
    key_usage,
    moment,
    names_of,
    seconds,
    subject_of,
    usages,
)
from fastness.identity.cluster.claims import HostClaims
from fastness.identity.cluster.revocation import Revoked, sign_revoked

SKEW_S: Final = 300
"""A certificate begins this long before it is made: the clock of another host may be behind."""


@dataclass(frozen=True, slots=True)
class IssuedCertificate:
    """A certificate and its private key, both PEM. The key is shown to whom it is for, and kept nowhere else."""

    certificate_pem: bytes
    key_pem: bytes
    serial: int
    not_after_s: int

    def __repr__(self) -> str:
        return f"IssuedCertificate(serial={self.serial:x}, not_after_s={self.not_after_s})"


class Authority:
    """Signs certificates of hosts with the installation's key."""

    def __init__(self, certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> None:
        self.certificate = certificate
        self._key = key

    @staticmethod
    def create(now_s: float, lifetime_s: int) -> Authority:
        """Make a new authority, which nobody trusts yet."""
        key = ec.generate_private_key(ec.SECP256R1())
        identifier = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
        name = subject_of(f"Fastness {identifier.digest.hex()[:16]}")
        built = _begun(name, name, key.public_key(), now_s, lifetime_s)
        built = built.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        built = built.add_extension(key_usage(authority=True), critical=True)
        built = built.add_extension(identifier, critical=False)
        return Authority(built.sign(key, hashes.SHA256()), key)

    @staticmethod
    def load(certificate_pem: bytes, key_pem: bytes) -> Authority:
        """Read what `certificate_pem` and `key_pem` gave; raises NotTrusted."""
        certificate = read_authority(certificate_pem)
        try:
            key = load_pem_private_key(key_pem, None)
        except UNREADABLE as error:
            raise NotTrusted(f"The authority's key cannot be read: {error}") from None
        if not isinstance(key, ec.EllipticCurvePrivateKey) or key.public_key() != certificate.public_key():
            raise NotTrusted("The authority's key is not that of its certificate.")
        return Authority(certificate, key)

    @property
    def certificate_pem(self) -> bytes:
        """Return the certificate, which every host trusts."""
        return self.certificate.public_bytes(Encoding.PEM)

    @property
    def key_pem(self) -> bytes:
        """Return the private key: whoever has it says who belongs to the installation."""
        return _key_pem(self._key)

    def issue(self, claims: HostClaims, now_s: float, lifetime_s: int) -> IssuedCertificate:
        """Certify a host with a new key; it ends no later than the authority itself. Raises NotTrusted at its end."""
        ends_s = min(int(now_s) + lifetime_s, seconds(self.certificate.not_valid_after_utc))
        if ends_s <= now_s:
            raise NotTrusted("The certificate of the installation's authority has ended: make a new cluster.")
        key = ec.generate_private_key(ec.SECP256R1())
        identifier = self.certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
        built = _begun(subject_of(claims.name), self.certificate.subject, key.public_key(), now_s, ends_s - int(now_s))
        for usage, critical in usages():
            built = built.add_extension(usage, critical)
        built = built.add_extension(names_of(claims), critical=False)
        built = built.add_extension(x509.UnrecognizedExtension(CLAIMS_OID, claims.to_json()), critical=False)
        built = built.add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        built = built.add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier), critical=False
        )
        made = built.sign(self._key, hashes.SHA256())
        return IssuedCertificate(made.public_bytes(Encoding.PEM), _key_pem(key), made.serial_number, ends_s)

    def sign_revoked(self, revoked: Revoked, now_s: float) -> bytes:
        """Return the list of revoked certificates, as PEM."""
        return sign_revoked(revoked, self.certificate, self._key, now_s)


def read_authority(pem: bytes) -> x509.Certificate:
    """Read the certificate of an authority; raises NotTrusted."""
    try:
        certificate = x509.load_pem_x509_certificate(pem)
        constraints = certificate.extensions.get_extension_for_class(x509.BasicConstraints).value
    except UNREADABLE as error:
        raise NotTrusted(f"The authority's certificate cannot be read: {error}") from None
    if not constraints.ca or not isinstance(certificate.public_key(), ec.EllipticCurvePublicKey):
        raise NotTrusted("What should be the authority's certificate is one of something else.")
    return certificate


def _begun(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, now_s: float, lifetime_s: int
) -> x509.CertificateBuilder:
    now = moment(now_s)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(seconds=SKEW_S))
        .not_valid_after(now + datetime.timedelta(seconds=lifetime_s))
    )


def _key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
