"""What each node has to run: nothing but a function of the state."""

from __future__ import annotations

from fastness.core.fleet_state import FleetState, Phase
from fastness.core.observation import Assignment, NodeOrders


def orders(state: FleetState, node: str) -> NodeOrders:
    """Return the orders of one node. A replica that is to stop, or was lost, is not in them: the node ends it."""
    assignments = tuple(
        Assignment(
            one.id,
            state.deployments[one.deployment].revisions[one.revision],
            one.revision,
            one.term,
            part,
            routed=one.phase is Phase.PLACED,
        )
        for one in state.replicas.values()
        if one.phase in (Phase.PLACED, Phase.DRAINING)
        for part in one.parts
        if part.node == node
    )
    served = tuple(one.revisions[one.stable] for one in state.deployments.values() if not one.removed)
    return NodeOrders(node, state.sequence, assignments, served)
