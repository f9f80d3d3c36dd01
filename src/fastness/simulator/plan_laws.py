"""Laws about what the control plane decides: every lack has its reasons, and a guaranteed share comes back."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Final

from fastness.core.desired import DeploymentSpec
from fastness.core.fleet_state import FleetState, NodeWish, Phase, PlacedReplica
from fastness.core.marking import Lattice
from fastness.core.node import FleetNode
from fastness.scheduling.account import department_of
from fastness.scheduling.plan import Pending
from fastness.simulator import oracle
from fastness.simulator.laws import SHARE_GRACE_S, Broken

if TYPE_CHECKING:
    from fastness.simulator.world import World

PLANS_APART_S: Final = 60.0
"""When the control plane was away for longer than that, what was owed before is counted anew."""


Sound = Callable[[str], bool]
"""Tells whether a node is well and within reach."""


class PlanLaws:
    """Looked at after every plan. `broken` makes the violation that is raised."""

    def __init__(
        self, offers: Mapping[str, FleetNode], lattice: Lattice, broken: Callable[[str, str, str], Broken]
    ) -> None:
        self._offers, self._lattice, self._broken = offers, lattice, broken
        self._owed: dict[tuple[str, str], float] = {}
        self._unexplained: dict[str, float] = {}
        self._looked_s = 0.0

    def planned(self, state: FleetState, pending: Iterable[Pending], now_s: float, sound: Sound) -> None:
        """Look at a plan that was carried out; `sound` tells whether a node is well and within reach."""
        known = {one.deployment: one for one in pending}
        for name, deployed in state.deployments.items():
            there = sum(one.phase is Phase.PLACED for one in state.of(name))
            why = known.get(name)
            explained = why is not None and (why.hopes or any(one.sentence for one in why.refusals))
            if deployed.removed or there >= deployed.replicas or explained:
                self._unexplained.pop(name, None)
            elif self._unexplained.setdefault(name, now_s) < now_s:  # one plan may end what the next one tells of
                raise self._broken("no reason", name, f"it wants {deployed.replicas} replicas and has {there}")
        if now_s - self._looked_s > PLANS_APART_S:
            self._owed.clear()
        self._looked_s = now_s
        if state.shares:
            self._look_at_shares(state, known, now_s, sound)

    def _look_at_shares(self, state: FleetState, known: Mapping[str, Pending], now_s: float, sound: Sound) -> None:
        owed = {}
        for (owner, pool), devices in state.shares.items():
            for name, why in known.items():
                deployed = state.deployments.get(name)
                if why.there >= why.wanted:  # it has its devices: a replica of it fails, or is to move
                    continue
                if deployed is None or deployed.removed or not _is_of(deployed.spec.owner, owner):
                    continue
                needs = deployed.spec.needs
                if needs.pool != pool or needs.devices_in_all > 1 or needs.apart:
                    continue
                if held(state, owner, pool, self._offers) + 1 > devices:
                    continue
                lenders = [
                    one
                    for one in self._borrowed(state, owner, pool)
                    if self._would_do(state, one, deployed.spec, sound)
                ]
                if lenders:
                    owed[owner, pool] = self._owed.get((owner, pool), now_s)
                    longest_s = max(state.spec_of(one).drain_timeout_s for one in lenders)
                    waited_s = now_s - owed[owner, pool]
                    if waited_s > longest_s + SHARE_GRACE_S:
                        what = f"{name} waits for {waited_s:.0f} s, {lenders[0].id} borrows, drain {longest_s:.0f} s"
                        raise self._broken("share not given back", owner, what)
        self._owed = owed

    def converged(self, world: World) -> None:
        """Nothing has broken for long: every replica is settled and ready, and what is missing fits nowhere."""
        state, pending = world.control.state, {one.deployment for one in world.control.pending}
        for one in state.replicas.values():
            if one.phase is not Phase.PLACED:
                raise self._broken("not converged", one.id, f"it is {one.phase} still: {one.reason}")
        for node, wish in state.nodes.items():
            if wish.lost and world.is_sound(node):
                raise self._broken("not converged", node, "it counts as lost still")
        for name, deployed in state.deployments.items():
            there = state.of(name)
            if len(there) > deployed.replicas:
                raise self._broken("not converged", name, f"it wants {deployed.replicas} replicas, has {len(there)}")
            bad = any(f"{name}@{one.revision}" in world.nodes.manners for one in there)
            ready = sum(one.id in world.serving.live for one in there)
            if ready < min(deployed.replicas, len(there)) and not bad:
                raise self._broken("not converged", name, f"{ready} of {len(there)} replicas are ready")
            if len(there) >= deployed.replicas or (bad and ready >= deployed.replicas):
                continue
            if name not in pending:
                raise self._broken("no reason", name, f"it wants {deployed.replicas} replicas and has {len(there)}")
            self._must_be_full(state, deployed.spec)

    def _must_be_full(self, state: FleetState, spec: DeploymentSpec) -> None:
        """No node has room for one more, as far as a plain look can tell: shares and gangs are left out."""
        needs = spec.needs
        if needs.nodes > 1 or needs.apart or any(pool == needs.pool for _, pool in state.shares):
            return
        for node in self._offers.values():
            wish, free_bytes = state.nodes.get(node.name, NodeWish()), node.memory_bytes
            if wish.cordoned or wish.lost or oracle.unfit(needs, node, wish, self._lattice):
                continue
            if oracle.room(needs, node, state.taken(), free_bytes - oracle.node_bytes(state, node)):
                raise self._broken("not converged", spec.name, f"it would fit on {node.name}")

    def _borrowed(self, state: FleetState, owner: str, pool: str) -> Iterable[PlacedReplica]:
        """Replicas of others that hold more of the pool than they are guaranteed."""
        for one in state.replicas.values():
            other = state.spec_of(one).owner
            if _is_of(other, owner) or one.phase is not Phase.PLACED or self._pool(one) != pool:
                continue
            department = department_of(other)
            guaranteed = max(state.shares.get((other, pool), 0), state.shares.get((department, pool), 0))
            if held(state, department, pool, self._offers) > guaranteed and held(state, other, pool, self._offers) > (
                state.shares.get((other, pool), 0)
            ):
                yield one

    def _would_do(self, state: FleetState, one: PlacedReplica, spec: DeploymentSpec, sound: Sound) -> bool:
        """Whether a replica for `spec` fits on a device that `one` holds."""
        for part in one.parts:
            node, wish = self._offers[part.node], state.nodes.get(part.node, NodeWish())
            if wish.cordoned or wish.lost or not sound(part.node):
                continue
            if oracle.unfit(spec.needs, node, wish, self._lattice):
                continue
            others = {key for key, holder in state.taken().items() if holder != one.id}
            free_bytes = node.memory_bytes - oracle.node_bytes(state, node)
            if oracle.room(spec.needs, node, others, free_bytes + one.device_bytes * len(part.devices)):
                return True
        return False

    def _pool(self, one: PlacedReplica) -> str:
        return self._offers[one.parts[0].node].pool


def held(state: FleetState, owner: str, pool: str, offers: Mapping[str, FleetNode]) -> int:
    """How many devices of a pool an owner and its teams hold."""
    return sum(
        len(part.devices)
        for one in state.replicas.values()
        if _is_of(state.spec_of(one).owner, owner)
        for part in one.parts
        if offers[part.node].pool == pool
    )


def _is_of(owner: str, of: str) -> bool:
    return owner == of or owner.startswith(of + "/")
