"""A file for one reader: sealed to an X25519 public key, opened with its private half.

file = magic | ephemeral public key 32 | nonce 12 | ciphertext with its 16 bytes of authentication
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.serialization import load_pem_private_key, load_pem_public_key

from fastness.sealed.box import KEY_BYTES, Damaged, derived, seal, unseal

MAGIC: Final = b"fastness-addressed/1\n"
_PURPOSE: Final = b"fastness.sealed/1 addressed\0"


class NotAReader(ValueError):  # noqa: N818 - what a file is not
    """What was given is no X25519 key in PEM."""


def address(content: bytes, reader: X25519PublicKey, entropy: Callable[[int], bytes]) -> bytes:
    """Seal content for a reader."""
    ephemeral = X25519PrivateKey.generate()
    public = ephemeral.public_key().public_bytes_raw()
    key = AESGCM(derived(ephemeral.exchange(reader), _PURPOSE + public + reader.public_bytes_raw()))
    return MAGIC + public + seal(key, MAGIC, content, entropy)


def read_addressed(content: bytes, reader: X25519PrivateKey) -> bytes:
    """Open what `address` made; raises Damaged for another reader or any change."""
    body = content.removeprefix(MAGIC)
    if len(body) == len(content) or len(body) < KEY_BYTES:
        raise Damaged("it is no file that was sealed for a reader")
    public = body[:KEY_BYTES]
    shared = reader.exchange(X25519PublicKey.from_public_bytes(public))
    key = AESGCM(derived(shared, _PURPOSE + public + reader.public_key().public_bytes_raw()))
    return unseal(key, MAGIC, body[KEY_BYTES:])


def read_reader(pem: bytes) -> X25519PublicKey:
    """Read a reader's public key; raises NotAReader."""
    try:
        key = load_pem_public_key(pem)
    except (ValueError, UnsupportedAlgorithm):
        raise NotAReader("it is no public key in PEM") from None
    if not isinstance(key, X25519PublicKey):
        raise NotAReader("it is another kind of key than X25519: openssl genpkey -algorithm x25519 makes one")
    return key


def read_own(pem: bytes) -> X25519PrivateKey:
    """Read a reader's private key; raises NotAReader."""
    try:
        key = load_pem_private_key(pem, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise NotAReader("it is no private key in PEM, without a password") from None
    if not isinstance(key, X25519PrivateKey):
        raise NotAReader("it is another kind of key than X25519")
    return key
