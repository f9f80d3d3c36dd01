"""The one way in which something is sealed: AES-256-GCM under a key, a random nonce in front, bound to a name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

KEY_BYTES: Final = 32
NONCE_BYTES: Final = 12
TAG_BYTES: Final = 16
OVERHEAD_BYTES: Final = NONCE_BYTES + TAG_BYTES


class Damaged(Exception):  # noqa: N818 - a state of the disk
    """Something sealed is not what was written: cut, changed, moved, or sealed by another installation."""


def seal(key: AESGCM, name: bytes, plain: bytes, entropy: Callable[[int], bytes]) -> bytes:
    """Seal what is called `name`; the name is not in it, and opens it."""
    nonce = entropy(NONCE_BYTES)
    return nonce + key.encrypt(nonce, plain, name)


def unseal(key: AESGCM, name: bytes, sealed: bytes) -> bytes:
    """Open what `seal` made; raises Damaged for another key, another name, or any change."""
    try:
        return key.decrypt(sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], name)
    except (InvalidTag, ValueError):
        raise Damaged("it is not what was sealed under this key and this name") from None


def derived(secret: bytes, purpose: bytes) -> bytes:
    """Derive the key for one purpose from a secret (HKDF-SHA-256)."""
    return HKDF(SHA256(), KEY_BYTES, salt=None, info=purpose).derive(secret)
