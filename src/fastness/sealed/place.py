"""Where the sealed content of one request is, as its ledger entry says it: `<key of the day>/<segment>@<byte>`."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final, NamedTuple

SUFFIX: Final = ".seg"
_PLACE: Final = re.compile(r"([0-9]{5}-[0-9]+-[0-9a-f]+)/([a-z0-9-]+)@([0-9]{1,18})")


class Place(NamedTuple):
    """The id of the day's key, the segment's file below it without suffix, and where the frame begins, in bytes."""

    key: str
    segment: str
    at: int


def place_of(path: Path, at: int) -> str:
    """Say where the frame is that begins at byte `at` of the segment at `path`."""
    return f"{path.parent.name}/{path.stem}@{at}"


def parse_place(text: str) -> Place | None:
    """Read what `place_of` said; None for anything else."""
    match = _PLACE.fullmatch(text)
    return Place(match[1], match[2], int(match[3])) if match else None
