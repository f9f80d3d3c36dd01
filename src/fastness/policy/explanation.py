"""A decision explained: the rules that made it, in full, and every fact that it was made from."""

from __future__ import annotations

from dataclasses import dataclass

from fastness.core.policy import Decision, Query
from fastness.policy.cedar import CedarEngine


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule as written. `comment` is what stands above it; `line` counts from 1."""

    id: str
    file: str
    line: int
    effect: str
    mandatory: bool
    comment: str
    text: str


@dataclass(frozen=True, slots=True)
class Explanation:
    """`rules` are all that determined the decision, its own first. `facts` is what they could see: a tree of
    strings, whole numbers, truths, lists and tables.
    """

    decision: Decision
    rules: tuple[Rule, ...]
    facts: dict[str, object]


def explain(engine: CedarEngine, query: Query) -> Explanation:
    """Explain what `engine` decides for `query`; never raises."""
    raise NotImplementedError
