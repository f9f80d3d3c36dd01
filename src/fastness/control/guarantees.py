"""Commands on shares: what departments and teams are guaranteed, and never more than there is to give.

What a department is guaranteed is also its weight in the fair queue (`tenant.share`): devices and tokens are shared out
by one promise.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Final

from fastness.control.access import Access
from fastness.control.deployments import living
from fastness.control.fleet_log import FleetLog
from fastness.control.problem import Problem
from fastness.control.spec_checks import check_owner
from fastness.control.spec_words import near
from fastness.control.watching import Watching, nodes_of
from fastness.core.fleet_event import FleetEvent, ShareSet
from fastness.core.fleet_state import FleetState
from fastness.core.ids import is_name
from fastness.core.observation import Observation
from fastness.core.tenant import SHARE_MAX
from fastness.scheduling.account import department_of
from fastness.scheduling.filters import Clears
from fastness.scheduling.promise import promise_problem
from fastness.scheduling.shares import Standing, shares

DEVICES_MAX: Final = 1_000_000
assert DEVICES_MAX <= SHARE_MAX


class Guarantees:
    """The commands."""

    def __init__(self, log: FleetLog, access: Access, watching: Watching) -> None:
        self._log, self._access, self._watching = log, access, watching

    async def put(self, owner: str, pool: str, devices: int, by: str) -> None:
        """Guarantee an owner so many devices of a pool; 0 takes it away. Raises Problem, Unavailable.

        The weight of its department follows, where that is a tenant.
        """
        known = await self._access.snapshot()
        check_owner(owner, living(known) | {one for one, _ in self._log.state.shares})
        _check_numbers(pool, devices)

        def decide(state: FleetState) -> list[FleetEvent]:
            if state.shares.get((owner, pool), 0) == devices:
                return []
            self._check_promise(state, owner, pool, devices)
            return [ShareSet(owner, pool, devices, by)]

        await self._log.decide(decide)
        department = department_of(owner)
        weight = float(self.guaranteed(department) or 1)
        tenant = next((one for one in known.tenants if one.id == department), None)
        if tenant is not None and tenant.share != weight:
            await self._access.set_share(department, weight, by)

    def guaranteed(self, owner: str) -> int:
        """Return the devices that an owner is guaranteed, of all pools together."""
        return sum(devices for (one, _), devices in self._log.state.shares.items() if one == owner)

    def pools(self) -> Mapping[str, int]:
        """Return the devices of each pool, as nodes report them."""
        return pools(self._watching)

    def _check_promise(self, state: FleetState, owner: str, pool: str, devices: int) -> None:
        there = pools(self._watching)
        if devices and pool not in there:
            raise Problem(
                "not_found",
                f"No node of a pool {pool!r} has reported here, so nothing of it can be promised.",
                near(pool, there),
                param="pool",
            )
        problem = promise_problem(state.shares, owner, pool, devices, nodes_of(self._watching.seen()))
        if problem:
            raise Problem("conflict", f"{problem[:1].upper()}{problem[1:]}.", "fastness shares show", param="devices")


def pools(watching: Watching) -> Mapping[str, int]:
    """Return the devices of each pool, as nodes report them."""
    counted = Counter[str]()
    for node in nodes_of(watching.seen()):
        counted[node.pool] += len(node.devices)
    return counted


def standings(state: FleetState, seen: Observation | None, clears: Clears) -> tuple[tuple[str, str, Standing], ...]:
    """Return owner, pool and where the owner stands in it, by pool and owner: of all that hold or are guaranteed."""
    specs = map(state.spec_of, state.replicas.values())
    keys = {(spec.owner, spec.needs.pool) for spec in specs} | state.shares.keys()
    found = shares(state, nodes_of(seen), clears)
    ordered = sorted(keys, key=lambda key: (key[1], key[0]))
    return tuple((owner, pool, found.standing(owner, pool)) for owner, pool in ordered)


def _check_numbers(pool: str, devices: int) -> None:
    if not is_name(pool):
        raise Problem(
            "invalid_value",
            f"`pool` is {pool[:80]!r}; it needs lower-case letters, digits and hyphens.",
            "Leave it out for the pool `default`.",
            param="pool",
        )
    if not 0 <= devices <= DEVICES_MAX:
        raise Problem(
            "invalid_value",
            f"`devices` is {devices:,}; it may be from 0 to {DEVICES_MAX:,}.",
            "0 takes the guarantee away.",
            param="devices",
        )
