"""The certificate of a shredding: what was destroyed, when, by whom, where the ledger says so; signed."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from typing import Final

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from fastness.perimeter.report_shape import Signature, canonical
from fastness.perimeter.signing import raw

FORMAT: Final = "fastness-shred-certificate/1"


class DestroyedKey(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The key of one day."""

    id: str
    day: int
    public_sha256: str


class Shredding(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is signed. `requests` are ids; of `everything` they are not listed, for all keys are gone.

    `opened_after` is how many of these requests could still be opened when that was tried.
    """

    format: str
    disclosure: str
    tenant: str
    everything: bool
    requests: tuple[str, ...]
    requests_total: int
    requests_sha256: str
    keys: tuple[DestroyedKey, ...]
    tenant_key_destroyed: bool
    opened_after: int
    asked_by: str
    approved_by: str
    at_ms: int
    log: str
    index: int


class Certificate(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The file."""

    body: Shredding
    signature: Signature


_CERTIFICATE: Final = msgspec.json.Decoder(Certificate)


class CertificateRefused(ValueError):  # noqa: N818 - what is said of a file
    """It is no certificate, or was changed, or is of another installation; the message says which."""


def signed(body: Shredding, key: Ed25519PrivateKey) -> bytes:
    """Return the certificate as it is written to a file."""
    public = base64.b64encode(raw(key.public_key())).decode()
    value = base64.b64encode(key.sign(canonical(body))).decode()
    return canonical(Certificate(body, Signature("Ed25519", public, value))) + b"\n"


def verify(content: bytes, public_key: bytes) -> Shredding:
    """Return what a certificate says, if the key with these 32 bytes signed it; raises CertificateRefused."""
    try:
        certificate = _CERTIFICATE.decode(content)
        if base64.b64decode(certificate.signature.public_key) != public_key:
            raise CertificateRefused("another key signed it")
        signature = base64.b64decode(certificate.signature.value)
        Ed25519PublicKey.from_public_bytes(public_key).verify(signature, canonical(certificate.body))
    except (msgspec.MsgspecError, ValueError) as error:
        raise CertificateRefused(f"it is no certificate: {error}") from None
    except InvalidSignature:
        raise CertificateRefused("its signature is not over what it says") from None
    return certificate.body


def digest_of(requests: Sequence[str]) -> str:
    """Return SHA-256 of ids of requests, sorted, one a line."""
    return hashlib.sha256("".join(f"{one}\n" for one in sorted(requests)).encode()).hexdigest()
