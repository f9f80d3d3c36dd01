"""How far a department's guarantee in a pool reaches: which of its replicas are within it, and what is left of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import IntEnum

from fastness.core.fleet_event import Part


class Level(IntEnum):
    """How safe a replica is. `INSIDE`: its owner borrows what another team of its own department leaves idle.

    `BORROWED`: beyond what its department is guaranteed; it goes when anybody wants a guarantee.
    """

    GUARANTEED = 0
    INSIDE = 1
    BORROWED = 2


@dataclass(frozen=True, slots=True)
class Holder:
    """One replica as shares see it: `devices` in all, in `pool`. `leaving`: it is on its way out, or its node is lost.

    `parts` is where they are, with `device_bytes` of memory on each. A greater `term` was placed later.
    """

    id: str
    owner: str
    pool: str
    devices: int
    parts: tuple[Part, ...] = ()
    device_bytes: int = 0
    term: int = 0
    urgent: bool = False
    leaving: bool = False


def department_of(owner: str) -> str:
    """Return the department of an owner, which is one itself or a team of one."""
    return owner.partition("/")[0]


class Account:
    """What one department is guaranteed of one pool, and how its replicas use it up.

    First each replica counts against the guarantee of its team, then against what the department keeps for all. The
    urgent come first, and of equals the oldest. One that does not fit whole is not within the guarantee, but a smaller
    one after it may be. What then is left because some teams leave theirs idle goes to the others of the department.
    """

    def __init__(self, department: str, guarantees: Mapping[str, int], holders: Iterable[Holder]) -> None:
        """`guarantees` are devices by owner, of this department and pool. It is guaranteed no less than its teams."""
        teams = {owner: devices for owner, devices in guarantees.items() if owner != department}
        self.guaranteed = max(guarantees.get(department, 0), sum(teams.values()))
        self.levels: dict[str, Level] = {}
        self._teams, self._common, self._left = teams, self.guaranteed - sum(teams.values()), self.guaranteed
        beyond = []
        for one in sorted(holders, key=_precedence):
            if self.level_of(one.owner, one.devices) is Level.GUARANTEED:
                self.add(one)
            else:
                beyond.append(one)
        for one in beyond:
            self.add(one)

    def level_of(self, owner: str, devices: int) -> Level:
        """Return how safe one more replica would be, as the last of all."""
        if devices <= self._teams.get(owner, 0) + self._common:
            return Level.GUARANTEED
        return Level.INSIDE if devices <= self._left else Level.BORROWED

    def add(self, one: Holder) -> Level:
        """Count one more, as the last of all; return how safe it is."""
        level = self.levels[one.id] = self.level_of(one.owner, one.devices)
        if level is Level.GUARANTEED:
            of_team = min(self._teams.get(one.owner, 0), one.devices)
            self._common -= one.devices - of_team
            if of_team:
                self._teams[one.owner] -= of_team
        if level is not Level.BORROWED:
            self._left -= one.devices
        return level

    def displaces(self, one: Holder) -> bool:
        """Tell whether one more would change how safe others are, so that they must be counted anew."""
        return one.urgent or (self.level_of(one.owner, one.devices) is Level.GUARANTEED and one.devices > self._left)


def _precedence(one: Holder) -> tuple[bool, int]:
    return not one.urgent, one.term
