"""Whether deployments are served as ordered: nothing is on its way any more. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from fastness.core.observation import Assignment, NodeOrders
from fastness.core.replica import Replica, ReplicaState


def is_settled(deployments: Iterable[str], orders: NodeOrders, replicas: Iterable[Replica]) -> bool:
    """Tell whether each deployment, where it is wanted at all, has its replicas ready, all of one revision."""
    return not troubles(deployments, orders, replicas)


def troubles(deployments: Iterable[str], orders: NodeOrders, replicas: Iterable[Replica]) -> tuple[str, ...]:
    """Say in a sentence what each deployment still lacks; nothing of one that is settled, or not wanted (any more)."""
    states = {one.id: one for one in replicas}
    found: list[str] = []
    for name in deployments:
        spec = next((one for one in orders.served if one.name == name), None)
        if spec is None:
            continue
        own = [one for one in orders.assignments if one.spec.name == name]
        if not own and spec.scaling.min > 0:
            found.append(f"{name} has no place on {orders.node}: it needs more than is free there.")
        if any(not one.routed for one in own) or len({one.revision for one in own}) > 1:
            found.append(f"{name} is being rolled.")
        found += [_trouble(one, states.get(one.replica)) for one in own if not _is_ready(states.get(one.replica))]
    return tuple(found)


def _is_ready(replica: Replica | None) -> bool:
    return replica is not None and replica.state is ReplicaState.READY


def _trouble(one: Assignment, replica: Replica | None) -> str:
    if replica is None:
        return f"{one.replica} was not begun."
    if replica.diagnosis is None:
        return f"{replica.id} is {replica.state}."
    return f"{replica.id} is {replica.state}: {replica.diagnosis.summary} {replica.diagnosis.hint}"
