"""Keys at rest: one for each tenant, derived from the installation's secret; one for each file, kept under it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

KEY_BYTES: Final = 32
NONCE_BYTES: Final = 12
_PURPOSE: Final = b"fastness.batches/1 tenant key\0"


class Damaged(Exception):  # noqa: N818 - a state of the disk
    """Something sealed is not what was written: cut, changed, moved, or sealed by another installation."""


class Vault:
    """Seals small things under the key of their tenant. `secret` is the installation's, `entropy` is `os.urandom`."""

    def __init__(self, secret: bytes, entropy: Callable[[int], bytes]) -> None:
        self._secret = secret
        self._entropy = entropy
        self._keys: dict[str, AESGCM] = {}

    def new_key(self) -> bytes:
        """Make a key for the content of one file."""
        return self._entropy(KEY_BYTES)

    def new_name(self, prefix: str) -> str:
        """Make an id that nobody can guess."""
        return prefix + self._entropy(12).hex()

    def seal(self, tenant: str, name: str, plain: bytes) -> bytes:
        """Seal what is called `name`."""
        nonce = self._entropy(NONCE_BYTES)
        return nonce + self._of(tenant).encrypt(nonce, plain, name.encode())

    def open(self, tenant: str, name: str, sealed: bytes) -> bytes:
        """Open what `seal` made; raises Damaged for another tenant, another name, another secret, or any change."""
        try:
            return self._of(tenant).decrypt(sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], name.encode())
        except (InvalidTag, ValueError):
            raise Damaged(f"the record {name} cannot be opened") from None

    def _of(self, tenant: str) -> AESGCM:
        key = self._keys.get(tenant)
        if key is None:
            info = _PURPOSE + tenant.encode()
            key = self._keys[tenant] = AESGCM(HKDF(SHA256(), KEY_BYTES, salt=None, info=info).derive(self._secret))
        return key
