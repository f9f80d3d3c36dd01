"""What can happen to a simulated engine, how long things take on its node, and how it behaves."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from fastness.core.observation import Assignment
from fastness.fleet.backoff import Backoff

FOREVER_S: Final = float("inf")


class Step(StrEnum):
    """A step in the life of an engine. From `BEGAN` to `GONE` its devices are in use."""

    BEGAN = "began"
    READY = "ready"
    HUNG = "hung"
    UNREADY = "unready"
    GONE = "gone"


class Cause(StrEnum):
    """Why an engine made that step."""

    ORDERS = "orders"
    CRASH = "crash"
    HANG = "hang"
    LATE = "late"
    LEASE = "lease"
    POWER = "power"


@dataclass(frozen=True, slots=True)
class Change:
    """One step of one engine, told in the moment it happens. `epoch` counts the starts of it."""

    at_s: float
    node: str
    assignment: Assignment
    epoch: int
    step: Step
    cause: Cause


@dataclass(frozen=True, slots=True)
class NodePace:
    """How long things take on a node, in seconds. `hang_found_s`: until an engine that answers nothing is ended.

    An engine that is not ready after `start_timeout_s` is ended. A node that hears nobody for `lease_s` ends all.
    """

    stop_s: float = 0.5
    hang_found_s: float = 10.0
    start_timeout_s: float = 120.0
    lease_s: float = 20.0
    backoff: Backoff = field(default_factory=lambda: Backoff(1.0, 30.0))


@dataclass(frozen=True, slots=True)
class Manner:
    """How engines behave: starting takes `slow` times as long; infinite: they are never ready.

    They die `lives_s` after they began.
    """

    slow: float = 1.0
    lives_s: float = FOREVER_S


SOUND: Final = Manner()
