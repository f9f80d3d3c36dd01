"""ZIP files that are the same, byte for byte, for the same members: what is signed or compared must be."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping
from typing import Final

_WHEN: Final = (1980, 1, 1, 0, 0, 0)
_MODE: Final = 0o100644 << 16


def written(members: Mapping[str, bytes]) -> bytes:
    """Return the file: members by name, sorted, stored, all of the same time and mode."""
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_STORED) as archive:
        for name in sorted(members):
            entry = zipfile.ZipInfo(name, _WHEN)
            entry.create_system, entry.external_attr = 3, _MODE
            archive.writestr(entry, members[name])
    return made.getvalue()
