"""X.509 certificates of hosts: how ours look, and the strict reading of one that somebody shows."""

from __future__ import annotations

import datetime
import ipaddress
from dataclasses import dataclass
from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.utils import CryptographyDeprecationWarning
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from fastness.identity.cluster.claims import LOOPBACK, ClaimsRefused, HostClaims

CLAIMS_OID: Final = x509.ObjectIdentifier("2.25.131394215709575495225281671616876618710")
"""Our extension: what the authority says of the host. Below 2.25 anybody may take a random number (X.667)."""
DOMAIN: Final = "fastness.internal"
"""Server names are PART.HOST.fastness.internal; `internal` is set aside for private use, so nobody can own it."""
CERTIFICATE_BYTES_MAX: Final = 32_768
"""One certificate in DER."""


UNREADABLE: Final = (
    ValueError,
    TypeError,
    UnsupportedAlgorithm,
    x509.InvalidVersion,
    x509.ExtensionNotFound,
    x509.DuplicateExtension,
    x509.UnsupportedGeneralNameType,
    CryptographyDeprecationWarning,  # of what it will not read much longer, where warnings are errors
)
"""What `cryptography` raises for what is no certificate as it knows them."""


class NotTrusted(Exception):  # noqa: N818 - an outcome
    """A certificate or an envelope that is refused; the message says what was needed, and what came."""


@dataclass(frozen=True, slots=True)
class HostCertificate:
    """A certificate that the authority did issue: what it says, and from when to when, in seconds since 1970."""

    claims: HostClaims
    serial: int
    not_before_s: int
    not_after_s: int
    key: ec.EllipticCurvePublicKey

    def check_time(self, now_s: float) -> None:
        """Raise NotTrusted outside of its lifetime."""
        if now_s < self.not_before_s:
            raise NotTrusted(
                f"The certificate of {self.claims.name} begins at {self.not_before_s}, and it is {int(now_s)} here "
                "(seconds since 1970): look at the clocks of both hosts."
            )
        if now_s >= self.not_after_s:
            raise NotTrusted(
                f"The certificate of {self.claims.name} ended at {self.not_after_s} (seconds since 1970). "
                f"Make another on the head: fastness node invite {self.claims.name}"
            )


def names_of(claims: HostClaims) -> x509.SubjectAlternativeName:
    """Return the names of a host: its own, those below it for its doors, its addresses, and the loopback."""
    addresses = dict.fromkeys((*claims.addresses, LOOPBACK))
    return x509.SubjectAlternativeName(
        [
            x509.DNSName(claims.name),
            x509.DNSName(f"*.{claims.name}.{DOMAIN}"),
            *(x509.IPAddress(ipaddress.ip_address(one)) for one in addresses),
        ]
    )


def subject_of(name: str) -> x509.Name:
    """Return the distinguished name of a host or an authority."""
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def usages() -> tuple[tuple[x509.ExtensionType, bool], ...]:
    """Return what a host's key may do, each with whether that is critical: sign, as a server and as a client."""
    return (
        (x509.BasicConstraints(ca=False, path_length=None), True),
        (key_usage(digital_signature=True), True),
        (x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]), False),
    )


def key_usage(*, digital_signature: bool = False, authority: bool = False) -> x509.KeyUsage:
    """Return a key usage that permits one thing: to sign messages, or certificates and lists of revoked ones."""
    return x509.KeyUsage(
        digital_signature=digital_signature,
        key_cert_sign=authority,
        crl_sign=authority,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def read_certificate(der: bytes, authority: x509.Certificate) -> HostCertificate:
    """Read a host's certificate that `authority` issued: every extension as we write it, and no other.

    Raises NotTrusted. Neither its time nor its revocation is looked at here.
    """
    if len(der) > CERTIFICATE_BYTES_MAX:
        raise NotTrusted(f"A certificate has {CERTIFICATE_BYTES_MAX} bytes at most; {len(der)} came.")
    try:
        found = x509.load_der_x509_certificate(der)
        found.verify_directly_issued_by(authority)
        return _read(found)
    except InvalidSignature:
        raise NotTrusted("The certificate was not issued by this installation's authority.") from None
    except ClaimsRefused as error:
        raise NotTrusted(f"The certificate is not one of a host: {error}") from None
    except UNREADABLE as error:
        raise NotTrusted(f"The certificate is not one of a host of this installation: {error}") from None


def _read(found: x509.Certificate) -> HostCertificate:
    extensions, key = found.extensions, found.public_key()
    extension = extensions.get_extension_for_oid(CLAIMS_OID).value
    if not isinstance(extension, x509.UnrecognizedExtension):
        raise NotTrusted("The claims of the certificate cannot be read.")
    claims = HostClaims.from_json(extension.value)
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
        raise NotTrusted("The certificate's key is not on the curve P-256, which those of hosts are.")
    if not isinstance(found.signature_hash_algorithm, hashes.SHA256):
        raise NotTrusted("The certificate is not signed with ECDSA and SHA-256.")
    expected = {type(value): (value, critical) for value, critical in usages()}
    expected[x509.SubjectAlternativeName] = (names_of(claims), False)
    for one in extensions:
        wanted = expected.pop(type(one.value), None)
        if wanted is not None and (one.value, one.critical) != wanted:
            raise NotTrusted(f"The certificate says something else in {one.oid.dotted_string} than it claims.")
        if wanted is None and not isinstance(
            one.value, x509.UnrecognizedExtension | x509.SubjectKeyIdentifier | x509.AuthorityKeyIdentifier
        ):
            raise NotTrusted(f"The certificate has an extension that those of hosts have not: {one.oid.dotted_string}.")
    if expected or found.subject != subject_of(claims.name):
        raise NotTrusted("The certificate's names and usages are not those of a host.")
    begins_s, ends_s = seconds(found.not_valid_before_utc), seconds(found.not_valid_after_utc)
    return HostCertificate(claims, found.serial_number, begins_s, ends_s, key)


def seconds(when: datetime.datetime) -> int:
    """Return seconds since 1970."""
    return int(when.timestamp())


def moment(when_s: float) -> datetime.datetime:
    """Return a time of seconds since 1970, as certificates have it: whole seconds, UTC."""
    return datetime.datetime.fromtimestamp(int(when_s), datetime.UTC)
