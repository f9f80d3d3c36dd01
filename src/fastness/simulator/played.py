"""What a play is made of, and what became of it: who decides on replicas, jobs, and what was counted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import inf
from typing import NamedTuple, Protocol

from fastness.core.observation import DeploymentLoad
from fastness.simulator.slo import Slo
from fastness.traffic.fair_queue import Ask, Band


class Crew(Protocol):
    """Who decides how many replicas there are. Times in seconds from the beginning."""

    def tick(self, now_s: float, loads: Mapping[str, DeploymentLoad], in_flight: Mapping[str, int]) -> None:
        """Look at the load of each deployment, and at what runs on each replica; decide."""
        ...

    def ready(self, deployment: str) -> tuple[str, ...]:
        """The replicas that may be given requests now."""
        ...

    def held(self, deployment: str) -> int:
        """The devices that it holds: those of replicas that start or drain, too."""
        ...


@dataclass(eq=False, slots=True)
class Job:
    """One request, and what became of it. Times in seconds; `inf`: it did not come to that."""

    at_s: float
    input_tokens: int
    output_tokens: int
    tenant: str = "all"
    band: Band = Band.STANDARD
    ask: Ask | None = None
    given_s: float = inf
    first_s: float = inf
    ended_s: float = inf

    def attains(self, slo: Slo) -> bool:
        """Whether it was served as it should be."""
        wrote_s = self.ended_s - self.first_s
        return self.first_s - self.at_s <= slo.ttft_s and wrote_s <= slo.tpot_s * max(1, self.output_tokens - 1)


@dataclass(slots=True)
class Use:
    """How long a replica had interactive work, had batches alone, and was ready, in seconds."""

    interactive_s: float = 0.0
    batch_alone_s: float = 0.0
    ready_s: float = 0.0
    interactive: int = 0
    batch: int = 0
    looked_s: float = 0.0

    def look(self, now_s: float) -> None:
        """Let time pass."""
        passed = now_s - self.looked_s
        self.ready_s += passed
        if self.interactive:
            self.interactive_s += passed
        elif self.batch:
            self.batch_alone_s += passed
        self.looked_s = now_s


class Seen(NamedTuple):
    """One tick: when, in seconds; how many replicas are ready; how many devices are held."""

    at_s: float
    ready: int
    held: int


@dataclass(slots=True)
class Totals:
    """What a gateway would report: counts that only grow."""

    asked: int = 0
    answered: int = 0
    refused: int = 0
    output_tokens: int = 0
    ttft_ms_sum: int = 0
    held_s: float = 0.0
    seen: list[Seen] = field(default_factory=list)
