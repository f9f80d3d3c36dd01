"""Keys that sign: which curves are accepted, with which hash, and how a signer is named."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)

PEM_BYTES_MAX: Final = 1_048_576
"""One file of keys or certificates."""
HASHES: Final = MappingProxyType(
    {"secp256r1": hashes.SHA256(), "secp384r1": hashes.SHA384(), "secp521r1": hashes.SHA512()}
)
"""The curves that OpenSSF Model Signing has, and the hash that goes with each."""


class KeyRefused(ValueError):  # noqa: N818 - an outcome
    """A key or certificate that cannot be used; the message names the file and what was needed."""


@dataclass(frozen=True, slots=True)
class Signer:
    """A private key, and the certificates that vouch for it (its own first; none for a plain key)."""

    key: ec.EllipticCurvePrivateKey
    chain: tuple[x509.Certificate, ...] = ()

    def __post_init__(self) -> None:
        """Raises KeyRefused when the first certificate is not the key's."""
        check_curve(self.key.public_key(), "the signing key")
        if self.chain and self.chain[0].public_key() != self.key.public_key():
            raise KeyRefused("the first certificate is for another key than the signing key")

    @property
    def fingerprint(self) -> str:
        """Return the fingerprint of the certificate, or of the plain key."""
        return certificate_fingerprint(self.chain[0]) if self.chain else key_fingerprint(self.key.public_key())

    def sign(self, content: bytes) -> bytes:
        """Return the ECDSA signature (DER) of `content`."""
        return self.key.sign(content, ec.ECDSA(HASHES[self.key.curve.name]))


def is_signed_by(key: ec.EllipticCurvePublicKey, signature: bytes, content: bytes) -> bool:
    """Tell whether `key` made `signature` over `content`."""
    try:
        key.verify(signature, content, ec.ECDSA(HASHES[key.curve.name]))
    except InvalidSignature:
        return False
    return True


def check_curve(key: object, where: str) -> ec.EllipticCurvePublicKey:
    """Return the public key if it is on an accepted curve; raises KeyRefused."""
    if isinstance(key, ec.EllipticCurvePublicKey) and key.curve.name in HASHES:
        return key
    raise KeyRefused(f"{where} is not an elliptic-curve key on {', '.join(HASHES)}, which signatures here need")


def key_fingerprint(key: ec.EllipticCurvePublicKey) -> str:
    """Return SHA-256 of the public key (DER), in hex."""
    return hashlib.sha256(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).hexdigest()


def certificate_fingerprint(certificate: x509.Certificate) -> str:
    """Return SHA-256 of the certificate (DER), in hex."""
    return hashlib.sha256(certificate.public_bytes(Encoding.DER)).hexdigest()


def key_hint(key: ec.EllipticCurvePublicKey) -> str:
    """Return how a signature names a plain key: SHA-256 of its PEM, in hex."""
    return hashlib.sha256(public_pem(key)).hexdigest()


def public_pem(key: ec.EllipticCurvePublicKey) -> bytes:
    """Return the public key as PEM."""
    return key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def read_pem(path: Path) -> bytes:
    """Return the content of a PEM file; raises KeyRefused when it cannot be read or is too large."""
    try:
        with path.open("rb") as opened:
            content = opened.read(PEM_BYTES_MAX + 1)
    except OSError as error:
        raise KeyRefused(f"{path} cannot be read: {error.strerror}") from None
    if len(content) > PEM_BYTES_MAX:
        raise KeyRefused(f"{path} has more than {PEM_BYTES_MAX} bytes")
    return content


def read_signer(key: Path, chain: Path | None = None) -> Signer:
    """Read a private key (PEM, not encrypted) and its certificates; raises KeyRefused."""
    try:
        private = load_pem_private_key(read_pem(key), None)
        certificates = x509.load_pem_x509_certificates(read_pem(chain)) if chain else []
    except KeyRefused:
        raise
    except (ValueError, TypeError) as error:
        raise KeyRefused(f"{key} or its certificates cannot be read: {error}") from None
    if not isinstance(private, ec.EllipticCurvePrivateKey):
        raise KeyRefused(f"{key} is not an elliptic-curve key on {', '.join(HASHES)}")
    return Signer(private, tuple(certificates))


def installation_signer(secrets: Path) -> Signer:
    """Return the key with which this installation signs what it exports, made at first use.

    Below `secrets`: `export-key.pem` (0600), `export-key.pub.pem` for whoever is to trust it, and, put there by hand,
    `export-chain.pem` with the certificates that vouch for it. Raises KeyRefused, OSError.
    """
    file, chain = secrets / "export-key.pem", secrets / "export-chain.pem"
    if not file.exists():
        made = ec.generate_private_key(ec.SECP256R1())
        draft = secrets / f".export-key.{os.getpid()}.{os.urandom(4).hex()}"
        _write(draft, made.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        try:
            os.link(draft, file)  # whoever is first wins, also among processes
        except FileExistsError:
            pass
        finally:
            draft.unlink()
    signer = read_signer(file, chain if chain.exists() else None)
    public = secrets / "export-key.pub.pem"
    if not public.exists():
        public.write_bytes(public_pem(signer.key.public_key()))
    return signer


def _write(path: Path, content: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(descriptor)
