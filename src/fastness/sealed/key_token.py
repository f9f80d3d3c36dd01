"""The keys of tenants in a token, by PKCS#11: they are made there, never leave it, and are destroyed there.

The one file that imports pkcs11, which the extra `pkcs11` installs. A key is an AES-256 key object with the label
`fastness/<tenant>`, sensitive and not extractable; it seals with CKM_AES_GCM.
"""

from __future__ import annotations

import os
import stat
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from fastness.sealed.box import NONCE_BYTES, TAG_BYTES, Damaged
from fastness.sealed.port import SealedUnavailable

if TYPE_CHECKING:
    from pkcs11 import GCMParams, Session, Token

EXTRA: Final = "fastness[pkcs11]"
_BITS: Final = 256


class TokenKeys:
    """`TenantKeys` in the token with that label, by the module at `module`; the PIN is in a file of its own."""

    def __init__(self, module: Path, token: str, pin_file: Path, entropy: Callable[[int], bytes] = os.urandom) -> None:
        self._module, self._label, self._pin_file = module, token, pin_file
        self._entropy = entropy
        self._one_at_a_time = threading.Lock()
        self._token: Token | None = None

    def seal(self, tenant: str, name: str, plain: bytes) -> bytes:
        """See TenantKeys."""
        from pkcs11 import Mechanism

        nonce = self._entropy(NONCE_BYTES)
        with self._session() as session:
            key = _key(session, tenant) or _make(session, tenant)
            sealed: bytes = key.encrypt(plain, mechanism=Mechanism.AES_GCM, mechanism_param=_bound(nonce, name))
            return nonce + sealed

    def open(self, tenant: str, name: str, sealed: bytes) -> bytes:
        """See TenantKeys."""
        from pkcs11 import Mechanism
        from pkcs11.exceptions import PKCS11Error

        nonce, ciphertext = sealed[:NONCE_BYTES], sealed[NONCE_BYTES:]
        with self._session() as session:
            key = _key(session, tenant)
            if key is None:
                raise Damaged(f"tenant {tenant} has no key any more")
            try:
                bound = _bound(nonce, name)
                plain: bytes = key.decrypt(ciphertext, mechanism=Mechanism.AES_GCM, mechanism_param=bound)
            except PKCS11Error:
                raise Damaged("it is not what was sealed under this key and this name") from None
            return plain

    def destroy(self, tenant: str) -> bool:
        """See TenantKeys."""
        with self._session() as session:
            key = _key(session, tenant)
            if key is None:
                return False
            key.destroy()
            return True

    @contextmanager
    def _session(self) -> Iterator[Session]:
        from pkcs11.exceptions import PKCS11Error

        with self._one_at_a_time:
            try:
                with self._opened().open(rw=True, user_pin=self._pin()) as session:
                    yield session
            except PKCS11Error as error:
                self._token = None
                said = str(error) or type(error).__name__
                raise SealedUnavailable(f"the token {self._label} cannot be used: {said}") from None

    def _opened(self) -> Token:
        if self._token is None:
            import pkcs11

            try:
                self._token = pkcs11.lib(str(self._module)).get_token(token_label=self._label)
            except RuntimeError as error:  # its own errors are such, too
                said = str(error) or type(error).__name__
                raise SealedUnavailable(f"there is no token {self._label} by {self._module}: {said}") from None
        return self._token

    def _pin(self) -> str:
        mode = self._pin_file.stat().st_mode
        if stat.S_IMODE(mode) & 0o077:
            raise SealedUnavailable(
                f"{self._pin_file} may be read by others (mode {stat.S_IMODE(mode):o}): chmod 600 it"
            )
        return self._pin_file.read_text("utf-8").strip()


def token_keys(module: str, token: str, pin_file: str) -> TokenKeys:
    """Return the keys in a token, as configured; raises SealedUnavailable for what cannot be."""
    if not (module and token and pin_file):
        raise SealedUnavailable(
            "retention.keys is pkcs11, which needs retention.pkcs11_module, pkcs11_token and pkcs11_pin_file"
        )
    try:
        import pkcs11  # noqa: F401 - whether it is there
    except ImportError:
        raise SealedUnavailable(f"retention.keys is pkcs11, which needs the extra: pip install '{EXTRA}'") from None
    return TokenKeys(Path(module), token, Path(pin_file))


def _key(session: Session, tenant: str) -> Any:
    from pkcs11 import KeyType, ObjectClass
    from pkcs11.exceptions import NoSuchKey

    try:
        return session.get_key(ObjectClass.SECRET_KEY, KeyType.AES, f"fastness/{tenant}")
    except NoSuchKey:
        return None


def _make(session: Session, tenant: str) -> Any:
    from pkcs11 import Attribute, KeyType

    secret = {Attribute.SENSITIVE: True, Attribute.EXTRACTABLE: False}
    return session.generate_key(KeyType.AES, _BITS, label=f"fastness/{tenant}", store=True, template=secret)


def _bound(nonce: bytes, name: str) -> GCMParams:
    from pkcs11 import GCMParams

    return GCMParams(nonce, aad=name.encode(), tag_bits=8 * TAG_BYTES)
