"""Signed envelopes: what one host tells another by way of somebody whom neither trusts.

Whoever receives one learns who sent it, and what the authority says of the sender, from the certificate inside. It is
for one purpose and one recipient, and it counts once: a copy that comes later is refused, and so is anything older.
"""

from __future__ import annotations

import struct
from collections.abc import Collection
from dataclasses import dataclass
from typing import Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from fastness.core.ids import is_name
from fastness.identity.cluster.certificate import CERTIFICATE_BYTES_MAX, NotTrusted
from fastness.identity.cluster.claims import HostClaims, HostRole
from fastness.identity.cluster.counters import Counter, Counters
from fastness.identity.cluster.membership import Membership

BODY_BYTES_MAX: Final = 67_108_864
"""What is in one envelope: more than any snapshot has."""
ANY_ROLE: Final = frozenset(HostRole)
_BEGINNING: Final = b"fastness vouched 1\n"
_HEAD: Final = struct.Struct(">QQQIIII")
"""When the sender's process began and the envelope was made (milliseconds since 1970), its number; four lengths."""
_SIGNATURE_BYTES_MAX: Final = 128


@dataclass(frozen=True, slots=True)
class Vouched:
    """An envelope that was opened: `claims` are the sender's, of its certificate. `at_ms` is by the sender's clock."""

    claims: HostClaims
    body: bytes
    counter: Counter
    at_ms: int


class Voucher:
    """Signs what this host says. One for each process and purpose: its counter grows from when it was made."""

    def __init__(self, membership: Membership, purpose: str, started_ms: int) -> None:
        if not is_name(purpose):
            raise ValueError(f"a purpose is 1 to 63 lower-case letters, digits or hyphens; came {purpose[:80]!r}")
        self._membership, self._purpose, self._started_ms = membership, purpose.encode(), started_ms
        self._number = 0

    def vouch(self, recipient: str, body: bytes, at_ms: int) -> bytes:
        """Return `body` in an envelope for the host named `recipient`; raises ValueError when it is too large."""
        if len(body) > BODY_BYTES_MAX:
            raise ValueError(f"an envelope holds {BODY_BYTES_MAX} bytes; came {len(body)}")
        self._number += 1
        own, to = self._membership.certificate_der, recipient.encode()
        lengths = (len(own), len(self._purpose), len(to), len(body))
        head = _HEAD.pack(self._started_ms, at_ms, self._number, *lengths)
        signed = b"".join((_BEGINNING, head, own, self._purpose, to, body))
        return signed + self._membership.key.sign(signed, ec.ECDSA(hashes.SHA256()))


def open_vouched(
    message: bytes,
    membership: Membership,
    purpose: str,
    counters: Counters,
    now_s: float,
    *,
    roles: Collection[HostRole] = ANY_ROLE,
    age_s_max: float | None = None,
) -> Vouched:
    """Open an envelope that is for this host and `purpose`, from a host of one of `roles`; raises NotTrusted.

    Nothing but the certificate says who sent it. With `age_s_max`, one that was made longer ago by the sender's clock
    is refused, and one from as far in the future.
    """
    signed, signature, parts = _taken_apart(message)
    certificate_der, its_purpose, recipient, body = parts
    started_ms, at_ms, number = _HEAD.unpack_from(message, len(_BEGINNING))[:3]
    sender = membership.check(certificate_der, now_s)
    claims = sender.claims
    try:
        sender.key.verify(signature, signed, ec.ECDSA(hashes.SHA256()))
    except InvalidSignature:
        raise NotTrusted(f"The envelope is not as {claims.name} signed it.") from None
    if its_purpose != purpose.encode():
        raise NotTrusted(f"The envelope of {claims.name} is for another purpose; needed: {purpose}.")
    if recipient != membership.claims.name.encode():
        raise NotTrusted(f"The envelope of {claims.name} is for another host; this is {membership.claims.name}.")
    if claims.role not in roles:
        raise NotTrusted(f"{claims.name} has the role {claims.role}; needed for {purpose}: {', '.join(sorted(roles))}.")
    if age_s_max is not None and abs(now_s - at_ms / 1_000) > age_s_max:
        raise NotTrusted(
            f"The envelope of {claims.name} was made {now_s - at_ms / 1_000:.1f} s ago by its clock; at most "
            f"{age_s_max:g} s are allowed. Look at the clocks of both hosts."
        )
    counter = Counter(started_ms, number)
    counters.advance(f"{claims.name} {purpose}", counter)
    return Vouched(claims, body, counter, at_ms)


def _taken_apart(message: bytes) -> tuple[bytes, bytes, tuple[bytes, bytes, bytes, bytes]]:
    """Return what was signed, the signature, and certificate, purpose, recipient and body; raises NotTrusted."""
    begin = len(_BEGINNING) + _HEAD.size
    if len(message) < begin or not message.startswith(_BEGINNING):
        raise NotTrusted("This is no envelope as this version of Fastness writes them.")
    lengths = _HEAD.unpack_from(message, len(_BEGINNING))[3:]
    bounds = (CERTIFICATE_BYTES_MAX, 63, 63, BODY_BYTES_MAX)
    end = begin + sum(lengths)
    if any(one > most for one, most in zip(lengths, bounds, strict=True)):
        raise NotTrusted("The envelope says of a part that it is larger than any may be.")
    if not 0 < len(message) - end <= _SIGNATURE_BYTES_MAX:
        raise NotTrusted("The envelope is longer or shorter than it says.")
    parts, at = [], begin
    for length in lengths:
        parts.append(message[at : at + length])
        at += length
    certificate, purpose, recipient, body = parts
    return message[:end], message[end:], (certificate, purpose, recipient, body)
