"""The reconciler: observe -> plan -> decide -> order -> sleep. It alone turns what is wanted into what nodes run.

It keeps nothing that matters: the state is in the ledger, orders follow from the state, and what is remembered from
one round to the next may be lost. So it may end at any point and begin anew, and nobody who is served notices.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Final

from fastness.control.alongside import alongside
from fastness.control.failures import Log
from fastness.control.fleet_log import FleetLog
from fastness.core.fleet_event import FleetEvent
from fastness.core.fleet_state import FleetState, Impossible
from fastness.core.observation import GatewayReport, NodeOrders, NodeReport, Observation
from fastness.fleet.port import Fleet, Unreachable
from fastness.ledger.port import LedgerUnavailable
from fastness.scheduling.filters import Clears, identical
from fastness.scheduling.orders import orders_of
from fastness.scheduling.plan import Plan, PlanBounds, PlanMemory, plan

PACE_S: Final = 0.25
"""From one round to the next while nothing is decided. After a decision, a command's or its own, comes the next."""
REST_S: Final = 0.02
"""From one round to the next at least."""
ORDER_TIMEOUT_S: Final = 5.0
"""How long one node may take to accept its orders before they count as lost; the others do not wait for it."""
OBSERVE_TIMEOUT_S: Final = 5.0


async def _nothing(_log: FleetLog) -> None: ...


class Reconciler:
    """Runs rounds until it is told to end. `gateways` reads the reports of those that live; it may block shortly.

    `first` decides, before anything is planned, what configuration wants by now. `clears` returns what tells whether a
    ceiling permits a marking, under the policy in force.
    """

    def __init__(
        self,
        fleet: Fleet,
        log: FleetLog,
        gateways: Callable[[], tuple[GatewayReport, ...]],
        clock_ms: Callable[[], int],
        journal: Log,
        first: Callable[[FleetLog], Awaitable[None]] = _nothing,
        clears: Callable[[], Clears] = lambda: identical,
        bounds: PlanBounds | None = None,
        pace_s: float = PACE_S,
    ) -> None:
        self._fleet, self._log, self._gateways, self._clock_ms = fleet, log, gateways, clock_ms
        self._journal, self._first, self._clears = journal, first, clears
        self._bounds, self._pace_s = bounds or PlanBounds(), pace_s
        self._memory = PlanMemory()
        self._nodes: tuple[NodeReport, ...] = ()
        self._sent: dict[str, int] = {}
        self._sending: dict[str, asyncio.Task[None]] = {}
        self._failed: dict[str, str] = {}
        self._plan: Plan | None = None
        self._seen: Observation | None = None

    def latest(self) -> Plan | None:
        """Return the plan of the last round; None before the first."""
        return self._plan

    def seen(self) -> Observation | None:
        """Return what was seen for it."""
        return self._seen

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Run rounds until the block ends."""
        try:
            async with alongside(self._run()):
                yield
        finally:
            for task in self._sending.values():
                task.cancel()
            await asyncio.gather(*self._sending.values(), return_exceptions=True)
            await self._fleet.close()

    async def round(self) -> None:
        """Observe, plan, decide, order. Whatever fails is logged and tried again in the next round."""
        seen = await self._observe()
        await self._decide(seen)
        if self._plan is not None:  # before, nothing is known of what is wanted
            self._order(seen)

    async def _run(self) -> None:
        while True:
            self._log.decided.clear()
            try:
                await self.round()
            except Exception as error:  # noqa: BLE001 - whatever a round dies of, the next is tried
                self._fails("round", repr(error))
            self._journal.flush()
            await asyncio.sleep(min(REST_S, self._pace_s))
            with suppress(TimeoutError):
                async with asyncio.timeout(self._pace_s):
                    await self._log.decided.wait()

    async def _observe(self) -> Observation:
        try:
            async with asyncio.timeout(OBSERVE_TIMEOUT_S):
                self._nodes = await self._fleet.observe()
        except (TimeoutError, OSError) as error:
            self._fails("observe", str(error) or "no answer in time")
        else:
            self._works("observe")
        return Observation(self._clock_ms(), self._nodes, self._gateways())

    async def _decide(self, seen: Observation) -> None:
        made = Plan()

        def decide(state: FleetState) -> Sequence[FleetEvent]:
            nonlocal made
            made = plan(state, seen, self._memory, seen.at_ms, self._bounds, self._clears())
            return made.events

        try:
            await self._first(self._log)
            await self._log.decide(decide)
        except (LedgerUnavailable, Impossible) as error:
            self._fails("decide", str(error))
            return
        self._works("decide")
        self._memory, self._plan, self._seen = made.memory, made, seen

    def _order(self, seen: Observation) -> None:
        """Send each node its orders, where it has not taken these yet. None waits for another."""
        state = self._log.state
        taken = {one.node.name: one.version for one in seen.nodes}
        holding = {part.node for one in state.replicas.values() for part in one.parts}
        due = []
        for node in sorted(taken.keys() | holding):
            if taken.get(node, -1) > state.sequence:
                self._fails(
                    f"order.{node}",
                    f"{node} has taken orders {taken[node]}, and the ledger ends at {state.sequence}: it was set back, "
                    "or another installation gave them. Remove orders.json in the node's home, and start it again.",
                )
            elif node not in self._sending and not taken.get(node) == state.sequence == self._sent.get(node):
                due.append(node)
        for node, whole in orders_of(state, due).items():
            self._sending[node] = asyncio.create_task(self._send(node, whole))

    async def _send(self, node: str, sent: NodeOrders) -> None:
        try:
            async with asyncio.timeout(ORDER_TIMEOUT_S):
                await self._fleet.order(sent)
        except (TimeoutError, Unreachable) as error:
            self._fails(f"order.{node}", str(error) or "no answer in time")
        else:
            self._sent[node] = sent.version
            self._works(f"order.{node}")
        finally:
            del self._sending[node]

    def _fails(self, what: str, reason: str) -> None:
        """Log a failure once, until it is over or another."""
        if self._failed.get(what) != reason:
            self._failed[what] = reason
            self._journal.record("error", "fleet.round_failed", where=what, reason=reason)

    def _works(self, what: str) -> None:
        if self._failed.pop(what, None) is not None:
            self._journal.record("info", "fleet.round_works", where=what)
