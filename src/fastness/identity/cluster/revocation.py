"""Which certificates count no more: a list of serial numbers, numbered and signed by the authority (X.509 CRL)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from fastness.identity.cluster.certificate import UNREADABLE, NotTrusted, moment

REVOKED_MAX: Final = 4_096
"""Revoked certificates of one authority; then it is time for a new one."""
LIST_BYTES_MAX: Final = 1_048_576
_CENTURY_S: Final = 36_525 * 86_400


@dataclass(frozen=True, slots=True)
class Revoked:
    """The serial numbers that count no more. `number` grows with each list: an older one is never taken again."""

    number: int = 0
    serials: frozenset[int] = frozenset()


def sign_revoked(revoked: Revoked, authority: x509.Certificate, key: ec.EllipticCurvePrivateKey, now_s: float) -> bytes:
    """Return the list as PEM. It does not expire: that a newer one is withheld shows in its number alone."""
    if len(revoked.serials) > REVOKED_MAX:
        raise NotTrusted(f"{REVOKED_MAX} certificates of one authority can be revoked, and that many are.")
    builder = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(authority.subject)
        .last_update(moment(now_s))
        .next_update(moment(now_s + _CENTURY_S))
        .add_extension(x509.CRLNumber(revoked.number), critical=False)
    )
    for serial in sorted(revoked.serials):
        one = x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(moment(now_s)).build()
        builder = builder.add_revoked_certificate(one)
    return builder.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM)


def read_revoked(pem: bytes, authority: x509.Certificate) -> Revoked:
    """Read a list that the authority signed; raises NotTrusted."""
    if len(pem) > LIST_BYTES_MAX:
        raise NotTrusted(f"A list of revoked certificates has {LIST_BYTES_MAX} bytes at most; {len(pem)} came.")
    key = authority.public_key()
    try:
        found = x509.load_pem_x509_crl(pem)
        if not isinstance(key, ec.EllipticCurvePublicKey) or not found.is_signature_valid(key):
            raise NotTrusted("The list of revoked certificates was not signed by this installation's authority.")
        number = found.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number
        return Revoked(number, frozenset(one.serial_number for one in found))
    except UNREADABLE as error:
        raise NotTrusted(f"The list of revoked certificates cannot be read: {error}") from None
