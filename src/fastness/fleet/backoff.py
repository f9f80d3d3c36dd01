"""How long to wait before starting again what has just died. Pure."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Backoff:
    """Doubles from `first_s` to `max_s`; a run longer than `forgiven_after_s` wipes the record clean."""

    first_s: float
    max_s: float
    forgiven_after_s: float = 60.0

    def failures_after(self, failures: int, ran_s: float) -> int:
        """Count one more failure of a process that ran ready for `ran_s`."""
        return 1 if ran_s > self.forgiven_after_s else failures + 1

    def delay_s(self, failures: int) -> float:
        """Return the wait before the next start, after `failures` in a row (at least one)."""
        return min(self.max_s, self.first_s * 2.0 ** min(failures - 1, 32))
