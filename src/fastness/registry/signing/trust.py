"""Who is trusted to sign: public keys and certificate authorities, one or more in each PEM file of a directory.

There is no other trust: no system store, no network, no list of ours. An empty directory trusts nobody. A file in it
that cannot be read trusts nobody either, so that a damaged file is noticed and never passes for an empty one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, TypeVar

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from cryptography.x509.oid import ExtendedKeyUsageOID

from fastness.registry.signing.keys import KeyRefused, check_curve, key_fingerprint, key_hint, read_pem

FILES_MAX: Final = 1_000
CHAIN_MAX: Final = 5
"""Certificates of one chain, the authority included."""
RSA_BITS_MIN: Final = 2_048
_KNOWN_CRITICAL: Final = (x509.BasicConstraints, x509.KeyUsage, x509.ExtendedKeyUsage)
_E = TypeVar("_E", bound=x509.ExtensionType)
_STRONG: Final = (hashes.SHA256, hashes.SHA384, hashes.SHA512)


class NotTrusted(ValueError):  # noqa: N818 - an outcome
    """Nobody who is trusted vouches for a key; the message says how far it came."""


@dataclass(frozen=True, slots=True)
class Trust:
    """Plain keys by their hint, and the authorities whose certificates are believed."""

    keys: dict[str, ec.EllipticCurvePublicKey]
    authorities: tuple[x509.Certificate, ...]

    @property
    def fingerprints(self) -> frozenset[str]:
        """Return the fingerprints of the plain keys."""
        return frozenset(map(key_fingerprint, self.keys.values()))

    def key(self, hint: str) -> ec.EllipticCurvePublicKey:
        """Return the plain key that a signature names; raises NotTrusted."""
        found = self.keys.get(hint)
        if found is None:
            raise NotTrusted(f"it was made with a key that is not trusted here (hint {hint[:16]}…)")
        return found

    def certified(self, chain: Sequence[x509.Certificate], now_s: float) -> ec.EllipticCurvePublicKey:
        """Return the key of the first certificate, if an authority here vouches for it now; raises NotTrusted."""
        now = datetime.fromtimestamp(now_s, UTC)
        leaf = chain[0]
        _check_time(leaf, now)
        _check_may_sign(leaf)
        self._climb(leaf, list(chain[1:CHAIN_MAX]), now, 0)
        try:
            return check_curve(leaf.public_key(), f"the key of {_name(leaf)}")
        except (KeyRefused, ValueError) as error:
            raise NotTrusted(str(error)) from None

    def _climb(self, low: x509.Certificate, others: list[x509.Certificate], now: datetime, below: int) -> None:
        """Find issuers until one is trusted here. `below` counts the authorities already passed."""
        for issuer in self.authorities:
            if _is_issued_by(low, issuer):
                return _check_authority(issuer, now, below)
        for index, issuer in enumerate(others):
            if _is_issued_by(low, issuer):
                _check_authority(issuer, now, below)
                return self._climb(issuer, others[:index] + others[index + 1 :], now, below + 1)
        raise NotTrusted(f"no authority that is trusted here has issued {_name(low)}")


def read_trust(directory: Path) -> Trust:
    """Read every `*.pem` of a directory (none, or no directory: nobody is trusted). Raises KeyRefused."""
    files = sorted(directory.glob("*.pem"))
    if len(files) > FILES_MAX:
        raise KeyRefused(f"{directory} has {len(files)} files; {FILES_MAX} are read")
    keys: dict[str, ec.EllipticCurvePublicKey] = {}
    authorities: list[x509.Certificate] = []
    for file in files:
        content = read_pem(file)
        try:
            if b"BEGIN CERTIFICATE" in content:
                authorities += [_authority(one, file) for one in x509.load_pem_x509_certificates(content)]
            else:
                key = check_curve(load_pem_public_key(content), str(file))
                keys[key_hint(key)] = key
        except KeyRefused:
            raise
        except (ValueError, TypeError) as error:
            raise KeyRefused(
                f"{file} is neither a public key nor certificates: {error}. While it is there, nobody is trusted."
            ) from None
    return Trust(keys, tuple(authorities))


def _authority(certificate: x509.Certificate, file: Path) -> x509.Certificate:
    if not _is_authority(certificate):
        raise KeyRefused(
            f"{file}: {_name(certificate)} is not the certificate of an authority. "
            "To trust one signer alone, put its public key there."
        )
    return certificate


def _is_authority(certificate: x509.Certificate) -> bool:
    constraints = _extension(certificate, x509.BasicConstraints)
    usage = _extension(certificate, x509.KeyUsage)
    return constraints is not None and constraints.ca and (usage is None or usage.key_cert_sign)


def _is_issued_by(low: x509.Certificate, issuer: x509.Certificate) -> bool:
    try:
        low.verify_directly_issued_by(issuer)
    except Exception:  # noqa: BLE001 - wrong name, wrong signature, unknown algorithm: in any case, not issued by it
        return False
    return True


def _check_authority(certificate: x509.Certificate, now: datetime, below: int) -> None:
    _check_time(certificate, now)
    constraints = _extension(certificate, x509.BasicConstraints)
    if not _is_authority(certificate) or constraints is None:
        raise NotTrusted(f"{_name(certificate)} may not issue certificates")
    if constraints.path_length is not None and below > constraints.path_length:
        raise NotTrusted(f"{_name(certificate)} may not issue through {below} further authorities")


def _check_time(certificate: x509.Certificate, now: datetime) -> None:
    _check_form(certificate)
    if not certificate.not_valid_before_utc <= now <= certificate.not_valid_after_utc:
        raise NotTrusted(
            f"{_name(certificate)} is valid from {certificate.not_valid_before_utc:%Y-%m-%d %H:%MZ} "
            f"to {certificate.not_valid_after_utc:%Y-%m-%d %H:%MZ}; it is {now:%Y-%m-%d %H:%MZ}"
        )


def _check_form(certificate: x509.Certificate) -> None:
    """Refuse what we would have to understand and do not, and what is too weak to mean anything."""
    try:
        critical = [one.value for one in certificate.extensions if one.critical]
        key, strength = certificate.public_key(), certificate.signature_hash_algorithm
    except Exception as error:  # noqa: BLE001 - a certificate that cannot be parsed says so in many ways
        raise NotTrusted(f"a certificate cannot be read: {error}") from None
    if not all(isinstance(one, _KNOWN_CRITICAL) for one in critical):
        raise NotTrusted(f"{_name(certificate)} has a critical extension that is not understood here")
    if isinstance(key, rsa.RSAPublicKey) and key.key_size < RSA_BITS_MIN:
        raise NotTrusted(f"{_name(certificate)} has an RSA key of {key.key_size} bits; {RSA_BITS_MIN} are needed")
    if strength is not None and not isinstance(strength, _STRONG):
        raise NotTrusted(f"{_name(certificate)} is signed with {strength.name}, which is too weak")


def _check_may_sign(certificate: x509.Certificate) -> None:
    usage, purposes = _extension(certificate, x509.KeyUsage), _extension(certificate, x509.ExtendedKeyUsage)
    may = usage.digital_signature if usage is not None else False
    if purposes is not None:
        may = ExtendedKeyUsageOID.CODE_SIGNING in purposes and (usage is None or may)
    if not may:
        raise NotTrusted(f"{_name(certificate)} is not for signing (key usage digitalSignature, purpose codeSigning)")


def _extension(certificate: x509.Certificate, kind: type[_E]) -> _E | None:
    try:
        return certificate.extensions.get_extension_for_class(kind).value
    except x509.ExtensionNotFound:
        return None


def _name(certificate: x509.Certificate) -> str:
    return f"the certificate of {certificate.subject.rfc4514_string()!r}"
