"""OpenSSF Model Signing: a Sigstore bundle around a DSSE envelope around an in-toto statement that names every file.

Only what can be checked with nothing but a key is accepted: one ECDSA signature, by a plain key or by a certificate of
an authority that is trusted here. Files are named with their SHA-256; a file that is not named is not signed.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from types import MappingProxyType
from typing import Annotated, Any, Final, Literal, TypeVar

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from fastness.core.admission import ArtefactFile
from fastness.registry.signing.keys import (
    Signer,
    certificate_fingerprint,
    is_signed_by,
    key_fingerprint,
    key_hint,
)
from fastness.registry.signing.trust import CHAIN_MAX, NotTrusted, Trust

SIGNATURE_BYTES_MAX: Final = 16_777_216
RESOURCES_MAX: Final = 1_000_000
MEDIA_TYPE: Final = "application/vnd.dev.sigstore.bundle.v0.3+json"
PAYLOAD_TYPE: Final = "application/vnd.in-toto+json"
STATEMENT_TYPE: Final = "https://in-toto.io/Statement/v1"
PREDICATE_TYPE: Final = "https://model_signing/signature/v1.0"
WHOLE: Final = "."
"""How a signature on a single file names it."""
_T = TypeVar("_T")
_HEX: Final = re.compile("[0-9a-f]{64}")


class SignatureRefused(ValueError):  # noqa: N818 - an outcome
    """A signature that is not one, or not of these files, or not by anybody trusted; the message says which."""


@dataclass(frozen=True, slots=True)
class Signed:
    """What a signature vouches for: `files` maps paths to SHA-256 in hex; `signer` is the signer's fingerprint."""

    name: str
    files: Mapping[str, str]
    signer: str


_Raw = Annotated[str, msgspec.Meta(max_length=SIGNATURE_BYTES_MAX)]


class _Certificate(msgspec.Struct, rename="camel"):
    raw_bytes: _Raw


class _Chain(msgspec.Struct):
    certificates: Annotated[list[_Certificate], msgspec.Meta(min_length=1, max_length=CHAIN_MAX)]


class _PublicKey(msgspec.Struct):
    hint: str


class _Material(msgspec.Struct, rename="camel", omit_defaults=True):
    public_key: _PublicKey | None = None
    x509_certificate_chain: _Chain | None = None
    tlog_entries: list[msgspec.Raw] = msgspec.field(default_factory=list)


class _Signature(msgspec.Struct):
    sig: _Raw
    keyid: str = ""


class _Envelope(msgspec.Struct, rename="camel"):
    payload: _Raw
    payload_type: str
    signatures: list[_Signature]


class _Bundle(msgspec.Struct, rename="camel"):
    media_type: str
    verification_material: _Material
    dsse_envelope: _Envelope


class _Digests(msgspec.Struct):
    sha256: str


class _Subject(msgspec.Struct):
    name: str
    digest: _Digests


class _Resource(msgspec.Struct):
    name: str
    algorithm: Literal["sha256"]
    digest: str


class _Serialization(msgspec.Struct):
    method: Literal["files"]
    hash_type: Literal["sha256"]


class _Predicate(msgspec.Struct):
    serialization: _Serialization
    resources: Annotated[list[_Resource], msgspec.Meta(min_length=1, max_length=RESOURCES_MAX)]


class _Statement(msgspec.Struct, rename={"type": "_type", "predicate_type": "predicateType"}):
    type: str
    subject: list[_Subject]
    predicate_type: str
    predicate: _Predicate


_BUNDLE: Final = msgspec.json.Decoder(_Bundle)
_STATEMENT: Final = msgspec.json.Decoder(_Statement)


def sign(name: str, files: Iterable[ArtefactFile], signer: Signer) -> bytes:
    """Return the signature of these files, named together as `name`, as the JSON text of a Sigstore bundle."""
    resources = [
        {"name": file.path, "algorithm": "sha256", "digest": file.digest}
        for file in sorted(files, key=lambda file: PurePosixPath(file.path))
    ]
    payload = msgspec.json.encode(
        {
            "_type": STATEMENT_TYPE,
            "subject": [{"name": name, "digest": {"sha256": _root(one["digest"] for one in resources)}}],
            "predicateType": PREDICATE_TYPE,
            "predicate": {
                "serialization": {"method": "files", "hash_type": "sha256", "allow_symlinks": False},
                "resources": resources,
            },
        }
    )
    material: dict[str, Any] = {"tlogEntries": []}
    if signer.chain:
        certificates = [{"rawBytes": _text(one.public_bytes(Encoding.DER))} for one in signer.chain]
        material["x509CertificateChain"] = {"certificates": certificates}
    else:
        material["publicKey"] = {"hint": key_hint(signer.key.public_key())}
    envelope = {
        "payload": _text(payload),
        "payloadType": PAYLOAD_TYPE,
        "signatures": [{"sig": _text(signer.sign(_encoded(PAYLOAD_TYPE, payload))), "keyid": ""}],
    }
    return msgspec.json.encode({"mediaType": MEDIA_TYPE, "verificationMaterial": material, "dsseEnvelope": envelope})


def verify(signature: bytes, trust: Trust, now_s: float) -> Signed:
    """Return what a signature vouches for, if somebody trusted made it; raises SignatureRefused.

    The files themselves are compared by `check`.
    """
    bundle = _read(signature, _BUNDLE, "the signature")
    if bundle.media_type != MEDIA_TYPE:
        raise SignatureRefused(f"the signature has media type {bundle.media_type[:80]!r}; {MEDIA_TYPE} is needed")
    envelope = bundle.dsse_envelope
    if envelope.payload_type != PAYLOAD_TYPE:
        raise SignatureRefused(f"the signed payload is of type {envelope.payload_type[:80]!r}, not {PAYLOAD_TYPE}")
    if len(envelope.signatures) != 1:
        raise SignatureRefused(f"there are {len(envelope.signatures)} signatures; exactly one is needed")
    payload = _bytes(envelope.payload, "payload")
    try:
        key, fingerprint = _key(bundle.verification_material, trust, now_s)
    except NotTrusted as error:
        raise SignatureRefused(f"the signature is not trusted: {error}") from None
    if not is_signed_by(key, _bytes(envelope.signatures[0].sig, "signature"), _encoded(PAYLOAD_TYPE, payload)):
        raise SignatureRefused("the signature does not fit what it signs: either was changed")
    return _vouched(payload, fingerprint)


def check(signed: Signed, files: Iterable[ArtefactFile]) -> None:
    """Compare files with what was signed: each of them, and no other. Raises SignatureRefused naming the first."""
    found = {file.path: file.digest for file in files}
    if set(signed.files) == {WHOLE} and len(found) == 1:
        found = {WHOLE: next(iter(found.values()))}
    for path, digest in sorted(found.items()):
        if path not in signed.files:
            raise SignatureRefused(f"{path!r} is not among the signed files")
        if digest != signed.files[path]:
            raise SignatureRefused(f"{path!r} has SHA-256 {digest}; {signed.files[path]} was signed")
    if missing := sorted(signed.files.keys() - found.keys()):
        raise SignatureRefused(f"{missing[0]!r} was signed and is missing")


def _key(material: _Material, trust: Trust, now_s: float) -> tuple[ec.EllipticCurvePublicKey, str]:
    if (material.public_key is None) == (material.x509_certificate_chain is None):
        raise NotTrusted("it names neither a plain key nor certificates, or both")
    if material.public_key is not None:
        key = trust.key(material.public_key.hint)
        return key, key_fingerprint(key)
    assert material.x509_certificate_chain is not None
    encoded = [_bytes(one.raw_bytes, "certificate") for one in material.x509_certificate_chain.certificates]
    try:
        chain = [x509.load_der_x509_certificate(one) for one in encoded]
    except ValueError as error:
        raise NotTrusted(f"a certificate cannot be read: {error}") from None
    return trust.certified(chain, now_s), certificate_fingerprint(chain[0])


def _vouched(payload: bytes, fingerprint: str) -> Signed:
    statement = _read(payload, _STATEMENT, "the signed statement")
    if (statement.type, statement.predicate_type) != (STATEMENT_TYPE, PREDICATE_TYPE):
        raise SignatureRefused(f"the statement is a {statement.predicate_type[:80]!r}, not a {PREDICATE_TYPE}")
    if len(statement.subject) != 1:
        raise SignatureRefused(f"the statement has {len(statement.subject)} subjects; exactly one is needed")
    files: dict[str, str] = {}
    for one in statement.predicate.resources:
        path = PurePosixPath(one.name)
        if str(path) != one.name or path.is_absolute() or ".." in path.parts or not _HEX.fullmatch(one.digest):
            raise SignatureRefused(f"the statement names {one.name[:80]!r}, which is not a plain path with a SHA-256")
        if one.name in files:
            raise SignatureRefused(f"the statement names {one.name[:80]!r} twice")
        files[one.name] = one.digest
    subject = statement.subject[0]
    if subject.digest.sha256 != _root(files.values()):
        raise SignatureRefused("the statement's digest is not that of the files it names")
    return Signed(subject.name, MappingProxyType(files), fingerprint)


def _root(digests: Iterable[str]) -> str:
    return hashlib.sha256(b"".join(map(bytes.fromhex, digests))).hexdigest()


def _encoded(payload_type: str, payload: bytes) -> bytes:
    """Encode type and payload so that no two pairs give the same bytes (DSSE's PAE, version 1)."""
    return b"DSSEv1 %d %s %d %s" % (len(payload_type), payload_type.encode(), len(payload), payload)


def _read(text: bytes, decoder: msgspec.json.Decoder[_T], what: str) -> _T:
    if len(text) > SIGNATURE_BYTES_MAX:
        raise SignatureRefused(f"{what} has {len(text)} bytes; {SIGNATURE_BYTES_MAX} are read")
    try:
        return decoder.decode(text)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise SignatureRefused(
            f"{what} is not one of OpenSSF Model Signing that can be checked here: {error}"
        ) from None


def _bytes(text: str, what: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except ValueError:
        raise SignatureRefused(f"the {what} is not base64") from None


def _text(content: bytes) -> str:
    return base64.b64encode(content).decode()
