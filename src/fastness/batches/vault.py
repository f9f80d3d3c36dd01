"""Keys at rest: one for each tenant, derived from the installation's secret; one for each file, kept under it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from fastness.sealed.box import KEY_BYTES, Damaged, derived, seal, unseal

_PURPOSE: Final = b"fastness.batches/1 tenant key\0"


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
        return seal(self._of(tenant), name.encode(), plain, self._entropy)

    def open(self, tenant: str, name: str, sealed: bytes) -> bytes:
        """Open what `seal` made; raises Damaged for another tenant, another name, another secret, or any change."""
        try:
            return unseal(self._of(tenant), name.encode(), sealed)
        except Damaged:
            raise Damaged(f"the record {name} cannot be opened") from None

    def _of(self, tenant: str) -> AESGCM:
        key = self._keys.get(tenant)
        if key is None:
            key = self._keys[tenant] = AESGCM(derived(self._secret, _PURPOSE + tenant.encode()))
        return key
