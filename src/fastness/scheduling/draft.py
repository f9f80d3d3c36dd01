"""A plan in the making: the state as it will be after the events noted so far, and what is seen."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping

from fastness.core.fleet_event import (
    FleetEvent,
    NodeLost,
    ReplicaDraining,
    ReplicaPlaced,
    ReplicaRemoved,
    ReplicaStopping,
)
from fastness.core.fleet_state import Deployed, FleetState, Phase, PlacedReplica, apply
from fastness.scheduling.filters import Clears
from fastness.scheduling.placement import NodeRefusal
from fastness.scheduling.plan_values import Pending
from fastness.scheduling.shares import Shares, holder, shares
from fastness.scheduling.sight import Health, Sight
from fastness.scheduling.stock import Stock


class Draft:
    """What the parts of plan() write on. Lives as long as one call of it; what is noted can follow the state."""

    def __init__(self, state: FleetState, sight: Sight, silent_s: Mapping[str, float], clears: Clears) -> None:
        self.state, self.sight, self.bounds, self.clears = state, sight, sight.bounds, clears
        self.now_ms = sight.now_ms
        self.events: list[FleetEvent] = []
        self.placements_left = self.bounds.placements_max
        self.lacking: dict[str, int] = {}
        """Deployments that lack a place for a replica, with its revision."""
        self._silent_s = {name: quiet_s for name, quiet_s in silent_s.items() if quiet_s > self.bounds.lost_after_s / 2}
        self._pending: dict[str, Pending] = {}
        self._by_deployment = _grouped(state)
        self._health: dict[str, Health] = {}
        self._stock: Stock | None = None
        self._shares: Shares | None = None

    def note(self, event: FleetEvent) -> None:
        """Decide something; raises Impossible for what cannot follow."""
        before, self.state = self.state, apply(self.state, event)
        self.events.append(event)
        if isinstance(event, NodeLost):
            self._by_deployment, self._shares = _grouped(self.state), None
        elif isinstance(event, ReplicaRemoved):
            del self._by_deployment[before.replicas[event.replica].deployment][event.replica]
            self._shares = None
        elif isinstance(event, ReplicaPlaced | ReplicaDraining | ReplicaStopping):
            one = self.state.replicas[event.replica]
            self._by_deployment[one.deployment][one.id] = one
            if self._shares and isinstance(event, ReplicaPlaced):
                self._shares.take(holder(self.state, one))
            elif self._shares:
                self._shares.leave(one.id)

    def deployed(self, name: str) -> Deployed:
        """Return a deployment as it is wanted now."""
        return self.state.deployments[name]

    def placed(self, name: str) -> list[PlacedReplica]:
        """Return those replicas of a deployment that are to stay or to come up, in the order they were placed."""
        return [one for one in self._by_deployment[name].values() if one.phase is Phase.PLACED]

    def leaving(self, name: str) -> list[PlacedReplica]:
        """Return those replicas of a deployment that give their devices back: draining or stopping."""
        return [one for one in self._by_deployment[name].values() if one.phase in (Phase.DRAINING, Phase.STOPPING)]

    def health(self, one: PlacedReplica) -> Health:
        """Say how a replica does; looked up once in a plan."""
        if one.id not in self._health:
            self._health[one.id] = self.sight.health(one)
        return self._health[one.id]

    def is_ready(self, one: PlacedReplica) -> bool:
        """Tell whether requests are sent to it."""
        return self.health(one) is Health.READY

    def may_be_used(self, one: PlacedReplica) -> bool:
        """Tell whether requests may be sent to it: it is ready, or its node is silent."""
        return self.health(one) in (Health.READY, Health.UNSEEN)

    def must_move(self, one: PlacedReplica) -> bool:
        """Tell whether it is on a node that is being emptied."""
        return any((wish := self.state.nodes.get(part.node)) and wish.draining for part in one.parts)

    def drain(self, one: PlacedReplica, reason: str) -> None:
        """Let a replica finish what it does, within the time its deployment gives it."""
        deadline_ms = self.now_ms + int(self.state.spec_of(one).drain_timeout_s * 1_000)
        self.note(ReplicaDraining(one.id, deadline_ms, reason))
        if self._stock:
            self._stock.expect(one)

    def pend(self, name: str, refusals: tuple[NodeRefusal, ...] = (), hopes: str = "") -> None:
        """Say why a deployment is not as wanted; what was said first stands, what comes after is added to it."""
        there = len(self.placed(name))
        before = self._pending.get(name)
        told = (before.refusals if before else ()) + refusals
        wanted = self.deployed(name).replicas
        self._pending[name] = Pending(name, wanted, there, told, (before.hopes if before else "") or hopes)

    def is_pending(self, name: str) -> bool:
        """Tell whether it was said why a deployment is not as wanted."""
        return name in self._pending

    @property
    def pending(self) -> tuple[Pending, ...]:
        """What is not as wanted, by deployment."""
        return tuple(self._pending[name] for name in sorted(self._pending))

    @property
    def stock(self) -> Stock:
        """What may be placed on; made when it is first asked for, after nodes were judged."""
        if self._stock is None:
            nodes = (one.node for one in self.sight.nodes.values())
            self._stock = Stock(self.state, nodes, self._silent_s, self.clears)
        return self._stock

    @property
    def shares(self) -> Shares:
        """Whose devices are whose, as things stand."""
        if self._shares is None:
            self._shares = shares(self.state, tuple(one.node for one in self.sight.nodes.values()), self.clears)
        return self._shares


def _grouped(state: FleetState) -> dict[str, dict[str, PlacedReplica]]:
    groups: dict[str, dict[str, PlacedReplica]] = defaultdict(dict)
    for one in sorted(state.replicas.values(), key=lambda one: one.term):
        groups[one.deployment][one.id] = one
    return groups
