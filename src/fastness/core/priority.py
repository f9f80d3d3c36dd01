"""How urgent a request is, in its caller's own words."""

from __future__ import annotations

from enum import IntEnum
from typing import Final

HEADER: Final = "fastness-priority"
TIMEOUT_HEADER: Final = "fastness-timeout-ms"


class Band(IntEnum):
    """A band orders the requests of one tenant; BATCH of any tenant takes only what nobody more urgent can use."""

    INTERACTIVE = 0
    STANDARD = 1
    BATCH = 2


BAND_NAMES: Final = tuple(band.name.lower() for band in Band)
"""By the value of the band, as headers, metrics, log and ledger have them."""
