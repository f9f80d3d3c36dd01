"""What gateways know of replicas: one entry for each that a node they reach has orders for."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

from fastness.core.marking import Label
from fastness.core.observation import NodeOrders, NodeReport
from fastness.core.replica import Replica, ReplicaState


@dataclass(frozen=True, slots=True)
class Route:
    """One replica as a gateway may know it. `routed` False: it drains. `ready`: all its parts say that they are.

    `ceilings` are those of the nodes that it stands on.
    """

    replica: str
    deployment: str
    revision: int
    digest: str
    epoch: int
    slots: int
    context_tokens: int
    routed: bool
    ready: bool
    nodes: tuple[str, ...]
    ceilings: tuple[Label, ...]


def routes(told: Iterable[tuple[NodeReport, NodeOrders]]) -> dict[str, dict[str, Route]]:
    """Put together, by deployment, what nodes say of their replicas, and the orders that they obey."""
    found: defaultdict[str, list[tuple[NodeReport, Replica]]] = defaultdict(list)
    draining, parts = set(), {}
    for report, orders in told:
        for one in report.replicas:
            found[one.id].append((report, one))
        for each in orders.assignments:
            parts[each.replica] = each.spec.needs.nodes
            if not each.routed:
                draining.add(each.replica)
    by_deployment: defaultdict[str, dict[str, Route]] = defaultdict(dict)
    for name, pieces in found.items():
        first = pieces[0][1]
        states = [one.state for _, one in pieces]
        by_deployment[first.deployment][name] = Route(
            name,
            first.deployment,
            first.revision,
            first.model_digest,
            sum(one.epoch for _, one in pieces),
            first.slots,
            first.context_tokens,
            routed=name in parts and name not in draining,
            ready=len(pieces) == parts.get(name, 1) and all(state is ReplicaState.READY for state in states),
            nodes=tuple(report.node.name for report, _ in pieces),
            ceilings=tuple(report.node.place.ceiling for report, _ in pieces),
        )
    return by_deployment
