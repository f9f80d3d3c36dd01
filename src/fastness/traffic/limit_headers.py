"""What a response's head says of limits, under OpenAI's names and in its form of durations."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Final

from fastness.traffic.meter import Meter

DURATIONS_MAX: Final = 4_096
"""Durations of whole seconds that are remembered as they are written."""
_LINES: Final = tuple(
    b"x-ratelimit-limit-%b: %%d\r\nx-ratelimit-remaining-%b: %%d\r\nx-ratelimit-reset-%b: %%b\r\n" % (name, name, name)
    for name in (b"requests", b"tokens")
)


def head_lines(meters: Sequence[Meter], now_s: float) -> bytes:
    """Write the lines that tell the limits of which least is left: one on requests, one on tokens; empty for none."""
    requests: Meter | None = None
    tokens: Meter | None = None
    requests_left = tokens_left = 0
    for meter in meters:
        if now_s >= meter.until_s:
            meter.roll(now_s)
        if meter.period_s:
            left = meter.bound - meter.others - meter.taken
            if meter.counts_tokens:
                if tokens is None or left < tokens_left:
                    tokens, tokens_left = meter, left
            elif requests is None or left < requests_left:
                requests, requests_left = meter, left
    lines = b""
    if requests is not None:
        lines = _LINES[0] % (requests.bound, max(0, requests_left), duration(requests.until_s - now_s))
    if tokens is not None:
        lines += _LINES[1] % (tokens.bound, max(0, tokens_left), duration(tokens.until_s - now_s))
    return lines


def duration(seconds: float) -> bytes:
    """Write a time as OpenAI's headers do: `6m0s`, `1s`, `20ms`; rounded up, so that nobody comes too early."""
    milliseconds = -int(-seconds * 1_000 // 1)
    if milliseconds < 1_000:
        return b"%dms" % max(0, milliseconds)
    return _whole(-(-milliseconds // 1_000))


@lru_cache(DURATIONS_MAX)
def _whole(seconds: int) -> bytes:
    minutes, rest = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    written = (f"{hours}h" if hours else "") + (f"{minutes}m" if hours or minutes else "") + f"{rest}s"
    return written.encode()
