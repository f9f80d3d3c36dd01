"""Cleared or refused: which nodes may take a request, and what its caller is told when none may. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final

from fastness.core.deployment import Deployment
from fastness.core.error import Refusal
from fastness.core.marking import Label, Node
from fastness.core.policy import Action, Decision, Parameters, Query
from fastness.core.tenant import Principal

ALTERNATIVES_MAX: Final = 8
"""Names of other deployments in one refusal; the rest are counted."""

_TELLING: Final = ("marking_not_cleared", "parameter_not_allowed", "permission_denied", "unknown_marking")
"""Codes of denials, the one that says most to a caller first; any other code comes after them."""


@dataclass(frozen=True, slots=True)
class Clearance:
    """The names of the nodes that may take a request, and the decision to tell of.

    Only a node named here may take it: an allowed `decision` with no `nodes` means that none is there to take it.
    """

    nodes: frozenset[str]
    decision: Decision


def cleared(
    decide: Callable[[Query], Decision],
    principal: Principal,
    label: Label,
    parameters: Parameters,
    deployment: Deployment,
    nodes: Iterable[Node],
) -> Clearance:
    """Ask for each of `nodes` (those of the deployment's ready replicas) whether it may take the request.

    When none may, the decision is the denial that says most. Without nodes, it is that on the deployment as such.
    """
    permits: dict[str, Decision] = {}
    denials: dict[str, Decision] = {}
    for node in nodes:
        decision = decide(Query(principal, Action.INFER, label, deployment, node, parameters))
        (permits if decision.allowed else denials).setdefault(node.name, decision)
    # Were two nodes to share a name, the one that is denied decides.
    names = frozenset(permits.keys() - denials.keys())
    if names:
        return Clearance(names, next(decision for name, decision in permits.items() if name in names))
    if denials:
        return Clearance(names, min(denials.values(), key=_silence))
    return Clearance(frozenset(), decide(Query(principal, Action.INFER, label, deployment, None, parameters)))


def refusal(query: Query, decision: Decision, alternatives: Iterable[str]) -> Refusal:
    """Word a denial for its caller. `alternatives` are the other deployments cleared for the same request."""
    parts = [f"{_asked(query, decision)}; {decision.had} (policy rule {decision.rule})."]
    if query.deployment is not None and decision.code == "marking_not_cleared":
        parts.append(_cleared_for_you(sorted(alternatives)))
    return Refusal(decision.code, " ".join(parts))


def _asked(query: Query, decision: Decision) -> str:
    if decision.code == "marking_not_cleared":
        return f"{query.label} asked"
    return f"Needed: {decision.needed}"


def _cleared_for_you(names: list[str]) -> str:
    if not names:
        return "No other deployment here is cleared for you and that marking."
    rest = len(names) - ALTERNATIVES_MAX
    more = f" and {rest} more" if rest > 0 else ""
    return f"Cleared for you: {', '.join(names[:ALTERNATIVES_MAX])}{more}."


def _silence(decision: Decision) -> int:
    return _TELLING.index(decision.code) if decision.code in _TELLING else len(_TELLING)
