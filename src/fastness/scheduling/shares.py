"""Whose devices they are: guarantees of departments and teams, what is borrowed of them, and what is taken back.

A department is guaranteed so many devices of a pool, and may pass a part of them on to its teams; what it does not pass
on is for all of them. Whatever idles may be borrowed by anybody, until an owner wants what it is guaranteed.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Final

from fastness.core.desired import Needs
from fastness.core.fleet_state import FleetState, Phase, PlacedReplica
from fastness.core.node import FleetNode
from fastness.scheduling.account import Account, Holder, Level, department_of
from fastness.scheduling.filters import Clears, counted, identical
from fastness.scheduling.offers import Offer
from fastness.scheduling.reclaim import Room, make_room

LAST: Final = 1 << 62
"""A term after all that are given."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What shares say of one more replica. `borrowed`: its owner is beyond its own guarantee with it."""

    allowed: bool
    borrowed: bool
    sentence: str
    level: Level


@dataclass(frozen=True, slots=True)
class Standing:
    """An owner in a pool, in devices, a department without its teams.

    `held` is what replicas hold that stay: `inside` of it are borrowed in the department, `borrowed` from others.
    `leaving` are still taken by replicas on their way out, or on lost nodes.
    """

    guaranteed: int
    held: int
    inside: int
    borrowed: int
    leaving: int


class Shares:
    """Who holds what of which pool, and what that means for the next replica. It is told of each that comes or goes."""

    def __init__(
        self,
        guarantees: Mapping[tuple[str, str], int],
        sizes: Mapping[str, int],
        holders: Iterable[Holder],
        clears: Clears = identical,
    ) -> None:
        """`guarantees` are devices by owner and pool, `sizes` the devices of each pool that nodes report."""
        self._sizes, self._clears = dict(sizes), clears
        self._guarantees: dict[tuple[str, str], dict[str, int]] = defaultdict(dict)
        for (owner, pool), devices in guarantees.items():
            self._guarantees[department_of(owner), pool][owner] = devices
        self._holders: dict[tuple[str, str], dict[str, Holder]] = defaultdict(dict)
        self._accounts: dict[tuple[str, str], Account] = {}
        self._where: dict[str, tuple[str, str]] = {}
        self._taken: Counter[str] = Counter()
        self._held: Counter[tuple[str, str]] = Counter()
        for one in holders:
            self.take(one)

    def take(self, one: Holder) -> None:
        """Note that a replica holds devices; one that was placed after all that are known."""
        key = (department_of(one.owner), one.pool)
        self._holders[key][one.id], self._where[one.id] = one, key
        self._taken[one.pool] += one.devices
        if not one.leaving:
            self._held[one.owner, one.pool] += one.devices
            account = self._accounts.get(key)
            if account is not None and account.displaces(one):
                del self._accounts[key]
            elif account is not None:
                account.add(one)

    def leave(self, replica: str) -> None:
        """Note that a replica drains: it holds its devices, but counts against no guarantee. Others are ignored."""
        key = self._where.get(replica)
        if key is None or self._holders[key][replica].leaving:
            return
        one = self._holders[key][replica]
        self._holders[key][replica] = replace(one, leaving=True)
        self._held[one.owner, one.pool] -= one.devices
        self._accounts.pop(key, None)

    def verdict(self, owner: str, pool: str, devices: int) -> Verdict:
        """Say whether an owner may have one more replica, of `devices` in all, and whether it borrows with it."""
        department = department_of(owner)
        account = self._account(department, pool)
        level, held = account.level_of(owner, devices), self._held[owner, pool]
        own = self._guarantees[department, pool].get(owner, 0)
        if level is Level.GUARANTEED:
            whose = owner if own else department
            said = f"{whose} is guaranteed {counted(own or account.guaranteed)} of pool {pool}; {owner} holds {held}"
            return Verdict(True, False, said, level)
        has = f"{owner} is guaranteed {counted(own) if own else 'nothing'} of pool {pool} and holds {held}"
        if level is Level.INSIDE:
            return Verdict(True, True, f"{has}; within {department} {account.guaranteed} are guaranteed", level)
        idle = max(0, self._sizes.get(pool, 0) - self._taken[pool])
        said = f"{has}; {counted(idle)} of the pool idle, {devices} to be borrowed"
        return Verdict(devices <= idle, True, said, level)

    def reclaim(
        self,
        owner: str,
        pool: str,
        devices: int,
        offers: Iterable[Offer],
        needs: Needs,
        domains: Collection[str] = (),
    ) -> tuple[str, ...]:
        """Return the replicas to drain so that one more within its guarantee fits: borrowed ones, no more than needed.

        Empty when it is beyond its guarantee, when nothing would help, and when what drains already will do.
        """
        room = self.room(owner, pool, devices, offers, needs, domains)
        return room.drain if room else ()

    def room(
        self,
        owner: str,
        pool: str,
        devices: int,
        offers: Iterable[Offer],
        needs: Needs,
        domains: Collection[str] = (),
    ) -> Room | None:
        """Return where room for one more replica within its guarantee is made, and how; None when it cannot be.

        Ask it for whatever was refused for lack of devices, also for who borrows inside its department. The devices of
        its parts must be kept from others until it is placed there.
        """
        department = department_of(owner)
        if self._account(department, pool).level_of(owner, devices) is Level.BORROWED:
            return None
        newcomer = Holder("", owner, pool, devices, term=LAST)
        victims: list[Holder] = []
        for one, other in tuple(self._holders):
            if other == pool:
                levels = self._count(one, pool, *([newcomer] if one == department else [])).levels
                victims += [held for held in self._holders[one, pool].values() if levels.get(held.id) is Level.BORROWED]
        return make_room(owner, needs, offers, victims, self._clears, domains)

    def level(self, replica: str) -> Level | None:
        """Return how safe a replica is now; None for one that is on its way out, or not known."""
        key = self._where.get(replica)
        return self._account(*key).levels.get(replica) if key else None

    def levels(self, asked: Iterable[tuple[str, str, int]]) -> list[Level]:
        """Return how safe replicas would be that come one after the other, each told by owner, pool and devices."""
        accounts: dict[tuple[str, str], Account] = {}
        found = []
        for number, (owner, pool, devices) in enumerate(asked):
            key = (department_of(owner), pool)
            if key not in accounts:
                accounts[key] = self._count(*key)
            found.append(accounts[key].add(Holder(f"wish {number}", owner, pool, devices)))
        return found

    def standing(self, owner: str, pool: str) -> Standing:
        """Return where an owner stands."""
        key = (department_of(owner), pool)
        levels, sums = self._account(*key).levels, Counter[Level | None]()
        for one in self._holders[key].values():
            if one.owner == owner:
                sums[levels.get(one.id)] += one.devices
        guaranteed = self._guarantees[key].get(owner, 0)
        return Standing(guaranteed, self._held[owner, pool], sums[Level.INSIDE], sums[Level.BORROWED], sums[None])

    def _account(self, department: str, pool: str) -> Account:
        key = (department, pool)
        if key not in self._accounts:
            self._accounts[key] = self._count(department, pool)
        return self._accounts[key]

    def _count(self, department: str, pool: str, *newcomers: Holder) -> Account:
        staying = [one for one in self._holders[department, pool].values() if not one.leaving]
        return Account(department, self._guarantees[department, pool], [*staying, *newcomers])


def shares(state: FleetState, nodes: Iterable[FleetNode], clears: Clears = identical) -> Shares:
    """Return the shares of a fleet as it is: guarantees and replicas out of the state, sizes of pools out of `nodes`.

    `clears` tells what a node may handle: `Lattice.dominates`.
    """
    holders = [holder(state, one) for one in state.replicas.values()]
    sizes: Counter[str] = Counter()
    known = set()
    for node in nodes:
        known.add(node.name)
        sizes[node.pool] += len(node.devices)
    for one in holders:
        # What is held on a node that nobody reports is no device of the pool now, and none that another lacks.
        sizes[one.pool] += sum(len(part.devices) for part in one.parts if part.node not in known)
    return Shares(state.shares, sizes, holders, clears)


def holder(state: FleetState, one: PlacedReplica) -> Holder:
    """Return a replica of a state as shares see it."""
    spec = state.spec_of(one)
    return Holder(
        one.id,
        spec.owner,
        spec.needs.pool,
        sum(len(part.devices) for part in one.parts),
        one.parts,
        one.device_bytes,
        one.term,
        spec.urgent,
        one.phase is not Phase.PLACED,
    )
