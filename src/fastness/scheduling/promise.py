"""What may be promised: guarantees of a pool never add up to more than it has."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from fastness.core.node import FleetNode
from fastness.scheduling.account import department_of
from fastness.scheduling.filters import counted


def promise_problem(
    promised: Mapping[tuple[str, str], int], owner: str, pool: str, devices: int, nodes: Iterable[FleetNode]
) -> str:
    """Say why `owner` cannot be guaranteed `devices` of a pool beside what is promised; empty when it can.

    `promised` is `FleetState.shares`, `nodes` all that are known, those that are cordoned or lost for now among them.
    """
    department, size = department_of(owner), sum(len(one.devices) for one in nodes if one.pool == pool)
    if devices < 0:
        return f"{devices} devices: a guarantee is 0 or more"
    after = {who: count for (who, of), count in promised.items() if of == pool} | {owner: devices}
    teams = {who: count for who, count in after.items() if who != department and department_of(who) == department}
    given, whole = sum(teams.values()), after.get(department, 0)
    if given > whole:
        return (
            f"{department} is guaranteed {counted(whole)} of pool {pool}, and its teams would be guaranteed {given}: "
            f"set {department} to {given} or more first, or its teams to less"
        )
    total = sum(count for who, count in after.items() if who == department_of(who))
    before = promised_of(promised, pool)
    if total > size and total > before:
        left = max(0, size - total + devices)
        return (
            f"pool {pool} has {counted(size)}, and {total} would be guaranteed: {left} are left for {owner}; "
            f"set another's share lower first, or add nodes"
        )
    return ""


def broken_promise(promised: Mapping[tuple[str, str], int], pool: str, nodes: Iterable[FleetNode]) -> str:
    """Say that a pool has fewer devices than are guaranteed, since nodes have gone; empty while it has enough."""
    size = sum(len(one.devices) for one in nodes if one.pool == pool)
    total = promised_of(promised, pool)
    return f"pool {pool} has {counted(size)} of the {total} that are guaranteed" if total > size else ""


def promised_of(promised: Mapping[tuple[str, str], int], pool: str) -> int:
    """Return the devices of a pool that are guaranteed in all: those of teams are within their department's."""
    return sum(count for (who, of), count in promised.items() if of == pool and who == department_of(who))
