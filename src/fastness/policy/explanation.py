"""A decision explained: the rules that made it, in full, and every fact that it was made from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from fastness.core.policy import Decision, Query
from fastness.policy.cedar import CedarEngine
from fastness.policy.statements import Rule


@dataclass(frozen=True, slots=True)
class Explanation:
    """`rules` are all that determined the decision, the one it names first; empty when none spoke.

    `facts` is what they could see: a tree of strings, whole numbers, lists and tables, None for what is not there. It
    is empty for a label that the profile does not know, and for what cannot be asked.
    """

    decision: Decision
    rules: tuple[Rule, ...]
    facts: dict[str, Any]


def explain(engine: CedarEngine, query: Query) -> Explanation:
    """Explain what `engine` decides for `query`; never raises."""
    verdict = engine.verdict(query)
    try:
        facts = engine.facts(query, verdict.adapter)
    except Exception:  # noqa: BLE001 - the decision is what counts; it was denied
        facts = {}
    return Explanation(verdict.decision, verdict.rules, facts)
