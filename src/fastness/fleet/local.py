"""A fleet behind files: reports and orders of this machine, and of those that others carry here, are snapshots."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable

from fastness.core.observation import NodeOrders, NodeReport
from fastness.fleet.port import Unreachable


class LocalFleet:
    """`reports` returns the reports that were written since it was last asked; `send` replaces the orders of a node.

    `send` may block and raise OSError: it is called in a thread. See Fleet.
    """

    def __init__(self, reports: Callable[[], Iterable[NodeReport]], send: Callable[[NodeOrders], None]) -> None:
        self._reports = reports
        self._send = send
        self._last: dict[str, NodeReport] = {}

    async def observe(self) -> tuple[NodeReport, ...]:
        """See Fleet."""
        self._last |= {one.node.name: one for one in self._reports()}
        return tuple(self._last.values())

    async def order(self, orders: NodeOrders) -> None:
        """See Fleet."""
        await self.observe()
        if orders.node not in self._last:
            where = f"there are {', '.join(sorted(self._last)[:8])}" if self._last else "nothing runs here yet"
            raise Unreachable(f"node {orders.node} cannot be reached: {where}")
        try:
            await asyncio.to_thread(self._send, orders)
        except OSError as error:
            raise Unreachable(f"node {orders.node} gets no orders: {error}") from error

    async def close(self) -> None:
        """See Fleet."""
