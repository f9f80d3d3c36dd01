"""Whether answers may go on while witnesses are away: for as long as the installation's policy says, then no more."""

from __future__ import annotations

from collections.abc import Callable
from math import inf

from fastness.core.error import Refusal
from fastness.core.witnessed import WitnessSnapshot


class Witnessed:
    """How far witnesses have seen the log called `log`. `grace_s` 0: answers go on for ever without them.

    A start of the gateway counts as having been seen: the witnesses may need a moment, too.
    """

    def __init__(self, log: str, grace_s: float, clock: Callable[[], float]) -> None:
        self._log, self._grace_s, self._clock = log, grace_s, clock
        self._until_s = clock() + grace_s if grace_s else inf

    def replace(self, snapshot: WitnessSnapshot) -> None:
        """Take over what was seen."""
        for one in snapshot.logs:
            if one.log == self._log and self._grace_s:
                self._until_s = max(self._until_s, one.at_s + self._grace_s)

    def check(self) -> None:
        """Raise a Refusal when too few witnesses have cosigned this log for too long."""
        if self._until_s is not inf and self._clock() > self._until_s:
            away_s = self._clock() - self._until_s + self._grace_s
            raise Refusal(
                "witnesses_unavailable",
                f"Too few witnesses have cosigned the ledger for {away_s:.0f} s; answers go on for "
                f"{self._grace_s:g} s without them (ledger.witness_grace_s). Try again later.",
                retry_after_s=5,
            )
