"""Decisions remembered: the same question of the same policy is worked out once.

What is remembered belongs to one engine, and an engine is one policy: a changed policy gets new memories, and nothing
stale can be asked. Parameters are remembered by kind (see `kinds`), except where the answer was no: a denial may name
the very value that was asked.
"""

from __future__ import annotations

from collections.abc import Hashable

from fastness.core.deployment import Deployment
from fastness.core.marking import Label, Node
from fastness.core.policy import Decision, Parameters, Query
from fastness.core.tenant import Principal
from fastness.policy.cedar import CedarEngine
from fastness.policy.clearance import Clearance, cleared
from fastness.policy.port import PolicyEngine


class Decisions:
    """What one policy decided, by question. At most `capacity` are remembered; the oldest is forgotten first."""

    def __init__(self, engine: PolicyEngine, capacity: int) -> None:
        """Raises ValueError for a capacity below 1."""
        if capacity < 1:
            raise ValueError(f"a capacity of at least 1 decision is needed; {capacity} came")
        self.engine = engine
        self._capacity = capacity
        self._remembered: dict[Hashable, Decision] = {}
        self.kind_of = engine.kinds.of if isinstance(engine, CedarEngine) else _exactly

    def decide(self, query: Query) -> Decision:
        """Decide, as the engine does; never raises."""
        subject = (query.principal, query.action, query.label, query.deployment, query.node)
        try:
            alike: Hashable = (*subject, self.kind_of(query.parameters))
            decision = self._remembered.get(alike) or self._remembered.get(query)
        except Exception:  # noqa: BLE001 - what cannot be remembered is for the engine to deny
            return self.engine.decide(query)
        if decision is None:
            decision = self.engine.decide(query)
            if len(self._remembered) >= self._capacity:
                del self._remembered[next(iter(self._remembered))]
            self._remembered[alike if decision.allowed else query] = decision
        return decision


class Clearances:
    """What one policy cleared: the gateway's way to ask. Make a new one for each policy and let go of the old.

    What is cleared is found again by the identity of principal, deployment and nodes, which are kept for as long as it
    is remembered: another object can never be taken for them. Equal ones that are not the same cost a little more.
    """

    def __init__(self, engine: PolicyEngine, capacity: int) -> None:
        """`capacity` bounds the decisions, and again the clearances, that are remembered."""
        self._decisions = Decisions(engine, capacity)
        self._capacity = capacity
        self._kind_of = self._decisions.kind_of
        self._remembered: dict[Hashable, tuple[Clearance, object]] = {}
        self._last: tuple[object, ...] = (None,) * 6

    @property
    def engine(self) -> PolicyEngine:
        """The policy that is asked."""
        return self._decisions.engine

    def of(
        self,
        principal: Principal,
        label: Label,
        parameters: Parameters,
        deployment: Deployment,
        nodes: tuple[Node, ...],
    ) -> Clearance:
        """Clear, as `clearance.cleared` does; never raises.

        It is fastest when principal, deployment and `nodes` are the very objects of an earlier call: keep them.
        """
        last = self._last  # a request is asked about twice in a row: when it arrives, and when it gets its slot
        if (
            principal is last[0]
            and deployment is last[1]
            and nodes is last[2]
            and label is last[3]
            and parameters is last[4]
        ):
            return last[5]  # type: ignore[return-value]
        try:
            kind = self._kind_of(parameters)
            key = (id(principal), id(deployment), id(nodes), label.marking, label.caveats, kind)
            found = self._remembered.get(key)
        except Exception:  # noqa: BLE001 - what cannot be remembered is for the engine to deny
            return cleared(self.engine.decide, principal, label, parameters, deployment, nodes)
        if found is not None:
            self._last = (principal, deployment, nodes, label, parameters, found[0])
            return found[0]
        clearance = cleared(self._decisions.decide, principal, label, parameters, deployment, nodes)
        # A list could change and still be the same object; only a tuple is remembered.
        if clearance.decision.allowed and isinstance(nodes, tuple):
            if len(self._remembered) >= self._capacity:
                del self._remembered[next(iter(self._remembered))]
            self._remembered[key] = (clearance, (principal, deployment, nodes))
        return clearance

    def decide(self, query: Query) -> Decision:
        """Decide any other question, remembered as well; never raises."""
        return self._decisions.decide(query)


def _exactly(parameters: Parameters) -> Hashable:
    return parameters
