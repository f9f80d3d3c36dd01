"""What witnesses have seen of the logs, as gateways read it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class WitnessedLog:
    """That enough witnesses cosigned a checkpoint of `log` with `size` entries, at `at_s` (seconds since 1970)."""

    log: str
    size: int
    at_s: float


@dataclass(frozen=True, slots=True)
class WitnessSnapshot:
    """The logs that enough witnesses have cosigned, each as it was the last time. `version` grows."""

    version: int
    logs: tuple[WitnessedLog, ...] = ()
