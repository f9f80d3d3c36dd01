"""For how long the control plane does not answer, where somebody would have to know."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

SILENT_RETRY_S: Final = 10
"""When to come back while it is silent."""
SILENT_S: Final = 5.0
"""A control plane that was silent for less may be one that is just restarted."""


@dataclass(slots=True)
class Silence:
    """Since when the control plane does not answer; None: it does, or nobody had to ask."""

    since_s: float | None = None

    def lasts(self, now_s: float) -> bool:
        """Tell whether it is more than a restart."""
        return self.since_s is not None and now_s - self.since_s >= SILENT_S
