"""The fleet ports: where replicas run, whatever they are made of."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from fastness.core.observation import NodeOrders, NodeReport
from fastness.core.replica import Diagnosis, Replica


class FleetPort(Protocol):
    """The nodes of an installation, as the control plane sees them.

    Orders are whole, so one that was lost or came twice does no harm: the next says all of it again. A node ends what
    its orders do not name, obeys none of an older version than one it knows, and keeps to them while it hears nothing.
    """

    async def observe(self) -> tuple[NodeReport, ...]:
        """Return the last report of each node that was ever heard of, however old it is."""
        ...

    async def order(self, orders: NodeOrders) -> None:
        """Tell one node all that it has to run. Returns before it is done; whether it is, reports say."""
        ...

    async def close(self) -> None:
        """Give up what was opened to reach the nodes. A fleet that runs in this process ends its replicas."""
        ...


@dataclass(frozen=True, slots=True)
class ReplicaOrder:
    """One replica wanted: what to execute, where its socket will be, and how its last words are read.

    `scratch` is the private directory of this replica; it is emptied before each start and holds the socket.
    `descriptors` stay open in it, under the same numbers. `node` is the machine it is placed on.
    """

    id: str
    model: str
    engine: str
    argv: tuple[str, ...]
    environ: dict[str, str]
    socket: Path
    scratch: Path
    slots: int
    context_tokens: int
    health_path: str
    sealed: bool
    diagnose: Callable[[tuple[str, ...], int | None], Diagnosis]
    descriptors: tuple[int, ...] = ()
    node: str = "local"


class Fleet(Protocol):
    """Runs replicas and keeps them up."""

    async def start(self, order: ReplicaOrder) -> None:
        """Begin to keep a replica up; raises ValueError for an id that is known."""
        ...

    async def stop(self, replica_id: str) -> None:
        """End a replica for good; raises KeyError."""
        ...

    def observe(self) -> tuple[Replica, ...]:
        """Return every replica as it is now, in the order of their start."""
        ...

    async def close(self) -> None:
        """End every replica."""
        ...
