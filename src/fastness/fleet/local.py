"""A fleet of one node, this machine: orders and reports are two snapshots in the run directory."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from fastness.core.observation import NodeOrders, NodeReport
from fastness.fleet.port import Unreachable


class LocalFleet:
    """`report` returns a report that was written since it was last asked, or None; `send` replaces the orders.

    `send` may block and raise OSError: it is called in a thread. See Fleet.
    """

    def __init__(self, report: Callable[[], NodeReport | None], send: Callable[[NodeOrders], None]) -> None:
        self._report = report
        self._send = send
        self._last: NodeReport | None = None

    async def observe(self) -> tuple[NodeReport, ...]:
        """See Fleet."""
        self._last = self._report() or self._last
        return () if self._last is None else (self._last,)

    async def order(self, orders: NodeOrders) -> None:
        """See Fleet."""
        here = [one.node.name for one in await self.observe()]
        if orders.node not in here:
            where = f"this machine is {here[0]}" if here else "nothing runs here yet"
            raise Unreachable(f"node {orders.node} cannot be reached: {where}")
        try:
            await asyncio.to_thread(self._send, orders)
        except OSError as error:
            raise Unreachable(f"node {orders.node} gets no orders: {error}") from error

    async def close(self) -> None:
        """See Fleet."""
