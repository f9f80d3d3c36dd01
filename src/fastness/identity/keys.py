"""The text of an API key: minted from secret bytes, parsed without any store, matched by its MAC.

`fst_` (with the name of any role but developer behind it: `fst_admin_`), 43 base-62 characters holding 32 secret
bytes, and 6 base-62 characters of CRC-32 over everything before them. The checksum guards against typing errors, not
against people: it tells a mistyped key from an unknown one, and lets a secret scanner know a real key from a likeness.
"""

from __future__ import annotations

import hmac
import zlib
from enum import StrEnum
from hashlib import sha256
from typing import Final

from fastness.core.ids import base62
from fastness.core.tenant import Role

SECRET_BYTES: Final = 32
SECRET_CHARS: Final = 43
CHECKSUM_CHARS: Final = 6
HINT_CHARS: Final = 6
"""Secret characters that a hint shows: 36 of 256 bits, enough to recognise a key and useless for guessing it."""
PREFIXES: Final = {
    Role.APPROVER: "fst_approver_",
    Role.AUDITOR: "fst_auditor_",
    Role.ADMIN: "fst_admin_",
    Role.DEVELOPER: "fst_",
}
"""The shortest last, because the others begin with it."""
_BLOCK_BYTES: Final = 64
_INNER: Final = bytes(byte ^ 0x36 for byte in range(256))
_OUTER: Final = bytes(byte ^ 0x5C for byte in range(256))
KEY_CHARS_MAX: Final = max(map(len, PREFIXES.values())) + SECRET_CHARS + CHECKSUM_CHARS


class KeyProblem(StrEnum):
    """Why a text cannot be a key, whatever keys there are; the value is a sentence for whoever sent it."""

    TOO_LONG = f"it is longer than any key ({KEY_CHARS_MAX} characters)"
    WRONG_PREFIX = "it does not begin with `fst_`"
    WRONG_LENGTH = "it has a wrong number of characters: part of it is missing or added"
    BAD_CHECKSUM = "its checksum does not match: a character was mistyped or changed"


def mint(secret: bytes, role: Role) -> str:
    """Write `secret` (32 random bytes) as the text of a key; raises ValueError for any other length."""
    if len(secret) != SECRET_BYTES:
        raise ValueError(f"a key is made from {SECRET_BYTES} random bytes; {len(secret)} came")
    body = PREFIXES[role] + base62(int.from_bytes(secret, "big"), SECRET_CHARS)
    return body + _checksum(body)


def parse(text: str) -> Role | KeyProblem:
    """Tell which role the key is for, or why it is no key. Says nothing about whether the key was ever issued."""
    if len(text) > KEY_CHARS_MAX:
        return KeyProblem.TOO_LONG
    role = next((role for role, prefix in PREFIXES.items() if text.startswith(prefix)), None)
    if role is None:
        return KeyProblem.WRONG_PREFIX
    if len(text) != len(PREFIXES[role]) + SECRET_CHARS + CHECKSUM_CHARS:
        return KeyProblem.WRONG_LENGTH
    if not text.isascii() or _checksum(text[:-CHECKSUM_CHARS]) != text[-CHECKSUM_CHARS:]:
        return KeyProblem.BAD_CHECKSUM
    return role


def mac(pepper: bytes, text: str) -> str:
    """Return HMAC-SHA-256 of the key's text under the pepper, in hex: all that is ever stored of a key."""
    return mac_digest(pepper, text).hex()


def mac_digest(pepper: bytes, text: str) -> bytes:
    """Return the same as `mac`, as 32 bytes. Characters that no key has are replaced, so that any text has a MAC."""
    return hmac.digest(pepper, text.encode("ascii", "replace"), "sha256")


class Macs:
    """`mac_digest` under one pepper, at half the cost: the pepper is hashed once, and what follows is added to a copy.

    HMAC (RFC 2104) is H(outer pad, H(inner pad, text)), the pads being the pepper with two constants mixed in.
    """

    def __init__(self, pepper: bytes) -> None:
        key = pepper if len(pepper) <= _BLOCK_BYTES else sha256(pepper).digest()
        padded = key.ljust(_BLOCK_BYTES, b"\0")
        self._inner = sha256(padded.translate(_INNER))
        self._outer = sha256(padded.translate(_OUTER))

    def digest(self, text: str) -> bytes:
        """Return the MAC of a key's text, 32 bytes."""
        inner, outer = self._inner.copy(), self._outer.copy()
        inner.update(text.encode("ascii", "replace"))
        outer.update(inner.digest())
        return outer.digest()


def hint(text: str) -> str:
    """Return the recognisable start of a key: its prefix and six characters of its secret."""
    role = parse(text)
    if isinstance(role, KeyProblem):
        raise ValueError(f"only a key has a hint, and this text is none: {role}")  # noqa: TRY004 - a value, not a type
    return text[: len(PREFIXES[role]) + HINT_CHARS]


def _checksum(body: str) -> str:
    return base62(zlib.crc32(body.encode("ascii")), CHECKSUM_CHARS)
