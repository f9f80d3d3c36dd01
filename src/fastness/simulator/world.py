"""The world: simulated nodes, engines and gateways around the production decisions, in virtual time.

One heap of what happens next; nothing happens between two events. Everything random comes from the scenario's seed, so
the same scenario is the same world again. The laws are looked at in each event, and the first that is broken ends it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from heapq import heappop, heappush
from itertools import count
from random import Random
from typing import Final

from fastness.core.desired import DeploymentSpec
from fastness.core.fleet_event import FleetEvent
from fastness.core.fleet_state import FleetState
from fastness.core.gateways import gateway_names
from fastness.core.marking import Lattice
from fastness.core.observation import Assignment, GatewayReport, NodeOrders, NodeReport
from fastness.fleet.simulated import Change, SimulatedNodes
from fastness.simulator.clock import clock_ms
from fastness.simulator.command import Command
from fastness.simulator.control import ControlRules, SimulatedControl, where
from fastness.simulator.engine import EnginePace, Run
from fastness.simulator.gateway import SimulatedGateway, TrafficRules
from fastness.simulator.laws import Laws
from fastness.simulator.links import Links
from fastness.simulator.plan_laws import PlanLaws
from fastness.simulator.request import Asked, End, Request
from fastness.simulator.routes import Route, routes
from fastness.simulator.scenario import PROFILE, Scenario
from fastness.simulator.serving import Serving
from fastness.simulator.story import Story
from fastness.traffic.portion import portion_of

ROUTE_S: Final = 0.02
"""From a change on a node to the gateways' new snapshot."""
ORDER_S: Final = 0.05
"""From the control plane to a node."""
TICK_S: Final = 1.0
"""Between two plans while anything is under way."""
IDLE_TICK_S: Final = 30.0
"""Between two plans while nothing changes. A real one plans as often as ever, and nothing else would come of it."""
UNFINISHED_S: Final = 1_800.0
"""A request that is older than that should have ended, whatever happened to it."""
BUSY_TICKS: Final = 7
GATEWAY_SILENT_S: Final = 10.0
"""A gateway that was not heard of for so long is none."""


@dataclass(frozen=True, slots=True)
class Rules:
    """All decisions that are looked at; the production ones unless a mutant changes one."""

    control: ControlRules = field(default_factory=ControlRules)
    traffic: TrafficRules = field(default_factory=TrafficRules)
    gateway: type[SimulatedGateway] = SimulatedGateway
    nodes: type[SimulatedNodes] = SimulatedNodes
    lease_needs_control: bool = False
    """Whether a node takes the absence of the control plane alone for isolation."""


class World:
    """See the module. `run` plays the scenario to its end; raises Broken."""

    def __init__(self, scenario: Scenario, rules: Rules | None = None, story: Story | None = None) -> None:
        rules = rules or Rules()
        self.scenario, self.rules, self.story = scenario, rules, story or Story()
        self.now_s = 0.0
        self.dice = Random(f"{scenario.seed}/world")  # noqa: S311 - a simulation
        self.lattice = Lattice(PROFILE)
        self.offers = {one.name: one for one in scenario.nodes}
        self.laws = Laws(scenario.seed, self.offers, self.lattice, lambda: self.now_s)
        self.plan_laws = PlanLaws(self.offers, self.lattice, self.laws.broken)
        self.nodes = rules.nodes(scenario.nodes, scenario.node_pace, self._start_s, self._on_change)
        self.control = SimulatedControl(self, lambda: self.now_s, rules.control, self.lattice.dominates)
        self.gateways = {name: self.new_gateway(name) for name in gateway_names(scenario.gateways)}
        self.links = Links(self)
        self.serving = Serving(self)
        self.requests = 0
        self.events = 0
        self._numbers = count()
        self._heap: list[tuple[float, int, Callable[[], None]]] = []
        self._asked = iter(scenario.asked)
        self._gateway_reports: dict[str, tuple[float, GatewayReport]] = {}
        self._refreshing = False
        self._tick_at = 0.0
        self._tick_turn = 0
        self._still = 0

    def run(self) -> World:
        """Play to the end."""
        from fastness.simulator.breaking import Breaking

        scenario = self.scenario
        for at_s, command in scenario.commands:
            self.at(at_s, partial(self._command, command))
        breaking = Breaking(self)
        for number, fault in enumerate(scenario.faults):
            self.at(fault.at_s, partial(breaking.begin, fault, number))
        self._draw()
        self.disturb()
        self.advance(scenario.until_s)
        self.story.close(self.now_s, self.control.state)
        self._look_at_the_end()
        return self

    def _look_at_the_end(self) -> None:
        """Every request has its end, and what is wanted is ready if nothing broke for long enough."""
        for gateway in self.gateways.values():
            for request in gateway.under_way():
                if self.now_s > request.asked.at_s + UNFINISHED_S:
                    raise self.laws.broken("not one end", gateway.name, f"request {request.number} never ends")
        if self.scenario.quiet_s:
            self.plan_laws.converged(self)

    def advance(self, until_s: float) -> None:
        """Let everything happen until then."""
        while True:
            own = self._heap[0][0] if self._heap else until_s + 1.0
            due = self.nodes.due_s()
            if due is not None and due <= own:
                if due > until_s:
                    break
                self.now_s = max(self.now_s, due)
                self.nodes.advance(due)
            elif own > until_s:
                break
            else:
                self.now_s, _, act = heappop(self._heap)
                act()
            self.events += 1
        self.now_s = until_s

    def at(self, at_s: float, act: Callable[[], None]) -> None:
        """Have something done later."""
        heappush(self._heap, (max(at_s, self.now_s), next(self._numbers), act))

    def new_gateway(self, name: str) -> SimulatedGateway:
        """A gateway that has just been started and knows nothing."""
        gateway = self.rules.gateway(name, self, lambda: self.now_s, self.rules.traffic)
        gateway.portion = portion_of(name, gateway_names(self.scenario.gateways)) or gateway.portion
        return gateway

    def pace(self, spec: DeploymentSpec) -> EnginePace:
        """How fast the engines of a deployment are."""
        return self.scenario.paces.get(spec.model, self.scenario.pace)

    def disturb(self) -> None:
        """Something changed: the control plane looks again within its usual time, and keeps looking."""
        self._still = 0
        if self._tick_at <= self.now_s or self._tick_at > self.now_s + TICK_S:
            self._tick_later(TICK_S)

    def refresh(self, delay_s: float = ROUTE_S) -> None:
        """Gateways take a new snapshot a little later."""
        if not self._refreshing:
            self._refreshing = True
            self.at(self.now_s + delay_s, self._take_routes)

    # What gateways ask of the world.

    def send(self, request: Request, route: Route, run: Run) -> bool:
        """See gateway.Site."""
        return self.serving.send(request, route, run)

    def recall(self, request: Request) -> None:
        """See gateway.Site."""
        self.serving.recall(request)

    def ended(self, request: Request, end: End) -> None:
        """See gateway.Site."""
        self.laws.ended(request, end)
        if end is End.EXPIRED and (idle := self.serving.idle(request)):
            raise self.laws.broken("serving stopped", idle, f"request {request.number} waited, it idled")
        request.end, request.ended_s = end, self.now_s
        self.story.ended(request)
        if self.control.drains:
            self.disturb()

    # What the control plane asks of the world.

    def node_reports(self) -> tuple[NodeReport, ...]:
        """See control.Site."""
        return self.links.reports()

    def gateway_reports(self) -> tuple[GatewayReport, ...]:
        """See control.Site."""
        for name, gateway in self.gateways.items():
            if gateway.up:
                self._gateway_reports[name] = self.now_s, gateway.report(clock_ms(self.now_s))
        heard = self._gateway_reports.values()
        return tuple(report for at_s, report in heard if at_s > self.now_s - GATEWAY_SILENT_S)

    def post(self, orders: NodeOrders) -> None:
        """See control.Site."""
        self.links.post(orders)

    def decided(self, event: FleetEvent, before: FleetState, after: FleetState) -> None:
        """See control.Site."""
        self.laws.decided(event, before, after, self.links.silent())
        self.story.decided(self.now_s, event, before, self.serving.live)
        self.disturb()

    def misfolded(self) -> None:
        """See control.Site."""
        raise self.laws.broken("state is not its events", "control", f"{len(self.control.log)} events")

    def impossible(self, event: FleetEvent, why: str) -> None:
        """See control.Site."""
        raise self.laws.broken("over-allocation" if "held by" in why else "not fenced", where(event), why)

    def is_sound(self, node: str) -> bool:
        """Whether a node is on, heard by all, and its engines behave."""
        return self.nodes.is_on(node) and self.links.hears_control(node) and node not in self.nodes.manners

    def deliver(self, orders: NodeOrders) -> None:
        """Orders arrive at a node, unless nothing reaches it now."""
        if self.links.hears_control(orders.node) and self.nodes.order(self.now_s, orders):
            self.refresh()

    # What happens.

    def _start_s(self, assignment: Assignment, loaded: bool) -> float:
        pace = self.pace(assignment.spec)
        return pace.warm_start_s if loaded else pace.start_s

    def _draw(self) -> None:
        """Fetch the next request that will come."""
        asked = next(self._asked, None)
        if asked is not None:
            self.at(asked.at_s, lambda: self._arrive(asked))

    def _arrive(self, asked: Asked) -> None:
        self.requests += 1
        open_ones = [one for one in self.gateways.values() if one.up]
        if open_ones:
            gateway = open_ones[self.requests % len(open_ones)]
            request = Request(self.requests, asked, gateway.name)
            self.story.arrived(request)
            gateway.arrive(request)
            if asked.leaves_s and request.end is None:
                self.at(asked.at_s + asked.leaves_s, partial(gateway.cancel, request))
            if request.end is None and not request.replica:
                self.disturb()
        self._draw()

    def _command(self, command: Command) -> None:
        """People try again when nobody takes their command."""
        if self.control.up and not self.control.paused:
            self.story.commanded(self.now_s, command)
            self.control.ask(command)
            self.disturb()
        else:
            self.at(self.now_s + 10.0, lambda: self._command(command))

    def _tick_later(self, delay_s: float) -> None:
        self._tick_turn += 1
        turn, self._tick_at = self._tick_turn, self.now_s + delay_s
        self.at(self._tick_at, lambda: self._tick(turn))

    def _tick(self, turn: int) -> None:
        if turn != self._tick_turn:
            return
        made = self.control.step()
        if made is not None:
            self.plan_laws.planned(self.control.state, made.pending, self.now_s, self.is_sound)
            self.look_at_slots()
        self._still = 0 if made and made.events else self._still + 1
        slow = self._still > BUSY_TICKS
        delay_s = IDLE_TICK_S if slow else TICK_S
        if slow and (deadline_s := self.control.next_deadline_s()) is not None:
            delay_s = max(TICK_S, min(delay_s, deadline_s - self.now_s))
        self._tick_later(delay_s)

    def _take_routes(self) -> None:
        self._refreshing = False
        known = routes(
            (self.nodes.report(name, 0), self.nodes.orders(name))
            for name in self.offers
            if self.nodes.is_on(name) and not self.links.is_lost(name)
        )
        for gateway in self.gateways.values():
            if gateway.up:
                gateway.take(known)
        self.disturb()

    def _on_change(self, change: Change) -> None:
        self.now_s = max(self.now_s, change.at_s)
        self.laws.engine(change, self.control.state)
        self.serving.on_change(change)
        self.refresh()
        self.disturb()

    def look_at_slots(self) -> None:
        """What gateways count on a replica is what runs there for them."""
        for gateway in self.gateways.values():
            if gateway.up and (replica := gateway.miscounted()):
                raise self.laws.broken("slot lost", replica, f"{gateway.name} counts other answers than it has there")
