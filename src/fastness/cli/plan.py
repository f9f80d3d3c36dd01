"""`fastness plan`: what would happen, and what would be needed, before anything does."""

from __future__ import annotations

from collections.abc import Callable

from fastness.cli import plan_capacity

ACTS: dict[str, tuple[Callable[..., None], str]] = {
    "capacity": (plan_capacity.capacity, plan_capacity.EXAMPLES),
}
