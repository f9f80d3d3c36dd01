"""The control plane in virtual time: observe, plan, fold, send orders. The decisions are the production ones.

What is left out is the ledger: the events are a list, which is all that is left after a restart.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, Protocol

from fastness.core.fleet_event import FleetEvent
from fastness.core.fleet_state import FleetState, Impossible, Phase, apply, fold
from fastness.core.observation import GatewayReport, NodeOrders, NodeReport, Observation
from fastness.scheduling.filters import Clears
from fastness.scheduling.orders import orders
from fastness.scheduling.plan import Pending, Plan, PlanBounds, PlanMemory, plan
from fastness.simulator.clock import clock_ms
from fastness.simulator.command import Command, events_of


@dataclass(frozen=True, slots=True)
class ControlRules:
    """The decisions that the control plane makes; a mutant puts others in their place."""

    plan: Callable[[FleetState, Observation, PlanMemory, int, PlanBounds, Clears], Plan] = plan
    orders: Callable[[FleetState, str], NodeOrders] = orders
    bounds: PlanBounds = field(default_factory=PlanBounds)
    restore: Callable[[Iterable[FleetEvent]], FleetState] = fold


class Site(Protocol):
    """What the control plane needs of the world around it."""

    def node_reports(self) -> tuple[NodeReport, ...]:
        """The last report of each node that was heard of."""
        ...

    def gateway_reports(self) -> tuple[GatewayReport, ...]:
        """The last report of each gateway that is not silent for good."""
        ...

    def post(self, orders: NodeOrders) -> None:
        """Send orders on their way."""
        ...

    def decided(self, event: FleetEvent, before: FleetState, after: FleetState) -> None:
        """Hear of each event, once it counts."""
        ...

    def misfolded(self) -> None:
        """Hear that the state after a restart is another than before."""
        ...

    def impossible(self, event: FleetEvent, why: str) -> None:
        """Hear that an event was decided that the state refuses."""
        ...


class SimulatedControl:
    """See the module."""

    def __init__(self, site: Site, now_s: Callable[[], float], rules: ControlRules, clears: Clears) -> None:
        self._site, self._now_s, self._rules, self._clears = site, now_s, rules, clears
        self.state = FleetState()
        self.log: list[FleetEvent] = []
        self.memory = PlanMemory()
        self.pending: tuple[Pending, ...] = ()
        self.up = True
        self.paused = False
        self.plans = 0
        self._told: dict[str, tuple[int, float]] = {}

    @property
    def drains(self) -> bool:
        """Whether it waits for answers to end."""
        return any(one.phase is Phase.DRAINING for one in self.state.replicas.values())

    def next_deadline_s(self) -> float | None:
        """When the next drain is over at the latest, on the world's clock; None: nothing drains."""
        deadlines = [one.deadline_ms for one in self.state.replicas.values() if one.phase is Phase.DRAINING]
        return (min(deadlines) - clock_ms(0.0)) / 1_000 + 0.001 if deadlines else None

    def tell_again(self, node: str) -> None:
        """A node may have missed its orders."""
        self._told.pop(node, None)

    def ask(self, command: Command) -> None:
        """Take a command. One that comes while nobody is there to take it is lost: its author sees an error."""
        if self.up and not self.paused:
            self._decide(events_of(self.state, command))

    def step(self, torn_after: int | None = None) -> Plan | None:
        """Go once round: observe, plan, record, send. `torn_after`: it dies when so many events are recorded."""
        if not self.up or self.paused:
            return None
        seen = Observation(self.now_ms(), self._site.node_reports(), self._site.gateway_reports())
        made = self._rules.plan(self.state, seen, self.memory, self.now_ms(), self._rules.bounds, self._clears)
        self.plans += 1
        self._decide(made.events if torn_after is None else made.events[:torn_after])
        if torn_after is not None:
            self.die()
            return None
        self.memory, self.pending = made.memory, made.pending
        self._send(seen.nodes)
        return made

    def die(self) -> None:
        """Everything but the log is lost."""
        self.up = False

    def restart(self) -> None:
        """Fold what the log has; remember nothing else."""
        before = self.state
        self.up, self.paused = True, False
        self.state = self._rules.restore(self.log)
        self.memory, self.pending = PlanMemory(), ()
        self._told.clear()
        if self.state != before:
            self._site.misfolded()

    def now_ms(self) -> int:
        """Its clock."""
        return clock_ms(self._now_s())

    def _decide(self, events: Iterable[FleetEvent]) -> None:
        for event in events:
            before = self.state
            try:
                self.state = apply(before, event)
            except Impossible as error:
                self._site.impossible(event, str(error))
                raise
            self.log.append(event)
            self._site.decided(event, before, self.state)

    def _send(self, reports: Iterable[NodeReport]) -> None:
        """Send to whoever does not say that it obeys the newest orders, at most once in two seconds the same."""
        sequence, now_s = self.state.sequence, self._now_s()
        for report in reports:
            name = report.node.name
            version, at_s = self._told.get(name, (-1, 0.0))
            if version == sequence and (report.version >= sequence or now_s < at_s + 2.0):
                continue
            self._told[name] = sequence, now_s
            self._site.post(self._rules.orders(self.state, name))


def where(event: Any) -> str:
    """Which node or replica an event is about, for a message."""
    if parts := getattr(event, "parts", None):
        return ", ".join(part.node for part in parts)
    return getattr(event, "node", "") or getattr(event, "replica", "") or getattr(event, "deployment", "") or "control"
