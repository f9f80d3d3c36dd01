"""Whether a replica may be sent anything: a circuit for each start of its engine. Pure.

Closed, it is sent what there is. It opens after several failures in a row, after many among its latest runs, or at once
when nothing listens on its socket; then it is sent nothing. When that time is over it is half open: one run at a time
tries it. A success closes it; a failure opens it again, for twice as long, up to a bound.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

RUNS_SEEN: Final = 20
"""How many of the latest runs are remembered."""
FAILED_RUNS_MAX: Final = 10
"""So many failures among them open the circuit, in a row or not."""
DOUBLINGS_MAX: Final = 32


class CircuitState(StrEnum):
    """A closed set: it is a label of a metric."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


@dataclass(frozen=True, slots=True)
class CircuitBounds:
    """`failures_max` in a row open it, for `open_s` seconds first and `open_max_s` at most."""

    failures_max: int = 3
    open_s: float = 1.0
    open_max_s: float = 30.0


@dataclass(slots=True)
class Circuit:
    """The circuit of one start of one engine. `recent` has a bit for each of the latest runs, 1 for a failure."""

    bounds: CircuitBounds
    in_a_row: int = 0
    recent: int = 0
    openings: int = 0
    open_until_s: float | None = None

    def state(self, now_s: float) -> CircuitState:
        """Return what it is at `now_s`."""
        if self.open_until_s is None:
            return CircuitState.CLOSED
        return CircuitState.OPEN if now_s < self.open_until_s else CircuitState.HALF_OPEN

    @property
    def spotless(self) -> bool:
        """Whether nothing is held against it: it can as well be forgotten."""
        return self.open_until_s is None and not self.recent

    def succeeded(self, now_s: float) -> None:
        """Count a run that came to its end. While it is open that was an older run, and tells nothing new."""
        state = self.state(now_s)
        if state is CircuitState.OPEN:
            return
        self.in_a_row = 0
        if state is CircuitState.HALF_OPEN:
            self.recent, self.openings, self.open_until_s = 0, 0, None
        else:
            self.recent = self.recent << 1 & (1 << RUNS_SEEN) - 1

    def failed(self, now_s: float, *, gone: bool = False) -> None:
        """Count a run that failed; `gone`: nothing listens any more. Many that fail together open it once."""
        state = self.state(now_s)
        if state is CircuitState.OPEN:
            return
        self.in_a_row += 1
        self.recent = (self.recent << 1 | 1) & (1 << RUNS_SEEN) - 1
        too_many = self.in_a_row >= self.bounds.failures_max or self.recent.bit_count() >= FAILED_RUNS_MAX
        if gone or too_many or state is CircuitState.HALF_OPEN:
            self.openings += 1
            wait_s = self.bounds.open_s * 2.0 ** min(self.openings - 1, DOUBLINGS_MAX)
            self.open_until_s = now_s + min(wait_s, self.bounds.open_max_s)
            self.in_a_row = 0


@dataclass(slots=True)
class Circuits:
    """The circuits of one model's replicas, each of the start of an engine that failed last: epoch and circuit."""

    bounds: CircuitBounds
    _of: dict[str, tuple[int, Circuit]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self._of)

    def failed(self, replica: str, epoch: int, now_s: float, *, gone: bool = False) -> CircuitState:
        """Count a failed run, unless it was of an earlier start; return what the circuit is now."""
        known, circuit = self._of.get(replica, (epoch, None))
        if known > epoch:
            return self.state(replica, known, now_s)
        if circuit is None or known != epoch:
            circuit = Circuit(self.bounds)
            self._of[replica] = epoch, circuit
        circuit.failed(now_s, gone=gone)
        return circuit.state(now_s)

    def succeeded(self, replica: str, epoch: int, now_s: float) -> None:
        """Count a run that came to its end."""
        known, circuit = self._of.get(replica, (epoch, None))
        if circuit is not None and known == epoch:
            circuit.succeeded(now_s)

    def state(self, replica: str, epoch: int, now_s: float) -> CircuitState:
        """Return the state of the circuit of this start of a replica's engine."""
        known, circuit = self._of.get(replica, (epoch, None))
        return CircuitState.CLOSED if circuit is None or known != epoch else circuit.state(now_s)

    def keep(self, epochs: Mapping[str, int]) -> None:
        """Forget circuits of replicas and starts that are no more, and those that nothing is held against."""
        for replica, (epoch, circuit) in list(self._of.items()):
            if circuit.spotless or epochs.get(replica) != epoch:
                del self._of[replica]
