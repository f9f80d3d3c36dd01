"""What each node has to run: nothing but a function of the state."""

from __future__ import annotations

from collections.abc import Iterable

from fastness.core.fleet_state import FleetState, Phase
from fastness.core.observation import Assignment, NodeOrders


def orders(state: FleetState, node: str) -> NodeOrders:
    """Return the orders of one node. A replica that is to stop, or was lost, is not in them: the node ends it."""
    return orders_of(state, (node,))[node]


def orders_of(state: FleetState, nodes: Iterable[str]) -> dict[str, NodeOrders]:
    """Return the orders of several nodes, looking at each replica once."""
    assignments: dict[str, list[Assignment]] = {node: [] for node in nodes}
    for one in state.replicas.values():
        if one.phase in (Phase.PLACED, Phase.DRAINING):
            spec, routed = state.spec_of(one), one.phase is Phase.PLACED
            members = tuple(part.node for part in one.parts) if len(one.parts) > 1 else ()
            for part in one.parts:
                if part.node in assignments:
                    order = Assignment(one.id, spec, one.revision, one.term, part, routed=routed, members=members)
                    assignments[part.node].append(order)
    deployed = [(name, one) for name, one in state.deployments.items() if not one.removed]
    served = tuple(one.revisions[one.stable] for _, one in deployed)
    wanted = tuple((name, one.replicas) for name, one in deployed)
    return {node: NodeOrders(node, state.sequence, tuple(there), served, wanted) for node, there in assignments.items()}
