"""What is seen of the fleet now, in a shape that questions can be asked of. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from fastness.core.fleet_state import PlacedReplica
from fastness.core.observation import GatewayReport, NodeReport, Observation
from fastness.core.replica import Replica, ReplicaState
from fastness.scheduling.guard import Hearing
from fastness.scheduling.plan_values import PlanBounds

_DOWN: Final = frozenset({ReplicaState.STARTING, ReplicaState.BACKING_OFF, ReplicaState.FAILED, ReplicaState.STOPPED})
"""No engine answers in these states."""


class Health(StrEnum):
    """How a placed replica does. `UNSEEN`: its node is silent; it may well be ready and used."""

    READY = "ready"
    COMING = "coming"
    FAILING = "failing"
    UNSEEN = "unseen"


@dataclass(frozen=True, slots=True)
class Sight:
    """`nodes` are the last reports, `silent` the nodes whose report is too old to go by.

    `gateways` are the reports of those that are not silent. `unready` is since when a replica is not ready.
    """

    nodes: Mapping[str, NodeReport]
    silent: frozenset[str]
    gateways: tuple[GatewayReport, ...]
    replicas: Mapping[str, tuple[tuple[str, Replica], ...]]
    draining: tuple[frozenset[str], ...]
    in_flight: Mapping[str, int]
    unready: Mapping[str, int]
    now_ms: int
    bounds: PlanBounds

    def health(self, one: PlacedReplica) -> Health:
        """Say how a replica does. A gang is ready when every one of its nodes says so."""
        parts = self._parts(one)
        if any(part.node in self.silent or part.node not in self.nodes for part in one.parts):
            return Health.UNSEEN
        if len(parts) == len(one.parts) and all(part.state is ReplicaState.READY for part in parts):
            return Health.READY
        if any(part.state is ReplicaState.FAILED or part.restarts >= self.bounds.restarts_max for part in parts):
            return Health.FAILING
        late = self.now_ms - self.unready.get(one.id, self.now_ms) > self.bounds.ready_within_s * 1_000
        return Health.FAILING if late else Health.COMING

    def trouble(self, one: PlacedReplica) -> str:
        """Say what is wrong with a replica that is failing."""
        parts = self._parts(one)
        if not parts:
            return f"{one.id} is not known to its node after {self.bounds.ready_within_s:.0f} s"
        worst = max(parts, key=lambda part: (part.state is not ReplicaState.READY, part.restarts))
        why = f": {worst.diagnosis.summary}" if worst.diagnosis else ""
        if worst.state is not ReplicaState.FAILED and worst.restarts < self.bounds.restarts_max:
            return f"{one.id} is not ready after {self.bounds.ready_within_s:.0f} s{why}"
        return f"{one.id} fails again and again, {worst.restarts} restarts{why}"

    def is_drained(self, one: PlacedReplica) -> bool:
        """Tell whether nothing runs there any more: every gateway says so, or no engine of it is up at all."""
        if self._is_down(one):
            return self.in_flight.get(one.id, 0) == 0
        return (
            bool(self.gateways)
            and all(one.id in known for known in self.draining)
            and self.in_flight.get(one.id, 0) == 0
        )

    def is_gone(self, one: PlacedReplica, node: str | None = None) -> bool:
        """Tell whether its nodes (or the one named) say, under orders without it, that it does not run there."""
        here = {name for name, part in self.replicas.get(one.id, ()) if part.state is not ReplicaState.STOPPED}
        asked = [part.node for part in one.parts] if node is None else [node]
        return all(self._obeys(name, one.since) and name not in here for name in asked)

    def running(self, node: str) -> frozenset[str]:
        """Return the ids of what a node says that it runs, whether anybody ordered it or not."""
        report = self.nodes[node]
        return frozenset(one.id for one in report.replicas if one.state is not ReplicaState.STOPPED)

    def _is_down(self, one: PlacedReplica) -> bool:
        """Under orders by which it drains it has no engine that answers: it gets nothing, and never will."""
        up = {name for name, part in self.replicas.get(one.id, ()) if part.state not in _DOWN}
        return all(self._obeys(part.node, one.since) and part.node not in up for part in one.parts)

    def _obeys(self, node: str, since: int) -> bool:
        report = self.nodes.get(node)
        return report is not None and node not in self.silent and report.version >= since

    def _parts(self, one: PlacedReplica) -> list[Replica]:
        nodes = {part.node for part in one.parts}
        return [part for name, part in self.replicas.get(one.id, ()) if name in nodes]


def look(seen: Observation, hearing: Hearing, unready: Mapping[str, int], now_ms: int, bounds: PlanBounds) -> Sight:
    """Put in order what is seen."""
    replicas: dict[str, list[tuple[str, Replica]]] = defaultdict(list)
    for report in seen.nodes:
        for one in report.replicas:
            replicas[one.id].append((report.node.name, one))
    gateways = tuple(one for one in seen.gateways if one.gateway not in hearing.silent_gateways)
    in_flight: dict[str, int] = defaultdict(int)
    for gateway in gateways:
        for replica, count in gateway.in_flight:
            in_flight[replica] += count
    return Sight(
        {one.node.name: one for one in seen.nodes},
        frozenset(name for name, silent_s in hearing.silent_s.items() if silent_s > bounds.lost_after_s),
        gateways,
        {name: tuple(parts) for name, parts in replicas.items()},
        tuple(frozenset(one.draining) for one in gateways),
        dict(in_flight),
        unready,
        now_ms,
        bounds,
    )
