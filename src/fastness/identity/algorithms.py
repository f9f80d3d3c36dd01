"""The signature algorithms that an issuer may be pinned to, and the key each of them needs."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

ALGORITHMS: Final[Mapping[str, tuple[str, str]]] = MappingProxyType(
    {
        "RS256": ("RSA", ""),
        "RS384": ("RSA", ""),
        "RS512": ("RSA", ""),
        "PS256": ("RSA", ""),
        "PS384": ("RSA", ""),
        "PS512": ("RSA", ""),
        "ES256": ("EC", "P-256"),
        "ES384": ("EC", "P-384"),
        "ES512": ("EC", "P-521"),
        "EdDSA": ("OKP", "Ed25519"),
        "Ed25519": ("OKP", "Ed25519"),
    }
)
"""Name of RFC 7518 or RFC 9864: key type and curve. There is no `none` here and no HMAC, so nobody can pin them."""
