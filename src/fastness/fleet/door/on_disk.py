"""A model on its way here, as a file."""

from __future__ import annotations

import hashlib
import os
from contextlib import suppress
from pathlib import Path
from typing import Final

CHUNK_BYTES: Final = 1_048_576
SUFFIX: Final = ".fetched"
"""What has come of a model is called so, beside the models."""
KEPT_S: Final = 7 * 86_400
"""For so long what was begun is kept when nobody goes on with it."""


def write_at(descriptor: int, content: bytes, offset: int) -> None:
    """Write all of `content` from `offset` on; raises OSError."""
    view = memoryview(content)
    while view:
        written = os.pwrite(descriptor, view, offset)
        view, offset = view[written:], offset + written


def digest_of(path: Path) -> str:
    """Return the SHA-256 of a file, in hex; raises OSError."""
    digest, buffer = hashlib.sha256(), memoryview(bytearray(CHUNK_BYTES))
    with path.open("rb", buffering=0) as opened:
        while size_bytes := opened.readinto(buffer):
            digest.update(buffer[:size_bytes])
    return digest.hexdigest()


def give_name(partial: Path, target: Path) -> None:
    """Give a file that is whole and right its name, durably, and let nobody write to it any more; raises OSError."""
    partial.chmod(0o444)
    partial.rename(target)
    descriptor = os.open(target.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def remove_left_overs(folder: Path, now_s: float) -> None:
    """Remove what was begun and not gone on with for a week; raises nothing."""
    with suppress(OSError):
        for path in folder.glob(f"*{SUFFIX}"):
            if now_s - path.stat().st_mtime > KEPT_S:
                path.unlink(missing_ok=True)
