"""Files that survive a crash whole: written under another name, and given their own when they are on the disk."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Final

PARTIAL_SUFFIX: Final = ".partial"
"""What is being made is called so. Whoever was killed leaves it behind, and the next one removes it."""


def replace_file(file: Path, content: bytes) -> None:
    """Replace a small file, durably: a reader sees the old one or the new one. Raises OSError."""
    descriptor, draft = tempfile.mkstemp(PARTIAL_SUFFIX, dir=file.parent)
    with os.fdopen(descriptor, "wb") as opened:
        opened.write(content)
        opened.flush()
        os.fsync(descriptor)
    Path(draft).rename(file)
    sync_directory(file.parent)


def sync_directory(folder: Path) -> None:
    """Make the names in a directory durable."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
