"""A signed token in its compact form, taken apart so strictly that one text is one token, and one token is one text.

Nothing here is believed yet: the signature comes later.
"""

from __future__ import annotations

import base64
import binascii
import re
from dataclasses import dataclass
from typing import Any, Final

from fastness.core.error import Refusal
from fastness.identity.strict_json import read_object

HEADER_CHARS_MAX: Final = 1_024
SIGNATURE_CHARS_MAX: Final = 700
"""RSA of 4,096 bits has 683."""
_SEGMENT: Final = re.compile(r"[A-Za-z0-9_-]+")
_HEADER: Final = frozenset({"alg", "kid", "typ", "x5t", "x5t#S256"})
"""The members a header may have. Thumbprints are common, and nothing here looks at them."""
_FORBIDDEN: Final = ("crit", "jku", "jwk", "x5u", "x5c", "b64", "zip", "enc", "cty")
_TYPES: Final = frozenset({"at+jwt", "application/at+jwt", "jwt", "application/jwt"})


@dataclass(frozen=True, slots=True)
class Compact:
    """An unverified token: its header and claims, the bytes that were signed, and the signature."""

    algorithm: str
    kid: str
    claims: dict[str, Any]
    signed: bytes
    signature: bytes


def refused(why: str) -> Refusal:
    """Return the refusal of a token that is not believed. `why` never has anything of the token itself."""
    return Refusal("invalid_token", f"The access token cannot be believed: {why}.")


def take_apart(text: str) -> Compact:
    """Read `text`, whose length was bounded before; raises Refusal (invalid_token)."""
    parts = text.split(".")
    if len(parts) == 5:
        raise refused("it is encrypted (five parts), and only signed ones (three parts) are taken")
    if len(parts) != 3:
        raise refused(f"it has {len(parts)} parts, and a signed token has three")
    head, body, signature = parts
    if len(head) > HEADER_CHARS_MAX or len(signature) > SIGNATURE_CHARS_MAX:
        raise refused(f"its header or signature is longer than {HEADER_CHARS_MAX} or {SIGNATURE_CHARS_MAX} characters")
    header = _object(head, "header")
    algorithm, kid = _read_header(header)
    return Compact(
        algorithm, kid, _object(body, "payload"), f"{head}.{body}".encode("ascii"), _bytes(signature, "signature")
    )


def _read_header(header: dict[str, Any]) -> tuple[str, str]:
    for name in _FORBIDDEN:
        if name in header:
            raise refused(f"its header has `{name}`, which is refused from everybody")
    if not header.keys() <= _HEADER:
        raise refused(f"its header has more than {', '.join(sorted(_HEADER))}")
    if not all(isinstance(value, str) for value in header.values()):
        raise refused("a member of its header is no text")
    if header.get("typ", "").lower() not in _TYPES:
        raise refused("its `typ` is not `at+jwt` or `JWT`, so it is no access token")
    if "alg" not in header or "kid" not in header:
        raise refused("its header needs `alg` and `kid`")
    return header["alg"], header["kid"]


def _object(segment: str, what: str) -> dict[str, Any]:
    try:
        return read_object(_bytes(segment, what))
    except ValueError:
        raise refused(f"its {what} is not a JSON object that can be read in one way only") from None


def _bytes(segment: str, what: str) -> bytes:
    """Decode base64url without padding, and only the one spelling there is of each value."""
    if not _SEGMENT.fullmatch(segment):
        raise refused(f"its {what} is empty, or not base64url without padding")
    try:
        content = base64.urlsafe_b64decode(segment + "=" * (-len(segment) % 4))
    except binascii.Error:
        raise refused(f"its {what} is not base64url") from None
    if base64.urlsafe_b64encode(content).rstrip(b"=") != segment.encode("ascii"):
        raise refused(f"its {what} is not the one spelling of its bytes")
    return content
