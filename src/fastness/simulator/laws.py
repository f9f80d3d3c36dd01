"""The laws, looked at in every event of a simulation. What is broken says which law, where, when, and with which seed.

They look at what really happens (which process is on which device, which answer is cut), not at what is reported.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping
from typing import Final

from fastness.core import fleet_event as events
from fastness.core.desired import Needs
from fastness.core.fleet_event import FleetEvent, Part
from fastness.core.fleet_state import FleetState, NodeWish, Phase
from fastness.core.marking import Lattice
from fastness.core.node import DeviceKind, FleetNode
from fastness.fleet.simulated import Cause, Change, Step
from fastness.simulator import oracle
from fastness.simulator.clock import clock_ms
from fastness.simulator.engine import Engine
from fastness.simulator.request import End, Request
from fastness.simulator.routes import Route

LAWS: Final[Mapping[str, tuple[int, str]]] = {
    "not cleared": (4, "a request or replica stands where marking, jurisdiction or its needs forbid it"),
    "not one end": (6, "a request ended twice, or never"),
    "over-allocation": (7, "a device or a node's memory is held twice, by processes or by decisions"),
    "share not given back": (7, "an owner below its guarantee waits for devices that others borrow"),
    "routed unready": (8, "a request is sent to a replica that has not been ready for more than a second"),
    "cut before its deadline": (8, "orders end a replica with answers under way, before its drain deadline"),
    "not fenced": (8, "an engine runs that was removed, or on a node that has heard nobody for longer than its lease"),
    "state is not its events": (9, "the state after a restart is not the fold of the events"),
    "serving stopped": (9, "an engine is ended, or a request starved, though nothing but control is away"),
    "mass eviction": (9, "many nodes are silent at once, and the control plane evicts"),
    "no reason": (10, "a deployment lacks replicas, and nothing says why"),
    "substituted": (11, "an answer goes on with another model than it began with"),
    "beyond a bound": (13, "more than a bound allows: engines' slots, queues, replicas, decisions"),
    "slot lost": (13, "a gateway counts answers on a replica that do not run"),
    "not converged": (0, "faults are over for long, and what is wanted is not ready"),
}
"""Every way to break a law: the number of the law (0: none of DESIGN's, but what they are for), and what it means."""

ROUTED_UNREADY_S: Final = 1.0
PLACEMENTS_PER_HOUR_MAX: Final = 120
"""Placements of one deployment in an hour; more is flapping."""
SHARE_GRACE_S: Final = 120.0
"""Beside the drain deadline: for plans, orders, the end of engines, and reports of it."""


class Broken(Exception):  # noqa: N818 - an outcome
    """A law was broken."""

    def __init__(self, rule: str, where: str, at_s: float, seed: int, detail: str = "") -> None:
        self.rule, self.where, self.at_s, self.seed, self.detail = rule, where, at_s, seed, detail
        self.law = LAWS[rule][0]
        law = f"law {self.law}" if self.law else "convergence"
        more = f" ({detail})" if detail else ""
        super().__init__(f"{law}: {rule} on {where} at t={at_s:.1f} s, seed {seed}{more}")


class Laws:
    """See the module. `offers` are the nodes, `now_s` the world's clock."""

    def __init__(
        self, seed: int, offers: Mapping[str, FleetNode], lattice: Lattice, now_s: Callable[[], float]
    ) -> None:
        self.seed, self._offers, self._lattice, self._now_s = seed, offers, lattice, now_s
        self.checks = 0
        self._holders: dict[tuple[str, str], str] = {}
        self._memory: Counter[str] = Counter()
        self._down: dict[str, float] = {}
        """Since when a replica that has begun is not ready."""
        self._placed: defaultdict[str, list[float]] = defaultdict(list)

    def broken(self, rule: str, where: str, detail: str = "") -> Broken:
        """Return the violation, to be raised."""
        return Broken(rule, where, self._now_s(), self.seed, detail)

    def engine(self, change: Change, state: FleetState) -> None:
        """An engine made a step: no device is used twice, and nothing runs that was removed."""
        self.checks += 1
        assignment, node = change.assignment, change.node
        replica = assignment.replica
        if change.step is Step.BEGAN:
            if replica not in state.replicas:
                raise self.broken("not fenced", node, f"{replica} begins, and was removed")
            for device in assignment.part.devices:
                if holder := self._holders.get((node, device)):
                    raise self.broken("over-allocation", node, f"{replica} begins on {device}, which {holder} uses")
                self._holders[node, device] = replica
            self._down.setdefault(replica, change.at_s)
            self._use(change, 1)
        elif change.step is Step.GONE:
            for device in assignment.part.devices:
                self._holders.pop((node, device), None)
            self._use(change, -1)
        elif change.step is Step.UNREADY:
            self._down.setdefault(replica, change.at_s)
            if change.cause is Cause.LEASE and replica not in state.replicas:
                self._down.pop(replica)

    def ready(self, replica: str) -> None:
        """All parts of a replica are ready, and within reach."""
        self._down.pop(replica, None)

    def out_of_reach(self, replica: str) -> None:
        """A replica cannot be reached any more."""
        self._down.setdefault(replica, self._now_s())

    def lives(self, node: str) -> tuple[str, ...]:
        """The replicas whose processes are on a node."""
        return tuple(sorted({holder for (where, _), holder in self._holders.items() if where == node}))

    def fenced(self, node: str) -> None:
        """A node has heard nobody for longer than its lease."""
        self.checks += 1
        if lives := self.lives(node):
            raise self.broken("not fenced", node, f"{lives[0]} still runs, isolated for longer than its lease")

    def cut(self, change: Change, state: FleetState, answers: int, deaf: bool) -> None:
        """A replica serves no more, with so many answers under way."""
        self.checks += 1
        if change.cause is Cause.LEASE and not deaf:
            raise self.broken("serving stopped", change.node, f"{change.assignment.replica} ended by its lease")
        if change.cause is not Cause.ORDERS:
            return
        one = state.replicas.get(change.assignment.replica)
        if one is not None and one.phase is Phase.PLACED:
            raise self.broken("cut before its deadline", change.node, f"orders end {one.id}, which is wanted")
        if not answers:
            return
        if one is None or one.phase is Phase.LOST or not one.deadline_ms:
            lost = one is not None and one.phase in (Phase.LOST, Phase.STOPPING) and not one.deadline_ms
            if not lost:
                raise self.broken("cut before its deadline", change.node, f"{answers} answers of a replica not drained")
            return
        if clock_ms(change.at_s) < one.deadline_ms:
            left_s = (one.deadline_ms - clock_ms(change.at_s)) / 1_000
            what = f"{answers} answers of {one.id}, {left_s:.1f} s before the deadline"
            raise self.broken("cut before its deadline", change.node, what)

    def sent(self, request: Request, route: Route, engine: Engine | None, in_flight: int) -> None:
        """A request is sent to a replica that is cleared and ready, has a slot free, and the model of its beginning.

        `in_flight` is what all gateways together have there, with this one.
        """
        self.checks += 1
        where = ", ".join(route.nodes)
        for ceiling in route.ceilings:
            if not self._lattice.dominates(ceiling, request.asked.label):
                raise self.broken("not cleared", where, f"{request.asked.label} sent, the node is cleared to {ceiling}")
        if request.digest and route.digest != request.digest:
            raise self.broken("substituted", where, f"request {request.number} goes on with another model")
        since_s = self._down.get(route.replica)
        if since_s is not None and self._now_s() - since_s > ROUTED_UNREADY_S:
            late_s = self._now_s() - since_s
            raise self.broken("routed unready", where, f"{route.replica} has not been ready for {late_s:.1f} s")
        if in_flight > route.slots:
            raise self.broken(
                "beyond a bound", where, f"{in_flight} answers for {route.slots} slots of {route.replica}"
            )
        if engine is not None and not engine.is_within_bounds:
            raise self.broken("beyond a bound", where, f"{engine.runs} answers on {route.replica}")

    def ended(self, request: Request, end: End) -> None:
        """A request ends: for the first time."""
        self.checks += 1
        request.ends += 1
        if request.ends > 1:
            what = f"request {request.number} ended as {request.end}, then as {end}"
            raise self.broken("not one end", request.gateway, what)

    def decided(self, event: FleetEvent, before: FleetState, after: FleetState, silent: frozenset[str]) -> None:
        """Something was decided: it is allowed, whatever brought it about. `silent` nodes cannot reach control."""
        self.checks += 1
        if isinstance(event, events.ReplicaPlaced):
            self._check_placed(event, before, after)
        elif isinstance(event, events.NodeLost):
            self._check_lost(event, before, silent)

    def _check_lost(self, event: events.NodeLost, before: FleetState, silent: frozenset[str]) -> None:
        """Those that were given up before are no reason to doubt."""
        wish = before.nodes.get(event.node)
        if wish is not None and wish.draining:
            return  # who drains a silent node says that it is gone
        living = {name for name in self._offers if name not in before.nodes or not before.nodes[name].lost}
        if len(self._offers) >= 3 and len(living & silent) > 0.5 * len(living) and len(living & silent) > 1:
            many = f"{len(living & silent)} of {len(living)} nodes are silent"
            raise self.broken("mass eviction", event.node, many)

    def _check_placed(self, event: events.ReplicaPlaced, before: FleetState, after: FleetState) -> None:
        deployed = after.deployments[event.deployment]
        needs = deployed.revisions[event.revision].needs
        if len({part.node for part in event.parts}) != needs.nodes:
            raise self.broken("not cleared", event.replica, f"{len(event.parts)} nodes, not {needs.nodes}")
        for part in event.parts:
            self._check_part(event.replica, part, needs, before, after)
        if needs.apart:
            self._check_apart(event, before)
        at_s = self._now_s()
        recent = self._placed[event.deployment] = [one for one in self._placed[event.deployment] if one > at_s - 3_600]
        recent.append(at_s)
        there = sum(one.phase is Phase.PLACED for one in after.of(event.deployment))
        if there > 2 * max(deployed.replicas, 1) + max(1, deployed.spec.rollout.surge):
            raise self.broken("beyond a bound", event.deployment, f"{there} replicas, {deployed.replicas} are wanted")
        if len(recent) > PLACEMENTS_PER_HOUR_MAX:
            raise self.broken("beyond a bound", event.deployment, f"{len(recent)} placements within an hour")

    def _check_part(self, replica: str, part: Part, needs: Needs, before: FleetState, after: FleetState) -> None:
        node, wish = self._offers[part.node], before.nodes.get(part.node, NodeWish())
        if why := oracle.unfit(needs, node, wish, self._lattice) or oracle.unfit_part(needs, node, part):
            raise self.broken("not cleared", part.node, f"{replica} was placed there; {why}")
        for device in part.devices:
            if holder := self._holders.get((part.node, device)):
                what = f"{replica} was placed on {device}, where {holder} still runs"
                raise self.broken("over-allocation", part.node, what)
        if wish.cordoned or wish.lost:
            raise self.broken("not cleared", part.node, f"{replica} was placed there; it is closed")
        if (held := oracle.node_bytes(after, node)) > node.memory_bytes:
            raise self.broken("over-allocation", part.node, f"{held} of {node.memory_bytes} bytes")

    def _check_apart(self, event: events.ReplicaPlaced, before: FleetState) -> None:
        domains = {self._domain(part.node) for part in event.parts}
        for other in before.of(event.deployment):
            if other.phase is Phase.PLACED and domains & {self._domain(part.node) for part in other.parts}:
                raise self.broken("not cleared", event.parts[0].node, f"{event.replica} is not apart from {other.id}")

    def _domain(self, node: str) -> str:
        return self._offers[node].domain or node

    def _use(self, change: Change, sign: int) -> None:
        node, part = self._offers[change.node], change.assignment.part
        slots = {one.id for one in node.devices if one.kind is DeviceKind.CPU}
        held = change.assignment.spec.needs.device_bytes * len(slots.intersection(part.devices))
        self._memory[node.name] += sign * held
        if self._memory[node.name] > node.memory_bytes:
            what = f"engines take {self._memory[node.name]} of {node.memory_bytes} bytes"
            raise self.broken("over-allocation", node.name, what)
