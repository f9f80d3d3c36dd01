"""What each revision of a deployment did, by the generation: what a canary is judged by. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from fastness.core.observation import RevisionLoad

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


class Tallies(dict[int, Tally]):
    """The tallies of one deployment, by revision; one that is asked for begins."""

    def __missing__(self, revision: int) -> Tally:
        if len(self) >= REVISIONS_MAX:
            del self[min(self)]
        tally = self[revision] = Tally()
        return tally

    def loads(self) -> tuple[RevisionLoad, ...]:
        """Return them as a gateway reports them, by revision."""
        return tuple(
            RevisionLoad(revision, one.answered, one.failed, round(one.ttft_s * 1_000), one.output_tokens)
            for revision, one in sorted(self.items())
        )
