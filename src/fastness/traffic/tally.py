"""What each revision of a deployment did, by the generation: what a canary is judged by. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

REVISIONS_MAX: Final = 16
"""Revisions that are counted at the same time; beyond it the lowest is forgotten."""


@dataclass(slots=True)
class Tally:
    """Generations that one revision `answered`, and tries that it `failed`; counts only grow.

    `ttft_s` adds up the times of those answered from the slot to the first token, or to all of it where it came whole.
    """

    answered: int = 0
    failed: int = 0
    ttft_s: float = 0.0
    output_tokens: int = 0

    def add(self, ttft_s: float, output_tokens: int) -> None:
        """Count a generation that came to its end."""
        self.answered += 1
        self.ttft_s += ttft_s
        self.output_tokens += output_tokens


@dataclass(slots=True)
class Tallies:
    """The tallies of one deployment, by revision."""

    by_revision: dict[int, Tally] = field(default_factory=dict)

    def of(self, revision: int) -> Tally:
        """The tally of a revision, begun where there is none."""
        try:
            return self.by_revision[revision]
        except KeyError:
            if len(self.by_revision) >= REVISIONS_MAX:
                del self.by_revision[min(self.by_revision)]
            tally = self.by_revision[revision] = Tally()
            return tally
