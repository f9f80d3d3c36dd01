"""What the two sides of an inspection say to each other: one line of JSON in, one document out."""

from __future__ import annotations

from typing import Final

import msgspec

from fastness.config import RegistrySettings
from fastness.registry.inspection.port import Inspected, Wish

REQUEST_BYTES_MAX: Final = 64 << 20
ANSWER_BYTES_MAX: Final = 64 << 20
EXIT_DEFECT: Final = 70
"""Exit status of a child that met what it should never meet; a line on its stderr says what."""
EXIT_MEMORY: Final = 71
"""Exit status of a child that could not even answer that its memory was used up."""


class Request(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What to inspect. `path` is absolute."""

    path: str
    wish: Wish
    settings: RegistrySettings


class Refused(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Why not."""

    rule: str
    message: str
    file: str


class Answer(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What came of it: one of the two."""

    inspected: Inspected | None = None
    refused: Refused | None = None
