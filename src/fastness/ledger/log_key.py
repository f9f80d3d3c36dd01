"""The key that the installation signs its logs with: made at its first use, kept to its owner.

Each log has keys of its own, which follow from the installation's and the log's name. A log that was begun when one key
signed all of them goes on with that: whoever knows its key need learn no other. The file holds a line for each kind of
key, its name and 32 bytes in base64 that it is made from.
"""

from __future__ import annotations

import hashlib
import os
import stat
from base64 import b64encode
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from fastness.ledger.checkpoint import decode_hash
from fastness.ledger.durable import create_once
from fastness.ledger.note import SignatureType
from fastness.ledger.signing import SEED_BYTES, SigningKey, has_ml_dsa, signing_key

KEY_NAME: Final = "ledger.key"
_OWN: Final = b"fastness key of one log v1\n"
_KINDS: Final = {"ed25519": SignatureType.ED25519, "ml-dsa-44": SignatureType.ML_DSA_44}


class LogKeyUnusable(Exception):  # noqa: N818 - a state of a file
    """The message says which file, what was needed and what it is."""


@dataclass(frozen=True, slots=True)
class LogKey:
    """The seeds of the keys, 32 bytes each."""

    ed25519: bytes
    ml_dsa: bytes

    def signers(self, origin: str) -> tuple[SigningKey, ...]:
        """Return what signs the log of this name and no other: Ed25519, and ML-DSA-44 where it can be had."""
        own = (
            HKDF(SHA256(), SEED_BYTES, salt=None, info=_OWN + origin.encode()).derive(seed)
            for seed in (self.ed25519, self.ml_dsa)
        )
        return LogKey(*own).shared_signers(origin)

    def shared_signers(self, origin: str) -> tuple[SigningKey, ...]:
        """Return what signs the log of this name, if it was begun when one key signed them all."""
        seeds = {SignatureType.ED25519: self.ed25519, SignatureType.ML_DSA_44: self.ml_dsa}
        return tuple(
            signing_key(origin, kind, seed)
            for kind, seed in seeds.items()
            if kind is not SignatureType.ML_DSA_44 or has_ml_dsa()
        )

    @property
    def installation(self) -> str:
        """A name for an installation that was given none: no other one with another key has it."""
        public = signing_key("fastness", SignatureType.ED25519, self.ed25519).verifier.public
        return f"fastness-{hashlib.sha256(public).hexdigest()[:16]}"


def load_or_create_key(path: Path, entropy: Callable[[int], bytes] = os.urandom) -> LogKey:
    """Return the key in `path`, made at first use. Several processes may call this at once; all get the same.

    Raises LogKeyUnusable, OSError.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    if not path.exists():
        lines = (f"{name} {b64encode(entropy(SEED_BYTES)).decode()}\n" for name in _KINDS)
        create_once(path, "".join(lines).encode())
    mode = path.lstat().st_mode
    if not stat.S_ISREG(mode) or mode & 0o077:
        raise LogKeyUnusable(f"{path} needs to be a file that nobody else may read; it has mode {mode:o}: chmod 600 it")
    with path.open("rb") as file:
        content = file.read(1_024)
    try:
        pairs = dict(line.split(" ") for line in content.decode("ascii").splitlines())
        seeds = {name: decode_hash(text) for name, text in pairs.items()}
        return LogKey(seeds["ed25519"], seeds["ml-dsa-44"])
    except (ValueError, KeyError):
        raise LogKeyUnusable(
            f"{path} needs a line for each of {', '.join(_KINDS)} with 32 bytes in base64. Restore it from a backup: "
            "with another key, nobody who knows this one believes what is signed"
        ) from None
