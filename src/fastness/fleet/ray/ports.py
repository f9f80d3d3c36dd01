"""The ports of Ray on a host: one row of them, so that one line in a packet filter is enough. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

WORKERS_MAX: Final = 12
"""Ports for processes that Ray starts: a courier, the head's driver, and what is needed later."""
PORTS: Final = 8 + WORKERS_MAX
"""How many ports in a row."""


@dataclass(frozen=True, slots=True)
class RayPorts:
    """`first` is that of the head's Ray (its GCS), to which every host connects; the others follow."""

    first: int

    @property
    def node_manager(self) -> int:
        """Where hosts speak to the raylet of another."""
        return self.first + 1

    @property
    def object_manager(self) -> int:
        """Where objects would be fetched; we have none."""
        return self.first + 2

    @property
    def agent(self) -> int:
        """Where the raylet asks its own agent of runtime environments."""
        return self.first + 3

    @property
    def unused(self) -> tuple[int, int, int]:
        """Given to listeners that are off, so that they would be inside the row: two of the dashboard's, metrics."""
        return self.first + 4, self.first + 5, self.first + 6

    @property
    def workers(self) -> tuple[int, int]:
        """The lowest and the highest port of processes that Ray starts, and of those that connect to it."""
        return self.first + 8, self.first + 7 + WORKERS_MAX

    def all(self) -> tuple[int, ...]:
        """Return every port that anything of Ray may listen on or connect to."""
        return tuple(range(self.first, self.first + PORTS))
