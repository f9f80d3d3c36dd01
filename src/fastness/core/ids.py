"""Identifiers: their shapes, made from randomness that is passed in."""

from __future__ import annotations

import re
from typing import Final

_BASE62: Final = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
NAME_PATTERN: Final = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
"""What tenants and deployments may be called: a DNS label."""


def base62(value: int, width: int) -> str:
    """Write a non-negative integer in base 62, padded to `width`; raises ValueError when it does not fit."""
    digits = []
    for _ in range(width):
        value, remainder = divmod(value, 62)
        digits.append(_BASE62[remainder])
    if value:
        raise ValueError(f"value needs more than {width} base-62 digits")
    return "".join(reversed(digits))


def is_name(text: str) -> bool:
    """Tell whether `text` may name a tenant or a deployment."""
    return NAME_PATTERN.fullmatch(text) is not None
