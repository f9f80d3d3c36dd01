"""What a response's head says of limits, under OpenAI's names and in its form of durations."""

from __future__ import annotations

from collections.abc import Sequence

from fastness.traffic.meter import Meter


def tightest(meters: Sequence[Meter], *, tokens: bool, windowed: bool = True) -> Meter | None:
    """Return the limit on requests, or on tokens, of which least is left; None when there is none."""
    found = [one for one in meters if one.counts_tokens is tokens and bool(one.metric.period_s) is windowed]
    return min(found, key=lambda one: one.left) if found else None


def head_lines(meters: Sequence[Meter], now_s: float) -> bytes:
    """Write the lines of a response's head that tell the tightest limits, under OpenAI's names."""
    lines = b""
    for name, tokens in ((b"requests", False), (b"tokens", True)):
        if meter := tightest(meters, tokens=tokens):
            lines += (
                b"x-ratelimit-limit-%b: %d\r\nx-ratelimit-remaining-%b: %d\r\nx-ratelimit-reset-%b: %b\r\n"
                % (name, meter.bound, name, meter.left, name, duration(meter.resets_s(now_s)).encode())
            )  # fmt: skip
    return lines


def duration(seconds: float) -> str:
    """Write a time as OpenAI's headers do: `6m0s`, `1s`, `20ms`; rounded up, so that nobody comes too early."""
    milliseconds = -int(-seconds * 1_000 // 1)
    if milliseconds < 1_000:
        return f"{max(0, milliseconds)}ms"
    minutes, rest = divmod(-(-milliseconds // 1_000), 60)
    hours, minutes = divmod(minutes, 60)
    return (f"{hours}h" if hours else "") + (f"{minutes}m" if hours or minutes else "") + f"{rest}s"
