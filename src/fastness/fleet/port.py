"""The fleet port: the nodes that the control plane gives orders to, whatever stands behind them."""

from __future__ import annotations

from typing import Protocol

from fastness.core.observation import NodeOrders, NodeReport


class Unreachable(Exception):  # noqa: N818 - a state of the world
    """A node, or the way to it, does not take orders now. The message says which and why; orders are sent again."""


class Fleet(Protocol):
    """The nodes of an installation, as control sees them. Orders are whole, so one that is lost does not matter."""

    async def observe(self) -> tuple[NodeReport, ...]:
        """Return the last report of every node that was heard of, however old; `at_ms` says how old.

        A node that is silent keeps its last report, and holds up nobody else's. Raises nothing of its own.
        """
        ...

    async def order(self, orders: NodeOrders) -> None:
        """Send a node all that it has to run. Returns when it is sent, not when it is done: reports tell that.

        A node takes orders whose version is not below that of the last it took, and no others. Sending the same again
        changes nothing. Raises Unreachable.
        """
        ...

    async def close(self) -> None:
        """Let go of the nodes; they go on under their last orders."""
        ...
