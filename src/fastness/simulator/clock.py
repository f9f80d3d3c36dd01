"""The world's clock: seconds since the simulation began, and what clocks show then."""

from __future__ import annotations

from typing import Final

ORIGIN_MS: Final = 1_800_000_000_000
"""What clocks show when the simulation begins: milliseconds since 1970."""


def clock_ms(now_s: float) -> int:
    """What clocks show `now_s` after the beginning."""
    return ORIGIN_MS + int(now_s * 1_000)
