"""Planted violations: one production decision is replaced by a broken one, and the laws have to find it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from fastness.core import fleet_event as events
from fastness.core.fleet_event import FleetEvent
from fastness.core.fleet_state import FleetState, Phase, fold
from fastness.core.observation import NodeOrders
from fastness.fleet.simulated import SimulatedNodes
from fastness.scheduling.orders import orders
from fastness.scheduling.plan import Plan, PlanBounds, plan
from fastness.simulator.control import ControlRules
from fastness.simulator.faults import Fault, Kind
from fastness.simulator.gateway import SimulatedGateway, TrafficRules
from fastness.simulator.request import End, Request
from fastness.simulator.world import Rules


@dataclass(frozen=True, slots=True)
class Mutant:
    """`rule` is the law that must find it, within the first `seeds_max` seeds, with `faults` beside their own."""

    name: str
    rule: str
    rules: Rules
    seeds_max: int = 60
    faults: tuple[Fault, ...] = ()


def planned(change: Callable[[FleetState, Plan], Plan]) -> Rules:
    """The production plan, and something done to it."""

    def mutated(state, seen, memory, now_ms, bounds, clears) -> Plan:
        return change(state, plan(state, seen, memory, now_ms, bounds, clears))

    return Rules(control=ControlRules(plan=mutated))


def with_events(made: Plan, happened: Iterable[FleetEvent]) -> Plan:
    return replace(made, events=tuple(happened))


def on_a_held_device(state: FleetState, made: Plan) -> Plan:
    """The second replica of a node goes where the first one is."""
    held = {part.node: part for one in state.replicas.values() for part in one.parts}

    def moved(event: FleetEvent) -> FleetEvent:
        if isinstance(event, events.ReplicaPlaced) and event.parts[0].node in held:
            return replace(event, parts=(held[event.parts[0].node], *event.parts[1:]))
        return event

    return with_events(made, map(moved, made.events))


def freed_before_gone(_: FleetState, made: Plan) -> Plan:
    """Devices count as free as soon as a replica is told to end."""
    happened: list[FleetEvent] = []
    for event in made.events:
        happened.append(event)
        if isinstance(event, events.ReplicaStopping):
            happened.append(events.ReplicaRemoved(event.replica, "told to end"))
    gone = {one.replica for one in happened if isinstance(one, events.ReplicaRemoved)}
    late = [one for one in happened if isinstance(one, events.ReplicaDraining) and one.replica in gone]
    return with_events(made, [one for one in happened if one not in late])


def stopped_at_once(only_borrowed: bool) -> Callable[[FleetState, Plan], Plan]:
    def change(state: FleetState, made: Plan) -> Plan:
        happened: list[FleetEvent] = []
        for event in made.events:
            happened.append(event)
            if isinstance(event, events.ReplicaDraining):
                one = state.replicas.get(event.replica)
                if not only_borrowed or (one and one.borrowed and "guaranteed" in event.reason):
                    happened.append(events.ReplicaStopping(event.replica, "no time to drain"))
        return with_events(made, happened)

    return change


def without(kind: type, about: str = "") -> Callable[[FleetState, Plan], Plan]:
    def change(_: FleetState, made: Plan) -> Plan:
        kept = (one for one in made.events if not isinstance(one, kind) or about not in getattr(one, "reason", ""))
        return with_events(made, kept)

    return change


def silent_about_lacks(_: FleetState, made: Plan) -> Plan:
    return replace(made, pending=())


def no_way_down_while_stuck(_: FleetState, made: Plan) -> Plan:
    """What cannot be placed keeps everything else from being taken down."""
    return without(events.ReplicaDraining)(_, made) if made.pending else made


def restless(state: FleetState, made: Plan) -> Plan:
    """Whatever is placed is soon moved."""
    if made.events:
        return made
    placed = [one for one in state.replicas.values() if one.phase is Phase.PLACED]
    drains = (events.ReplicaDraining(one.id, 0, "elsewhere may be better") for one in placed[:1])
    return with_events(made, drains)


def forgets_one(state: FleetState, node: str) -> NodeOrders:
    """The orders of a node lack the last replica that it should have, now and then."""
    whole = orders(state, node)
    return replace(whole, assignments=whole.assignments[:-1]) if state.sequence % 7 == 0 else whole


def never_the_third(state: FleetState, node: str) -> NodeOrders:
    """A replica is never ordered."""
    whole = orders(state, node)
    return replace(whole, assignments=tuple(one for one in whole.assignments if one.term % 5 != 3))


class ObeysOldOrders(SimulatedNodes):
    def accepts(self, known: NodeOrders, ordered: NodeOrders) -> bool:
        return True


class OutlivesItsLease(SimulatedNodes):
    def _fence(self, now_s, node) -> None:
        return


class EndsTwice(SimulatedGateway):
    """A failure is told to the caller, and the request goes on all the same."""

    def _go_on(self, served, request) -> None:
        self._end(served, request, End.ERROR)
        super()._go_on(served, request)


class LosesRequests(SimulatedGateway):
    """Whoever was cut is forgotten."""

    def _go_on(self, served, request: Request) -> None:
        return


class KeepsSlots(SimulatedGateway):
    """A slot is not given back when its client leaves."""

    def cancel(self, request: Request) -> None:
        release, served = None, self._of(request.asked.deployment)
        if request.end is None and self.up and request.replica:
            release = served.queue.release
            served.queue.release = lambda *_, **__: []
        super().cancel(request)
        if release:
            served.queue.release = release


def forgets_the_last(log: list[FleetEvent]) -> FleetState:
    return fold(log[:-1])


LATE_ORDERS = (Fault(300.0, Kind.ORDERS_LATE, for_s=8_000.0, amount=40.0),)
MORTAL_ENGINES = (Fault(100.0, Kind.CRASHES, "100%", for_s=8_000.0, amount=70.0),)
UNGUARDED = PlanBounds(suspicious_part=2.0)

MUTANTS = (
    Mutant("placement ignores what is held", "over-allocation", planned(on_a_held_device)),
    Mutant("devices are free before their engine is gone", "over-allocation", planned(freed_before_gone)),
    Mutant("a drain stops at once", "cut before its deadline", planned(stopped_at_once(False))),
    Mutant("reclaim kills", "cut before its deadline", planned(stopped_at_once(True)), 200),
    Mutant(
        "a borrowed share is never asked back",
        "share not given back",
        planned(without(events.ReplicaDraining, "guaranteed")),
        200,
    ),
    Mutant(
        "orders forget a replica now and then",
        "cut before its deadline",
        Rules(control=ControlRules(orders=forgets_one)),
    ),
    Mutant("a replica is never ordered", "not converged", Rules(control=ControlRules(orders=never_the_third))),
    Mutant("a lost node never returns", "not converged", planned(without(events.NodeReturned))),
    Mutant("what cannot grow cannot shrink", "not converged", planned(no_way_down_while_stuck), 200),
    Mutant("replicas are moved without end", "beyond a bound", planned(restless)),
    Mutant("no reasons", "no reason", planned(silent_about_lacks)),
    Mutant("the guard is off", "mass eviction", Rules(control=ControlRules(bounds=UNGUARDED))),
    Mutant(
        "a restart forgets an event", "state is not its events", Rules(control=ControlRules(restore=forgets_the_last))
    ),
    Mutant("nodes obey old orders", "not fenced", Rules(nodes=ObeysOldOrders), 200, LATE_ORDERS),
    Mutant("an isolated node runs on", "not fenced", Rules(nodes=OutlivesItsLease)),
    Mutant("nodes live by the control plane", "serving stopped", Rules(lease_needs_control=True)),
    Mutant(
        "what is not ready is routed to", "routed unready", Rules(traffic=TrafficRules(is_open=lambda one: one.routed))
    ),
    Mutant("markings are not looked at", "not cleared", Rules(traffic=TrafficRules(clears=lambda *_: True))),
    Mutant(
        "an answer goes on with any model",
        "substituted",
        Rules(traffic=TrafficRules(goes_on=lambda *_: True)),
        200,
        MORTAL_ENGINES,
    ),
    Mutant(
        "a gateway sends more than there are slots",
        "beyond a bound",
        Rules(traffic=TrafficRules(slots=lambda one, _: 4 * one.slots)),
        200,
    ),
    Mutant(
        "gateways know nothing of each other",
        "beyond a bound",
        Rules(traffic=TrafficRules(slots=lambda one, _: one.slots)),
        400,
    ),
    Mutant("a failed request ends and goes on", "not one end", Rules(gateway=EndsTwice)),
    Mutant("a failed request is forgotten", "not one end", Rules(gateway=LosesRequests)),
    Mutant("a slot is lost with its client", "slot lost", Rules(gateway=KeepsSlots)),
)
