"""How urgent a request is, and how long it would wait: two headers of ours, and OpenAI's `service_tier`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from fastness.core.error import Refusal
from fastness.core.priority import BAND_NAMES, HEADER, TIMEOUT_HEADER, Band
from fastness.gateway.wire.reading import unsupported

TIERS: Final = ("priority", "default", "flex")
"""OpenAI's name of each band, by its value; answers say it."""
_BANDS: Final = {name: Band(at) for at, name in enumerate(BAND_NAMES)}
_OF_TIER: Final = {tier: Band(at) for at, tier in enumerate(TIERS)}
_SHOWN_CHARS: Final = 40
_DIGITS_MAX: Final = 9


def band_of_tier(tier: str | None) -> Band | None:
    """Read `service_tier`; None, `auto` and `default` ask for nothing else. Raises Refusal: unsupported_parameter."""
    if tier is None or tier in ("auto", "default"):
        return None
    if (band := _OF_TIER.get(tier)) is None:
        raise unsupported("service_tier", f"send auto, {', '.join(TIERS)}, not {tier[:_SHOWN_CHARS]!r}.")
    return band


def band_of(headers: Mapping[str, str], said: Band | None) -> Band:
    """Return the band of a request: what its header says, or else its body. Raises Refusal: invalid_value."""
    name = headers.get(HEADER)
    if name is None:
        return Band.STANDARD if said is None else said
    if (band := _BANDS.get(name.lower())) is None:
        message = f"Fastness-Priority is {name[:_SHOWN_CHARS]!r}; it may be {', '.join(BAND_NAMES)}."
        raise Refusal("invalid_value", message, param="Fastness-Priority")
    return band


def wait_of(headers: Mapping[str, str], limit_s: float) -> float | None:
    """Return how long a request would wait for a slot, in seconds; None when it says nothing, or more than `limit_s`.

    Raises Refusal: invalid_value.
    """
    text = headers.get(TIMEOUT_HEADER)
    if text is None:
        return None
    if not (text.isascii() and text.isdecimal() and len(text) <= _DIGITS_MAX):
        message = (
            f"Fastness-Timeout-Ms is {text[:_SHOWN_CHARS]!r}; it needs to be a whole number of milliseconds, from 0. "
            f"Nobody waits longer than {limit_s:g} s here."
        )
        raise Refusal("invalid_value", message, param="Fastness-Timeout-Ms")
    wait_s = int(text) / 1_000
    return wait_s if wait_s < limit_s else None
