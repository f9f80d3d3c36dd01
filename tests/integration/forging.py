"""Tokens, honest and forged, made from bytes so that nothing on our side corrects them; and who trusts what."""

from __future__ import annotations

import base64
import json
from functools import cache
from typing import Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from joserfc.jwk import ECKey, OKPKey, RSAKey

from fastness.core.identity import IdentitySnapshot, Issuer
from fastness.core.tenant import AccessSnapshot, Tenant
from fastness.identity.authenticator import Authenticator

NOW = 1_800_000_000
URL = "https://login.state.example/realms/crown"
OTHER_URL = "https://login.neighbour.example"
AUDIENCE = "https://inference.state.example"
HEALTH = Tenant("health", "Health", 1)
WORKS = Tenant("works", "Works", 1)


def b64(content: bytes | str) -> str:
    return base64.urlsafe_b64encode(content.encode() if isinstance(content, str) else content).rstrip(b"=").decode()


@cache
def rsa_key(name: str, bits: int = 2_048) -> rsa.RSAPrivateKey:
    """One key for each name, however often it is asked for."""
    return rsa.generate_private_key(65_537, bits)


@cache
def ec_key(name: str, curve: type[ec.EllipticCurve] = ec.SECP256R1) -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(curve())


@cache
def ed_key(name: str) -> ed25519.Ed25519PrivateKey:
    return ed25519.Ed25519PrivateKey.generate()


def raw_ecdsa(key: ec.EllipticCurvePrivateKey, signed: bytes, digest: hashes.HashAlgorithm, width: int) -> bytes:
    r, s = decode_dss_signature(key.sign(signed, ec.ECDSA(digest)))
    return r.to_bytes(width, "big") + s.to_bytes(width, "big")


PSS = padding.PSS(padding.MGF1(hashes.SHA256()), 32)
SIGN: dict[str, Any] = {
    "RS256": lambda signed, name="main": rsa_key(name).sign(signed, padding.PKCS1v15(), hashes.SHA256()),
    "PS256": lambda signed, name="main": rsa_key(name).sign(signed, PSS, hashes.SHA256()),
    "ES256": lambda signed, name="main": raw_ecdsa(ec_key(name), signed, hashes.SHA256(), 32),
    "ES384": lambda signed, name="main": raw_ecdsa(ec_key(name, ec.SECP384R1), signed, hashes.SHA384(), 48),
    "EdDSA": lambda signed, name="main": ed_key(name).sign(signed),
}
KIDS = {"RS256": "rsa", "PS256": "rsa", "ES256": "p256", "ES384": "p384", "EdDSA": "ed"}


def public(name: str = "main") -> list[dict[str, Any]]:
    """The JWK set's keys of the issuer that signs with the keys called `name`."""
    made = {
        "rsa": RSAKey.import_key(rsa_key(name).public_key()),
        "p256": ECKey.import_key(ec_key(name).public_key()),
        "p384": ECKey.import_key(ec_key(name, ec.SECP384R1).public_key()),
        "ed": OKPKey.import_key(ed_key(name).public_key()),
    }
    return [{**key.as_dict(), "kid": kid, "use": "sig"} for kid, key in made.items()]


def issuer(name: str = "main", **changes: Any) -> Issuer:
    fields = {
        "url": URL,
        "audience": AUDIENCE,
        "algorithms": tuple(SIGN),
        "tenant": "health",
        "roles_claim": "roles",
        "roles": (("Inference.Use", "developer"), ("Inference.Audit", "auditor")),
        "keys": json.dumps({"keys": public(name)}),
        "fetched_s": NOW - 60,
    }
    return Issuer(**(fields | changes))


def trusting(*issuers: Issuer, tenants: tuple[Tenant, ...] = (HEALTH, WORKS)) -> Authenticator:
    made = Authenticator(b"p" * 32)
    made.replace(AccessSnapshot(1, tenants, ()))
    made.replace_identities(IdentitySnapshot(1, issuers), NOW)
    return made


def says(**changes: Any) -> dict[str, Any]:
    """Honest claims, with changes; a change to None leaves the claim out."""
    claims: dict[str, Any] = {
        "iss": URL,
        "aud": AUDIENCE,
        "sub": "letters-service",
        "client_id": "letters-service",
        "iat": NOW - 10,
        "exp": NOW + 300,
        "jti": "c0ffee",
        "roles": ["Inference.Use"],
    } | changes
    return {name: value for name, value in claims.items() if value is not None}


def head(algorithm: str = "RS256", **changes: Any) -> dict[str, Any]:
    made = {"alg": algorithm, "kid": KIDS.get(algorithm, "rsa"), "typ": "at+jwt"} | changes
    return {name: value for name, value in made.items() if value is not None}


def sign(header: Any, claims: Any, algorithm: str = "RS256", name: str = "main") -> str:
    """Sign honestly whatever is given: objects become JSON, text and bytes stay what they are."""
    parts = [one if isinstance(one, str | bytes) else json.dumps(one) for one in (header, claims)]
    signed = f"{b64(parts[0])}.{b64(parts[1])}"
    return f"{signed}.{b64(SIGN[algorithm](signed.encode(), name))}"


def honest(algorithm: str = "RS256", name: str = "main", **changes: Any) -> str:
    return sign(head(algorithm), says(**changes), algorithm, name)
