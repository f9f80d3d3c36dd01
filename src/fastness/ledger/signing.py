"""Signatures below notes: Ed25519, and ML-DSA-44 beside it where `cryptography` has it. Core and `cryptography` only.

What is signed depends on the type of the key: the text itself, or for a cosignature a message that holds the time too
(C2SP tlog-cosignature, https://c2sp.org/tlog-cosignature).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final, Protocol

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from fastness.ledger.checkpoint import parse_checkpoint
from fastness.ledger.note import Note, NoteInvalid, Signature, SignatureType, VerifierKey, is_key_name

mldsa: Any
try:  # since 47, and only with an OpenSSL that has it
    from cryptography.hazmat.primitives.asymmetric import mldsa
except ImportError:
    mldsa = None

SEED_BYTES: Final = 32
"""A private key, of either kind, is kept as so many bytes."""
TIME_BYTES: Final = 8
TIME_MAX_S: Final = 2**63 - 1


class _Private(Protocol):
    def sign(self, data: bytes, /) -> bytes: ...


@dataclass(frozen=True, slots=True)
class SigningKey:
    """A private key that signs under a name. Made by `signing_key`."""

    verifier: VerifierKey
    private: _Private

    def sign(self, text: str, time_s: int = 0) -> Signature:
        """Sign a note's text; a cosignature says that it is so at `time_s` (seconds since 1970).

        Raises ValueError for a cosignature of what is no checkpoint.
        """
        key = self.verifier
        timed = b"" if key.type is SignatureType.ED25519 else time_s.to_bytes(TIME_BYTES, "big")
        return Signature(key.name, key.id, timed + self.private.sign(_message(key, text, time_s)))


@dataclass(frozen=True, slots=True)
class Signed:
    """A signature that was checked: by which key, and when its signer says that was (None if it does not say)."""

    key: VerifierKey
    time_s: int | None


def signing_key(name: str, kind: SignatureType, seed: bytes) -> SigningKey:
    """Return the key that 32 bytes are the seed of; raises NoteInvalid for a name that no key may have.

    Raises UnsupportedAlgorithm for ML-DSA-44 where `has_ml_dsa` is false, and ValueError for another length.
    """
    if not is_key_name(name):
        raise NoteInvalid(f"{name!r} cannot be the name of a key: it may hold no white space and no plus sign")
    if kind is SignatureType.ML_DSA_44:
        if not has_ml_dsa():
            raise UnsupportedAlgorithm("this build of cryptography has no ML-DSA-44")
        made = mldsa.MLDSA44PrivateKey.from_seed_bytes(seed)
        return SigningKey(VerifierKey(name, kind, made.public_key().public_bytes_raw()), made)
    private = Ed25519PrivateKey.from_private_bytes(seed)
    return SigningKey(VerifierKey(name, kind, private.public_key().public_bytes_raw()), private)


def has_ml_dsa() -> bool:
    """Tell whether ML-DSA-44 can be signed with and verified here."""
    try:
        return mldsa is not None and bool(mldsa.MLDSA44PrivateKey.from_seed_bytes(bytes(SEED_BYTES)))
    except UnsupportedAlgorithm:
        return False


def sign_note(text: str, keys: Iterable[SigningKey], time_s: int = 0) -> Note:
    """Return the note of this text, signed by these keys."""
    return Note(text, tuple(key.sign(text, time_s) for key in keys))


def verify_note(note: Note, keys: Iterable[VerifierKey]) -> list[Signed]:
    """Return the signatures of keys that are known, all of them being valid; raises NoteInvalid when one is not.

    Lines of unknown keys are passed over, so what comes back may be empty: whoever asks decides who must have signed.
    Keys of a type that this build cannot check raise NoteInvalid where they signed.
    """
    known = {(key.name, key.id): key for key in keys}
    named = ((line, known.get((line.name, line.key_id))) for line in note.signatures)
    return [_verify(note.text, line, key) for line, key in named if key]


def _verify(text: str, line: Signature, key: VerifierKey) -> Signed:
    time_s, signature = 0, line.content
    if key.type is not SignatureType.ED25519:
        time_s, signature = int.from_bytes(line.content[:TIME_BYTES], "big"), line.content[TIME_BYTES:]
    try:
        _public(key).verify(signature, _message(key, text, time_s))
    except (InvalidSignature, ValueError):
        raise NoteInvalid(f"the signature of {key.name} ({key.id.hex()}) is not valid") from None
    except UnsupportedAlgorithm:
        raise NoteInvalid(f"{key.name} signed with ML-DSA-44, which this build of cryptography does not have") from None
    return Signed(key, time_s or None)


def _public(key: VerifierKey) -> Any:
    if key.type is not SignatureType.ML_DSA_44:
        return Ed25519PublicKey.from_public_bytes(key.public)
    if mldsa is None:
        raise UnsupportedAlgorithm("this build of cryptography has no ML-DSA-44")
    return mldsa.MLDSA44PublicKey.from_public_bytes(key.public)


def _message(key: VerifierKey, text: str, time_s: int) -> bytes:
    """Return the bytes that are signed."""
    if key.type is SignatureType.ED25519:
        return text.encode()
    checkpoint = parse_checkpoint(text)
    if time_s > TIME_MAX_S:
        raise ValueError(f"a time of {time_s} seconds is beyond {TIME_MAX_S}")
    if key.type is SignatureType.COSIGNATURE:
        return f"cosignature/v1\ntime {time_s}\n{text}".encode()
    numbers = [number.to_bytes(8, "big") for number in (time_s, 0, checkpoint.size)]  # of the whole tree: from leaf 0
    name, origin = (bytes([len(word)]) + word for word in (key.name.encode(), checkpoint.origin.encode()))
    return b"subtree/v1\n\0" + name + numbers[0] + origin + numbers[1] + numbers[2] + checkpoint.root
