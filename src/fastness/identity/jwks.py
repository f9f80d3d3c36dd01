"""The keys of an issuer: a JWK set from outside, read strictly, and written again with nothing in it but public keys.

What an issuer publishes for other purposes (encryption, other curves) is left out in silence. A set that shows a
secret, or names two keys alike, is refused whole: whoever publishes that has lost control of it.
"""

from __future__ import annotations

import json
import re
from base64 import urlsafe_b64decode
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final

from joserfc.errors import JoseError
from joserfc.jwk import ECKey, OKPKey, RSAKey

from fastness.identity.algorithms import ALGORITHMS
from fastness.identity.strict_json import read_object

JWKS_BYTES_MAX: Final = 262_144
KEYS_MAX: Final = 64
KID_CHARS_MAX: Final = 256
RSA_BITS: Final = range(2_048, 4_097)
"""Shorter can be factored; longer only costs time."""
RSA_EXPONENTS: Final = range(65_537, 1 << 32)
_KINDS: Final[Mapping[str, tuple[type[RSAKey | ECKey | OKPKey], tuple[str, ...]]]] = MappingProxyType(
    {"RSA": (RSAKey, ("n", "e")), "EC": (ECKey, ("crv", "x", "y")), "OKP": (OKPKey, ("crv", "x"))}
)
_SECRET: Final = frozenset({"d", "p", "q", "dp", "dq", "qi", "oth", "k"})
_BASE64URL: Final = re.compile(r"[A-Za-z0-9_-]{1,700}")


class JwksProblem(ValueError):  # noqa: N818 - an outcome
    """A JWK set that is not believed; the message says why, and repeats nothing of it."""


@dataclass(frozen=True, slots=True)
class SigningKey:
    """One public key: the algorithms it may verify, joserfc's form of it, and the JWK members it was made from."""

    kid: str
    algorithms: frozenset[str]
    key: RSAKey | ECKey | OKPKey
    members: tuple[tuple[str, str], ...]


def read_jwks(content: bytes) -> dict[str, SigningKey]:
    """Return the keys that can verify tokens, by `kid`: at least one. Raises JwksProblem."""
    if len(content) > JWKS_BYTES_MAX:
        raise JwksProblem(f"it has more than {JWKS_BYTES_MAX} bytes")
    try:
        listed = read_object(content).get("keys")
    except ValueError as error:
        raise JwksProblem(str(error)) from error
    if not isinstance(listed, list) or not 0 < len(listed) <= KEYS_MAX:
        raise JwksProblem(f"needed: `keys`, a list of 1 to {KEYS_MAX} keys")
    found: dict[str, SigningKey] = {}
    for jwk in listed:
        key = _signing_key(jwk)
        if key is None:
            continue
        if key.kid in found:
            raise JwksProblem("two keys have the same `kid`, so a token cannot say which it means")
        found[key.kid] = key
    if not found:
        raise JwksProblem(
            f"none of its keys can verify a token. Needed: a `kid`, and RSA of {RSA_BITS.start} to {RSA_BITS.stop - 1} "
            "bits, EC on P-256, P-384 or P-521, or Ed25519"
        )
    return found


def write_jwks(keys: Mapping[str, SigningKey]) -> str:
    """Return the set as JSON in one canonical form: sorted, and public members only."""
    listed = [dict(keys[kid].members) for kid in sorted(keys)]
    return json.dumps({"keys": listed}, sort_keys=True, separators=(",", ":"))


def _signing_key(jwk: object) -> SigningKey | None:
    """Return the key, None when it is for something else; raises JwksProblem when it shows a secret."""
    if not isinstance(jwk, dict):
        raise JwksProblem("one of its keys is no JSON object")
    if jwk.get("kty") == "oct" or not _SECRET.isdisjoint(jwk):
        raise JwksProblem("it shows a private or symmetric key, which nobody may publish: treat that key as stolen")
    kid, kind = jwk.get("kid"), jwk.get("kty")
    if not isinstance(kid, str) or not 0 < len(kid) <= KID_CHARS_MAX or not kid.isprintable():
        return None
    if not isinstance(kind, str) or kind not in _KINDS or not _for_signatures(jwk):
        return None
    made, names = _KINDS[kind]
    public = {name: value for name in names if isinstance(value := jwk.get(name), str) and _BASE64URL.fullmatch(value)}
    algorithms = _algorithms(kind, jwk)
    if len(public) < len(names) or not algorithms:
        return None
    try:
        if kind == "RSA" and not _strong(public):
            return None
        key = made.import_key({"kty": kind, **public})
    except (JoseError, ValueError):  # a point beside its curve, a number with trailing bits
        return None
    members = {"kty": kind, "kid": kid, "use": "sig", **public}
    if "alg" in jwk:
        members["alg"] = str(jwk["alg"])
    return SigningKey(kid, algorithms, key, tuple(sorted(members.items())))


def _for_signatures(jwk: dict[str, Any]) -> bool:
    operations = jwk.get("key_ops", ["verify"])
    return jwk.get("use", "sig") == "sig" and isinstance(operations, list) and "verify" in operations


def _algorithms(kind: str, jwk: dict[str, Any]) -> frozenset[str]:
    """Return what this key fits, narrowed by what it says of itself."""
    curve = "" if kind == "RSA" else jwk.get("crv")
    fitting = {name for name, needed in ALGORITHMS.items() if needed == (kind, curve)}
    return frozenset(fitting if "alg" not in jwk else fitting & {str(jwk["alg"])})


def _strong(public: Mapping[str, str]) -> bool:
    """Judge the numbers of an RSA key before any library reads them."""
    modulus, exponent = (int.from_bytes(urlsafe_b64decode(public[name] + "==="), "big") for name in ("n", "e"))
    return modulus.bit_length() in RSA_BITS and exponent in RSA_EXPONENTS and exponent % 2 == 1
