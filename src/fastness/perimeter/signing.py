"""The installation's own key: made at its first use, kept to its owner, its public half beside for whoever verifies."""

from __future__ import annotations

import hashlib
import os
from contextlib import suppress
from pathlib import Path
from typing import Final

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)

KEY_BYTES_MAX: Final = 16_384


class KeyUnusable(Exception):  # noqa: N818 - a state of a file
    """The message says which file, what was needed and what it is."""


def signing_key(home: Path) -> Ed25519PrivateKey:
    """Return the key in `home/secrets/signing.key`, made if there is none; its public half is in `home/signing.pub`.

    Raises KeyUnusable, OSError.
    """
    path = home / "secrets/signing.key"
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    if not path.exists():
        made = Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        _write_once(path, made)
    mode = path.stat().st_mode & 0o777
    if mode & 0o077:
        raise KeyUnusable(f"{path} may be read by others (mode {mode:o}), and whoever read it can sign: make a new one")
    try:
        key = load_pem_private_key(_read(path), password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise KeyUnusable(f"{path} is not a private key in PEM: {error}") from error
    if not isinstance(key, Ed25519PrivateKey):
        raise KeyUnusable(f"{path} needs an Ed25519 key; it has another kind")
    public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    shown = home / "signing.pub"
    if not shown.exists() or shown.read_bytes() != public:
        shown.write_bytes(public)
    return key


def read_public_key(path: Path) -> bytes:
    """Return the 32 bytes of an Ed25519 public key in PEM; raises KeyUnusable, OSError."""
    try:
        key = load_pem_public_key(_read(path))
    except (ValueError, UnsupportedAlgorithm) as error:
        raise KeyUnusable(f"{path} is not a public key in PEM, as an installation's signing.pub is: {error}") from error
    if not isinstance(key, Ed25519PublicKey):
        raise KeyUnusable(f"{path} needs an Ed25519 public key; it has another kind")
    return raw(key)


def raw(key: Ed25519PublicKey) -> bytes:
    """Return the 32 bytes of a public key."""
    return key.public_bytes(Encoding.Raw, PublicFormat.Raw)


def fingerprint(public: bytes) -> str:
    """Name a public key: SHA-256 of its 32 bytes."""
    return "sha256:" + hashlib.sha256(public).hexdigest()


def _read(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(KEY_BYTES_MAX)


def _write_once(path: Path, content: bytes) -> None:
    """Write a file that only its owner reads, whole or not at all; another process's is left as it is."""
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        os.write(descriptor, content)
        os.fsync(descriptor)
        with suppress(FileExistsError):
            os.link(beside, path)
    finally:
        os.close(descriptor)
        beside.unlink()
