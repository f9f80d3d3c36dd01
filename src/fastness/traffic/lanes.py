"""Replicas as a queue sees them, and the plainest way to choose one."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass


@dataclass(slots=True)
class Lane:
    """One replica as the queue sees it: `capacity` counts its slots and the few that may wait inside the engine.

    `unread` counts the tokens of the prompts that it was sent and has not read yet, as they are estimated.
    """

    replica: str
    capacity: int
    in_flight: int = 0
    open: bool = True
    unread: int = 0


def least_loaded(_: Hashable, lanes: Sequence[Lane]) -> Lane:
    """Choose the lane with the smallest part of its capacity in use; of equals the first."""
    best = lanes[0]
    for lane in lanes:
        if lane.in_flight * best.capacity < best.in_flight * lane.capacity:
            best = lane
    return best
