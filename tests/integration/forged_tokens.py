"""Forged, stolen, stale and mangled access tokens, by name: each is one that some library or service once believed."""

from __future__ import annotations

import base64
import hmac
import json
from collections.abc import Callable
from typing import Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from forging import AUDIENCE, NOW, OTHER_URL, SIGN, URL, b64, ec_key, head, honest, public, rsa_key, says, sign

ATTACKS: dict[str, str] = {}
B64 = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"


def unsigned(header: Any, claims: Any = None) -> str:
    return f"{b64(json.dumps(header))}.{b64(json.dumps(claims or says()))}"


def with_hmac(secret: bytes, algorithm: str = "HS256") -> str:
    signed = unsigned(head(algorithm))
    return f"{signed}.{b64(hmac.digest(secret, signed.encode(), 'sha' + algorithm[2:]))}"


def resigned(header: dict[str, Any], signature: Callable[[bytes], bytes]) -> str:
    signed = unsigned(header)
    return f"{signed}.{b64(signature(signed.encode()))}"


def add(name: str, token: str) -> None:
    assert name not in ATTACKS
    ATTACKS[name] = token


def last_bits(token: str) -> str:
    """The same bytes in another spelling: the bits of the last character that no byte has are set."""
    used = b64(base64.urlsafe_b64decode(token.rpartition(".")[2] + "=="))
    place = B64.index(used[-1])
    return token[:-1] + B64[place | 1 if place % 2 == 0 else place]


def _signatures() -> None:
    good = honest()
    first, payload, signature = good.split(".")
    for spelling in ("none", "None", "NONE", "nOnE", "", "none "):
        add(f"alg {spelling!r}, no signature", unsigned(head(spelling)) + ".")
        add(f"alg {spelling!r}, somebody's signature", f"{unsigned(head(spelling))}.{signature}")
    main = rsa_key("main").public_key()
    pem = main.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    der = main.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    jwk = public()[0]
    secrets = {
        "PEM": pem,
        "PEM without newline": pem.strip(),
        "PKCS1": main.public_bytes(Encoding.PEM, PublicFormat.PKCS1),
        "DER": der,
        "JWK": json.dumps(jwk).encode(),
        "canonical JWK": json.dumps({k: jwk[k] for k in ("e", "kty", "n")}, separators=(",", ":")).encode(),
        "modulus": jwk["n"].encode(),
        "nothing": b"",
    }
    for form, secret in secrets.items():
        add(f"HS256 under the public key as {form}", with_hmac(secret))
    add("HS512 under the public key", with_hmac(pem, "HS512"))
    add("signature stripped", f"{first}.{payload}.")
    add("signature stripped with its dot", f"{first}.{payload}")
    add("signature of another token", f"{first}.{b64(json.dumps(says(sub='other')))}.{signature}")
    add("signature cut by a byte", good[:-2])
    add("signature of zeros", f"{first}.{payload}.{b64(bytes(256))}")
    add("signed by a stranger", honest(name="stranger"))
    add("signed by a neighbour's key", honest(name="neighbour"))
    add("ECDSA with r = s = 0", resigned(head("ES256"), lambda _: bytes(64)))
    order = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
    add("ECDSA with r = s = n", resigned(head("ES256"), lambda _: order.to_bytes(32, "big") * 2))
    add("ECDSA with r = s = 1", resigned(head("ES256"), lambda _: ((1).to_bytes(32, "big")) * 2))
    der_signature = lambda signed: ec_key("main").sign(signed, ec.ECDSA(hashes.SHA256()))  # noqa: E731
    add("ECDSA in DER", resigned(head("ES256"), der_signature))
    add("ECDSA with zeros before", resigned(head("ES256"), lambda signed: b"\0" + SIGN["ES256"](signed)))
    add("Ed25519 signature of zeros", resigned(head("EdDSA"), lambda _: bytes(64)))
    add("PKCS1 signature called PSS", resigned(head("PS256"), SIGN["RS256"]))
    add("PSS signature called PKCS1", resigned(head("RS256"), SIGN["PS256"]))
    sha1 = lambda signed: rsa_key("main").sign(signed, padding.PKCS1v15(), hashes.SHA1())  # noqa: E731
    add("RSA over SHA-1", resigned(head("RS256"), sha1))


def _headers() -> None:
    for algorithm, kid in (("RS256", "p256"), ("ES256", "p384"), ("EdDSA", "p256"), ("ES256", "ed"), ("EdDSA", "rsa")):
        add(f"{algorithm} with the key {kid}", sign(head(algorithm, kid=kid), says(), algorithm))
    add("Ed448 under a key of Ed25519", sign(head("Ed448", kid="ed"), says(), "EdDSA"))
    add("an algorithm that is not pinned", sign(head("RS512"), says()))
    add("an algorithm in other letters", sign(head("rs256"), says()))
    kids = {
        "a path": "../../../../dev/null",
        "an absolute path": "/proc/self/environ",
        "SQL": "x' UNION SELECT 'key' --",
        "a command": "rsa|/bin/true",
        "a URL": "https://evil.example/key.pem",
        "NUL": "rsa\0",
        "another case": "RSA",
        "spaces": " rsa ",
        "nothing": "",
        "length": "r" * 600,
        "full-width letters": "\uff52\uff53\uff41",
        "a format string": "{0.__class__}",
    }
    for what, kid in kids.items():
        add(f"kid: {what}", sign(head(kid=kid), says()))
    for what, kid in {"a list": ["rsa"], "an object": {"kid": "rsa"}, "a number": 0, "true": True}.items():
        add(f"kid: {what}", sign(head(kid=kid), says()))
    add("kid: none at all", sign(head(kid=None), says()))
    add("kid: null", sign('{"alg":"RS256","typ":"JWT","kid":null}', says()))
    mine = {**public("stranger")[0], "kid": "rsa"}
    for name, value in {
        "jwk": mine,
        "jku": "https://evil.example/jwks.json",
        "x5u": "https://evil.example/chain.pem",
        "x5c": ["MIIB"],
    }.items():
        add(f"{name}: a stranger's key brought along", sign(head(**{name: value}), says(), name="stranger"))
        add(f"{name}: beside an honest signature", sign(head(**{name: value}), says()))
    add("jku: pointing at the issuer itself", sign(head(jku=f"{URL}/jwks"), says()))
    add("crit: unknown extension", sign(head(crit=["exp"], exp=NOW + 300), says()))
    add("crit: empty", sign(head(crit=[]), says()))
    add("crit: b64", sign(head(crit=["b64"], b64=False), says()))
    add("b64: false", sign(head(b64=False), says()))
    add("b64: true", sign(head(b64=True), says()))
    add("zip", sign(head(zip="DEF"), says()))
    add("cty: a token in a token", sign(head(cty="JWT"), honest()))
    add("a token as payload", sign(head(), honest()))
    add("enc in a signed token", sign(head(enc="A256GCM"), says()))
    add("an unknown header", sign(head(hello="there"), says()))
    for kind in ("logout+jwt", "secevent+jwt", "dpop+jwt", "id+jwt", "JWE", "", "at+jwt "):
        add(f"typ {kind!r}", sign(head(typ=kind), says()))
    add("no typ", sign(head(typ=None), says()))
    add("typ: a list", sign(head(typ=["JWT"]), says()))
    add("alg twice", sign('{"alg":"none","alg":"RS256","kid":"rsa","typ":"JWT"}', says()))
    add("kid twice", sign('{"alg":"RS256","kid":"x","kid":"rsa","typ":"JWT"}', says()))
    add("alg twice, once escaped", sign('{"alg":"RS256","\\u0061lg":"none","kid":"rsa","typ":"JWT"}', says()))
    add("a huge header", sign(head(x5t="A" * 5_000), says()))
    add("a header that is a list", sign("[]", says()))
    add("a header that is a text", sign('"RS256"', says()))
    add("a header of empty JSON", sign("{}", says()))


def _claims() -> None:
    dead = {
        "expired": says(exp=NOW - 31),
        "not yet valid": says(nbf=NOW + 31),
        "made in the future": says(iat=NOW + 999),
    }
    for what, claims in dead.items():
        add(what, sign(head(), claims))
    add("no exp", sign(head(), says(exp=None)))
    endless: dict[str, Any] = {
        "text": str(NOW + 300), "true": True, "a list": [NOW + 300], "negative": -1, "huge": 10**30, "an object": {},
    }  # fmt: skip
    for what, value in endless.items():
        add(f"exp: {what}", sign(head(), says(exp=value)))
    for literal in (
        "1e999",
        "NaN",
        "Infinity",
        "-Infinity",
        "null",
        "1" * 5_000,
        "٣" * 10,
        "0x7fffffff",
        "01800000300",
    ):
        add(f"exp: {literal[:12]}", sign(head(), json.dumps(says(exp=0)).replace('"exp": 0', f'"exp": {literal}')))
    add("nbf: text", sign(head(), says(nbf="0")))
    add("iat: false", sign(head(), says(iat=False)))
    for what, url in {
        "prefix": URL[:-1],
        "longer": URL + ".evil.example",
        "trailing slash": URL + "/",
        "another case": URL.upper(),
        "http": URL.replace("https", "http"),
        "default port": URL.replace(".example/", ".example:443/"),
        "user before it": URL.replace("//", "//login@"),
        "NUL behind": URL + "\0",
        "space behind": URL + " ",
        "dot segments": URL + "/../crown",
        "a list": [URL],
        "an object": {URL: URL},
        "nobody": "",
    }.items():
        add(f"iss: {what}", sign(head(), says(iss=url)))
    add("iss: missing", sign(head(), says(iss=None)))
    add("iss: the neighbour, with our key", sign(head(), says(iss=OTHER_URL)))
    add("iss: ours, with the neighbour's key", sign(head(), says(), name="neighbour"))
    add("iss: twice", sign(head(), json.dumps(says())[:-1] + f', "iss": "{OTHER_URL}"}}'))
    for what, value in {
        "substring": AUDIENCE[:-1],
        "longer": AUDIENCE + "/admin",
        "another case": AUDIENCE.upper(),
        "a list of others": ["https://other.example"],
        "a list with a part": [AUDIENCE[:-3], AUDIENCE[-3:]],
        "a list in a list": [[AUDIENCE]],
        "a list with a number": [AUDIENCE, 7],
        "an object": {AUDIENCE: True},
        "a long list": [AUDIENCE] * 33,
        "all": "*",
        "joined": f"{AUDIENCE} {OTHER_URL}",
        "empty list": [],
        "the neighbour's": "https://works.example",
    }.items():
        add(f"aud: {what}", sign(head(), says(aud=value)))
    add("aud: missing", sign(head(), says(aud=None)))
    for what, value in {
        "empty": "", "huge": "s" * 256, "a number": 7, "a list": ["letters-service"], "NUL": "letters\0service",
        "newline": "letters\nfst_admin", "lone surrogate": "\ud800", "unicode digits": "user-١٢٣",
        "an object": {"id": 1}, "right-to-left": "\u202eadmin",
    }.items():  # fmt: skip
        add(f"sub: {what}", sign(head(), says(sub=value)))
    add("sub: missing", sign(head(), says(sub=None)))
    add("sub: twice", sign(head(), json.dumps(says())[:-1] + ', "sub": "minister"}'))
    add("roles: a number", sign(head(), says(roles=7)))
    add("roles: too many", sign(head(), says(roles=["r"] * 257)))
    add("roles: an object", sign(head(), says(roles={"Inference.Use": True})))
    add("roles: twice", sign(head(), json.dumps(says())[:-1] + ', "roles": ["Inference.Audit"]}'))
    for name in ("nonce", "at_hash", "c_hash", "s_hash", "events"):
        add(f"an ID or logout token: {name}", sign(head(typ="JWT"), says(**{name: "x"})))
    add("an ID token that says so", sign(head(typ="JWT"), says(typ="ID")))
    add("a refresh token that says so", sign(head(typ="JWT"), says(typ="Refresh")))
    add("an ID token by its use", sign(head(typ="JWT"), says(token_use="id")))
    add("a token bound to a key that nobody shows", sign(head(), says(cnf={"jkt": "x"})))
    add("a payload that is a list", sign(head(), "[]"))
    add("a payload that is a number", sign(head(), "1"))
    add("a payload nested deeply", sign(head(), '{"a":' + "[" * 2_000 + "]" * 2_000 + "}"))
    add("a payload with a byte order mark", sign(head(), "\ufeff" + json.dumps(says())))
    add("a payload in UTF-16", sign(head(), json.dumps(says()).encode("utf-16")))
    add("a payload in Latin-1", sign(head(), json.dumps(says(sub="\u00e9"), ensure_ascii=False).encode("latin-1")))
    add("a payload with a tail", sign(head(), json.dumps(says()) + "{}"))


def _spellings() -> None:
    good = honest()
    first, payload, signature = good.split(".")
    add("padding", f"{first}.{payload}.{signature}==")
    add("padding everywhere", ".".join(part + "=" * (-len(part) % 4) for part in good.split(".")))
    add("trailing bits", last_bits(good))
    add("trailing bits of the header", f"{last_bits(first) if len(first) % 4 else first + 'A'}.{payload}.{signature}")
    add("standard alphabet", f"{first}.{payload}.{base64.b64encode(bytes(range(251, 256)) * 50).decode().rstrip('=')}")
    for what, space in {"space": " ", "newline": "\n", "tab": "\t", "NUL": "\0", "no-break space": "\u00a0"}.items():
        add(f"{what} inside", f"{first}.{payload[:20]}{space}{payload[20:]}.{signature}")
        add(f"{what} behind a dot", f"{first}. {space}{payload}.{signature}")
    for what, behind in {"newline": "\n", "tab": "\t", "NUL": "\0"}.items():
        add(f"{what} behind", good + behind)
    add("full-width dot", good.replace(".", "\uff0e", 1) + ".")
    add("a fourth part", good + ".e30")
    add("encrypted: five parts", f"{b64(json.dumps({'alg': 'dir', 'enc': 'A256GCM'}))}..AAAA.AAAA.AAAA")
    add("encrypted under the public key", f"{b64(json.dumps({'alg': 'RSA-OAEP', 'enc': 'A256GCM'}))}.AA.AA.AA.AA")
    add("the JSON form", json.dumps({"payload": payload, "signatures": [{"protected": first, "signature": signature}]}))
    add("only dots", "..")
    add("many dots", "." * 5_000)
    add("empty payload", f"{first}..{signature}")
    add("two tokens", f"{good} {good}")
    add("two tokens with a comma", f"{good},{good}")
    add("longer than is read", sign(head(), says(padding="x" * 8_000)))
    add("far longer than is read", "eyJ." + "A" * 1_000_000)
    add("surrogates", f"{first}.{payload}.\ud800")
    add("not ASCII", f"{first}.{payload}.\u00e9{signature[1:]}")


for corpus in (_signatures, _headers, _claims, _spellings):
    corpus()
