"""The keys of tenants in files: `secrets/tenants/<tenant>.key`, 32 random bytes each, for nobody but their owner."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from fastness.sealed.box import KEY_BYTES, Damaged, seal, unseal


class KeyFiles:
    """`TenantKeys` in a directory."""

    def __init__(self, directory: Path, entropy: Callable[[int], bytes] = os.urandom) -> None:
        self._directory = directory
        self._entropy = entropy

    def seal(self, tenant: str, name: str, plain: bytes) -> bytes:
        """See TenantKeys."""
        return seal(self._key(tenant, make=True), name.encode(), plain, self._entropy)

    def open(self, tenant: str, name: str, sealed: bytes) -> bytes:
        """See TenantKeys."""
        return unseal(self._key(tenant, make=False), name.encode(), sealed)

    def destroy(self, tenant: str) -> bool:
        """See TenantKeys."""
        return destroy_file(self._path(tenant))

    def _path(self, tenant: str) -> Path:
        return self._directory / f"{tenant}.key"

    def _key(self, tenant: str, *, make: bool) -> AESGCM:
        path = self._path(tenant)
        if make and not path.exists():
            self._directory.mkdir(parents=True, exist_ok=True, mode=0o700)
            with suppress(FileExistsError):
                write_secret(path, self._entropy(KEY_BYTES))
        try:
            return AESGCM(path.read_bytes())
        except FileNotFoundError:
            raise Damaged(f"tenant {tenant} has no key any more") from None
        except ValueError:
            raise Damaged(f"{path} does not hold a key") from None


def write_secret(path: Path, content: bytes) -> None:
    """Write a small file once, durably, for nobody but its owner; raises FileExistsError, OSError."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        os.write(descriptor, content)
        os.fsync(descriptor)
        os.link(draft, path)
    finally:
        os.close(descriptor)
        draft.unlink()
    _sync_directory(path.parent)


def destroy_file(path: Path) -> bool:
    """Overwrite a small file and remove it, durably; False when it was not there. Raises OSError."""
    try:
        with path.open("r+b", buffering=0) as file:
            file.write(bytes(path.stat().st_size))
            os.fsync(file.fileno())
        path.unlink()
    except FileNotFoundError:
        return False
    _sync_directory(path.parent)
    return True


def _sync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
