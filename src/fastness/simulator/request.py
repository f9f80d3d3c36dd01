"""A request in the simulation: what is asked, and what became of it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from fastness.core.marking import Label
from fastness.core.priority import Band
from fastness.simulator.engine import Run
from fastness.traffic.counters import Ask
from fastness.traffic.replica_choice import Reading


class End(StrEnum):
    """How a request ended. Each ends once, by one of these."""

    ANSWER = "answer"
    REFUSED = "refused"
    EXPIRED = "expired"
    CANCELLED = "cancelled"
    ERROR = "error"
    LOST = "lost"
    """Its gateway died; its client sees the connection close."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What a client asks for, and when. `head_tokens` of its input are those that its tenant always begins with.

    It waits `patience_s` for a slot at most, and leaves after `leaves_s` (0: it stays).
    """

    at_s: float
    deployment: str
    tenant: str
    input_tokens: int
    output_tokens: int
    head_tokens: int = 0
    band: Band = Band.INTERACTIVE
    weight: float = 1.0
    label: Label = Label("OFFICIAL")  # noqa: RUF009 - a frozen value
    patience_s: float = 60.0
    leaves_s: float = 0.0


@dataclass(eq=False, slots=True)
class Request:
    """A request under way. `sent` is how many output tokens its client has; `digest` is the model that made them."""

    number: int
    asked: Asked
    gateway: str
    ask: Ask | None = None
    replica: str = ""
    epoch: int = 0
    run: Run | None = None
    reading: Reading | None = None
    began_s: float = 0.0
    sent: int = 0
    digest: str = ""
    on_digest: str = ""
    revision: int = 0
    tries: int = 0
    resumed: int = 0
    cut_s: float = -1.0
    pause_s: float = 0.0
    first_s: float = -1.0
    end: End | None = None
    ended_s: float = -1.0
    ends: int = 0

    @property
    def ttft_s(self) -> float:
        """Seconds until its first token; below 0: none came."""
        return self.first_s - self.asked.at_s if self.first_s >= 0.0 else -1.0
