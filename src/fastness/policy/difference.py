"""What one policy permits that another does not: who gains, who loses what.

Both are asked the same questions: each principal, action, deployment and node, under every label that the principal
could be cleared for, with parameters on both sides of every number that a rule compares them with.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any, Final

from fastness.core.deployment import Deployment, named
from fastness.core.marking import Label, Node
from fastness.core.policy import Action, Decision, Parameters, PolicyBundle, Query
from fastness.core.tenant import Principal
from fastness.policy.cedar import CedarEngine
from fastness.policy.port import PolicyProblem

QUESTIONS_MAX: Final = 100_000
"""Questions put to each of the two policies; each takes a few tenths of a millisecond."""
CHANGES_MAX: Final = 10_000

_LABELLED: Final = (Action.INFER, Action.ADMIT, Action.OPEN_SEALED, Action.BREAK_GLASS)
"""Actions that the label decides on; the others are asked about under the default."""


@dataclass(frozen=True, slots=True)
class ChangedRight:
    """One right gained or lost. `change` is `gains` or `loses`; `labels` are the labels it is about, as text.

    `deployment` and `node` are empty for actions on the installation, `parameters` unless it is about how far they may
    be turned. `rule` is the one that denies, before or after, and `why` is its reason.
    """

    principal: str
    tenant: str
    change: str
    action: str
    deployment: str
    node: str
    labels: tuple[str, ...]
    rule: str
    why: str
    parameters: str = ""


def difference(
    before: PolicyBundle,
    after: PolicyBundle,
    principals: Iterable[Principal],
    deployments: Iterable[Deployment],
    nodes: Iterable[Node],
) -> list[ChangedRight]:
    """List every right that changes. Raises PolicyProblem for a bundle that cannot be in force, or for too much to ask.

    Principals that no rule can tell apart are asked about once.
    """
    return _Comparison(CedarEngine(before), CedarEngine(after)).changes(
        tuple(principals), tuple(deployments), tuple(nodes)
    )


class _Comparison:
    def __init__(self, old: CedarEngine, new: CedarEngine) -> None:
        self._old = old
        self._new = new
        self._named = any("Principal::" in rule.text for engine in (old, new) for rule in engine.rules.values())
        self._asked = 0

    def changes(
        self, principals: tuple[Principal, ...], deployments: tuple[Deployment, ...], nodes: tuple[Node, ...]
    ) -> list[ChangedRight]:
        found: dict[ChangedRight, list[str]] = defaultdict(list)
        for alike in self._groups(principals):
            for query, about in self._questions(alike[0], deployments, nodes):
                for change in self._changed(query, alike, about):
                    found[change].append(str(query.label))
                    if len(found) > CHANGES_MAX:
                        raise PolicyProblem(
                            f"more than {CHANGES_MAX} rights change; compare with a policy nearer to it"
                        )
        return [replace(change, labels=tuple(labels)) for change, labels in found.items()]

    def _groups(self, principals: tuple[Principal, ...]) -> Iterable[list[Principal]]:
        groups: dict[Principal, list[Principal]] = defaultdict(list)
        for principal in principals:
            groups[principal if self._named else replace(principal, id="", marking=None)].append(principal)
        return groups.values()

    def _questions(
        self, principal: Principal, deployments: tuple[Deployment, ...], nodes: tuple[Node, ...]
    ) -> Iterator[tuple[Query, str]]:
        defaults = self._defaults()
        for action in Action:
            labels = self._labels(principal) if action in _LABELLED else defaults
            if action is Action.INFER:
                for deployment in deployments:
                    for node in nodes or (None,):
                        for label in labels:
                            yield Query(principal, action, label, deployment, node), ""
                    for parameters, about in self._turned():
                        for label in defaults:
                            yield Query(principal, action, label, deployment, None, parameters), about
            else:
                for resource in (None, *deployments):
                    for label in labels:
                        yield Query(principal, action, label, resource), ""

    def _changed(self, query: Query, alike: list[Principal], about: str) -> Iterator[ChangedRight]:
        self._asked += 1
        if self._asked > QUESTIONS_MAX:
            raise PolicyProblem(f"more than {QUESTIONS_MAX} questions to compare; ask about fewer keys or deployments")
        was, becomes = self._old.decide(query).allowed, self._new.decide(query).allowed
        if was == becomes:
            return
        for principal in alike:
            denial = (self._old if becomes else self._new).decide(replace(query, principal=principal))
            yield _change(replace(query, principal=principal), denial, "gains" if becomes else "loses", about)

    def _defaults(self) -> list[Label]:
        return list(dict.fromkeys(Label(engine.lattice.profile.default) for engine in (self._old, self._new)))

    def _labels(self, principal: Principal) -> list[Label]:
        """Return the labels that the mandatory rules do not deny this principal under both policies anyway.

        They are each marking alone, with each caveat, and with all of them.
        """
        found: dict[Label, None] = {}
        for engine in (self._old, self._new):
            clearances = engine.clearances_of(principal)
            for label in _labels_of(engine, clearances[0]):
                if all(engine.lattice.dominates(one, label) for one in clearances):
                    found[label] = None
        return [*found] or self._defaults()

    def _turned(self) -> Iterator[tuple[Parameters, str]]:
        """Turn one parameter at a time to both sides of each number that it is compared with."""
        values: dict[str, set[int]] = defaultdict(set)
        for engine in (self._old, self._new):
            for name, numbers in engine.kinds.numbers.items():
                values[name].update(value for number in numbers for value in (number - 1, number, number + 1))
        for name, turned in values.items():
            for value in sorted(turned):
                one: dict[str, Any] = {name: value}
                yield Parameters(**one), f"{name} {value}"


def _labels_of(engine: CedarEngine, clearance: Label) -> Iterator[Label]:
    profile = engine.lattice.profile
    for marking in profile.markings:
        below = engine.lattice.at_or_below(marking.name)
        caveats = sorted(one.name for one in profile.caveats if one.lowest in below and one.name in clearance.caveats)
        yield Label(marking.name)
        for caveat in caveats:
            yield Label(marking.name, (caveat,))
        if len(caveats) > 1:
            yield Label(marking.name, tuple(caveats))


def _named(deployment: Deployment) -> str:
    """What callers call it, who are asked about with one adapter, or none."""
    return named(deployment.name, ",".join(one.name for one in deployment.adapters))


def _change(query: Query, denial: Decision, change: str, about: str) -> ChangedRight:
    return ChangedRight(
        principal=query.principal.id,
        tenant=query.principal.tenant,
        change=change,
        action=query.action.value,
        deployment=_named(query.deployment) if query.deployment else "",
        node=query.node.name if query.node else "",
        labels=(),
        rule=denial.rule,
        why=f"needed: {denial.needed}; {denial.had}",
        parameters=about,
    )
