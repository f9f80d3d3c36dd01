"""State and observation side by side, as they are shown: deployments, nodes, shares, pools."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from fastness.control.fleet_wire import FleetNodeView, PlacedView, PoolView, ShareView, WantedView
from fastness.control.guarantees import standings
from fastness.core.fleet_state import Deployed, FleetState, NodeWish, Phase, PlacedReplica
from fastness.core.node import FleetNode
from fastness.core.observation import NodeReport, Observation
from fastness.core.replica import ReplicaState
from fastness.scheduling.filters import Clears
from fastness.scheduling.promise import promised_of

Seen = Mapping[str, NodeReport]
"""The last report of each node, by its name."""


def reports(seen: Observation | None) -> Seen:
    """Return the last report of each node."""
    return {} if seen is None else {one.node.name: one for one in seen.nodes}


def wanted_view(state: FleetState, name: str, deployed: Deployed, seen: Observation | None) -> WantedView:
    """Show one deployment."""
    told, spec = reports(seen), deployed.spec
    placed = tuple(placed_view(one, told) for one in state.of(name))
    ready = [one for one in placed if one.phase == Phase.PLACED and one.state == ReplicaState.READY]
    current = [one for one in ready if one.revision == deployed.revision]
    settled = (
        not deployed.removed
        and len(current) == len(placed) == deployed.replicas
        and deployed.revision == deployed.stable
    )
    answered, failed = _counts(name, seen)
    return WantedView(
        name=name,
        owner=spec.owner,
        model=spec.model,
        model_digest=spec.model_digest,
        kind=spec.kind,
        ceiling=str(spec.ceiling),
        tenants=spec.tenants,
        adapters=tuple(one.name for one in spec.adapters),
        revision=deployed.revision,
        stable=deployed.stable,
        phase=_phase(deployed, placed, settled),
        settled=settled,
        wanted=deployed.replicas,
        ready=len(ready),
        min=spec.scaling.min,
        max=spec.scaling.max,
        by=deployed.by,
        rolled_back=deployed.rolled_back,
        answered=answered,
        failed=failed,
        placed=placed,
    )


def placed_view(one: PlacedReplica, told: Seen) -> PlacedView:
    """Show one replica: of several parts, it is as the one that is furthest behind."""
    states, stages = [], []
    for part in one.parts:
        report = told.get(part.node)
        if report is not None:
            states += [each.state for each in report.replicas if each.id == one.id]
            stages += [stage for replica, stage in report.stages if replica == one.id]
    behind = next((state for state in states if state is not ReplicaState.READY), None)
    whole = len(states) == len(one.parts)
    return PlacedView(
        id=one.id,
        revision=one.revision,
        phase=one.phase.value,
        state=behind.value if behind else (ReplicaState.READY.value if states and whole else None),
        stage=stages[0] if stages else None,
        nodes=tuple(part.node for part in one.parts),
        devices=tuple(f"{part.node}/{device}" for part in one.parts for device in part.devices),
        borrowed=one.borrowed,
        deadline_ms=one.deadline_ms or None,
        reason=one.reason,
    )


def node_view(
    state: FleetState, name: str, node: FleetNode | None, report: NodeReport | None, now_ms: int
) -> FleetNodeView:
    """Show one node; `node` None: it has not reported since control began."""
    wish = state.nodes.get(name, NodeWish())
    taken = sum(of == name for of, _ in state.taken())
    count = len(node.devices) if node else taken
    declared = node.labels if node else ()
    return FleetNodeView(
        name=name,
        pool=node.pool if node else "",
        domain=node.domain if node else "",
        jurisdiction=node.place.jurisdiction if node else "",
        operator=(node.place.operator or None) if node else None,
        ceiling=str(node.place.ceiling) if node else "",
        labels=dict(declared if wish.labels is None else wish.labels),
        accelerators=dict(Counter(one.accelerator for one in node.devices)) if node else {},
        devices=count,
        devices_free=count - taken,
        memory_bytes=node.memory_bytes if node else 0,
        cordoned=wish.cordoned,
        draining=wish.draining,
        lost=wish.lost,
        by=wish.by,
        reason=wish.reason,
        heard_s=round(max(0, now_ms - report.at_ms) / 1_000, 1) if report else None,
        way=report.way if report else "",
        release=report.release if report else "",
        replicas=tuple(
            sorted(one.id for one in state.replicas.values() if any(part.node == name for part in one.parts))
        ),
    )


def share_views(state: FleetState, seen: Observation | None, clears: Clears) -> tuple[ShareView, ...]:
    """Show where each owner stands."""
    return tuple(
        ShareView(owner, pool, one.guaranteed, one.held, one.inside, one.borrowed, one.leaving)
        for owner, pool, one in standings(state, seen, clears)
    )


def pool_views(state: FleetState, pools: Mapping[str, int], nodes: Mapping[str, FleetNode]) -> tuple[PoolView, ...]:
    """Show the pools there are."""
    taken = Counter(nodes[node].pool for node, _ in state.taken() if node in nodes)
    return tuple(
        PoolView(pool, pools.get(pool, 0), max(0, pools.get(pool, 0) - taken[pool]), promised_of(state.shares, pool))
        for pool in sorted(pools.keys() | {pool for _, pool in state.shares})
    )


def _counts(name: str, seen: Observation | None) -> tuple[int | None, int | None]:
    if seen is None or not seen.gateways:
        return None, None
    loads = [one for gateway in seen.gateways for one in gateway.loads if one.deployment == name]
    return (
        sum(revision.answered for load in loads for revision in load.revisions),
        sum(revision.failed for load in loads for revision in load.revisions),
    )


def _phase(deployed: Deployed, placed: tuple[PlacedView, ...], settled: bool) -> str:
    if deployed.removed:
        return "removing"
    if settled:
        return "ready" if deployed.replicas else "idle"
    if deployed.revision != deployed.stable:
        return "rolling"
    staying = sum(one.phase == Phase.PLACED for one in placed)
    return "pending" if staying < deployed.replicas else "starting" if staying == deployed.replicas else "shrinking"
