"""Whether a replica of a deployment could ever find a place here, were every node empty and open."""

from __future__ import annotations

from collections.abc import Sequence
from types import MappingProxyType
from typing import Final

from fastness.control.problem import Problem
from fastness.control.revisions import Applied
from fastness.control.watching import nodes_of
from fastness.core.desired import DeploymentSpec
from fastness.core.fleet_state import FleetState, NodeWish
from fastness.core.node import FleetNode
from fastness.core.observation import Observation
from fastness.scheduling.filters import Clears
from fastness.scheduling.offers import offers
from fastness.scheduling.placement import Placement, Unplaced, place

REFUSALS_SHOWN_MAX: Final = 5


def check_possible(
    state: FleetState,
    specs: Sequence[DeploymentSpec],
    applied: Sequence[Applied],
    seen: Observation | None,
    clears: Clears,
) -> None:
    """Raise Problem (no_node_fits) for new replicas that no node here could take. No node known: nothing is said."""
    nodes = nodes_of(seen)
    placing = {one.name for one in applied if one.outcome in ("created", "rolling")}
    for spec in specs if nodes else ():
        found = emptied(state, spec, nodes, clears) if spec.name in placing and spec.scaling.max else None
        if isinstance(found, Unplaced):
            said = "; ".join(f"{one.node}: {one.sentence}" for one in found.refusals[:REFUSALS_SHOWN_MAX])
            more = len(found.refusals) - REFUSALS_SHOWN_MAX
            raise Problem(
                "no_node_fits",
                f"No node here could take a replica of {spec.name}, even if it were empty. {said}"
                f"{f'; and {more} more' if more > 0 else ''}.",
                "Ask for less under `needs`, or, for nodes that are yet to come: --pending",
                param="needs",
            )


def emptied(
    state: FleetState, spec: DeploymentSpec, nodes: Sequence[FleetNode], clears: Clears
) -> Placement | Unplaced:
    """Try to place one replica on the nodes as they would be with nothing on them, and open."""
    labelled = {name: NodeWish(labels=wish.labels) for name, wish in state.nodes.items()}
    empty = FleetState(nodes=MappingProxyType(labelled))
    return place(spec.needs, spec.name, spec.model_digest, offers(empty, nodes), clears=clears)
