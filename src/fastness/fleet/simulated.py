"""Nodes in virtual time, which obey orders as real ones do, and can be broken. Pure: the caller says what time it is.

A node keeps its last orders on its disk, starts what they name once the devices are free, and ends what they do not
name. An engine that dies is started again after a growing wait, by the same rule as a real one. A node that hears
nobody for its lease ends its engines: it cannot know whether they were placed elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from heapq import heappop, heappush
from itertools import count

from fastness.core.node import FleetNode
from fastness.core.observation import Assignment, NodeOrders, NodeReport
from fastness.core.replica import Replica, ReplicaState
from fastness.fleet.simulated_steps import FOREVER_S, SOUND, Cause, Change, Manner, NodePace, Step

__all__ = ["FOREVER_S", "SOUND", "Cause", "Change", "Manner", "NodePace", "SimulatedFleet", "SimulatedNodes", "Step"]


@dataclass(eq=False, slots=True)
class _Kept:
    """One replica that a node keeps up. `alive`: its process is there and holds the devices; `ending`: not for long.

    `then` is what happens to it next by itself; `turn` tells the wake-up for that from those that came to nothing.
    """

    assignment: Assignment
    state: ReplicaState = ReplicaState.STARTING
    alive: bool = False
    ending: bool = False
    ordered: bool = True
    hung: bool = False
    failures: int = 0
    since_s: float = 0.0
    turn: int = 0
    then: Callable[[float, _Node, _Kept], None] | None = None

    @property
    def is_ready(self) -> bool:
        """Whether it serves, as far as its node knows."""
        return self.alive and not self.ending and self.state in (ReplicaState.READY, ReplicaState.DRAINING)


@dataclass(eq=False, slots=True)
class _Node:
    """`epochs` and `orders` are on its disk; so is what its engines loaded (`loaded`, digests)."""

    offer: FleetNode
    orders: NodeOrders
    on: bool = True
    deaf_since_s: float | None = None
    fenced: bool = False
    kept: dict[str, _Kept] = field(default_factory=dict)
    epochs: dict[str, int] = field(default_factory=dict)
    loaded: set[str] = field(default_factory=set)
    told: tuple[Replica, ...] | None = None


def _plain_start_s(_: Assignment, loaded: bool) -> float:
    return 1.0 if loaded else 3.0


class SimulatedNodes:
    """See the module. `start_s` tells how long an engine takes to be ready; True: the node has loaded it before.

    `on_change` is called with every step of an engine as it happens. `manners` are by replica, by deployment and
    revision as `name@1`, and by node; the first that is there counts.
    """

    def __init__(
        self,
        nodes: Iterable[FleetNode],
        pace: NodePace | None = None,
        start_s: Callable[[Assignment, bool], float] = _plain_start_s,
        on_change: Callable[[Change], None] = lambda _: None,
    ) -> None:
        self._nodes = {one.name: _Node(one, NodeOrders(one.name, 0)) for one in nodes}
        self._pace, self._start_s, self._on_change = pace or NodePace(), start_s, on_change
        self._wakes: list[tuple[float, int, str, str]] = []
        self._numbers = count(1)
        self.manners: dict[str, Manner] = {}

    @property
    def names(self) -> tuple[str, ...]:
        """The names of all nodes."""
        return tuple(self._nodes)

    def is_on(self, node: str) -> bool:
        """Whether it has power; raises KeyError."""
        return self._nodes[node].on

    def orders(self, node: str) -> NodeOrders:
        """The orders that a node obeys; raises KeyError."""
        return self._nodes[node].orders

    def due_s(self) -> float | None:
        """When something happens next by itself; None: nothing does."""
        while self._wakes and not self._is_valid(self._wakes[0]):
            heappop(self._wakes)
        return self._wakes[0][0] if self._wakes else None

    def advance(self, now_s: float) -> None:
        """Let everything happen that is due."""
        while (due := self.due_s()) is not None and due <= now_s:
            at_s, _, name, replica = heappop(self._wakes)
            node = self._nodes[name]
            if not replica:
                self._fence(at_s, node)
                continue
            one = node.kept[replica]
            then, one.turn = one.then, 0
            assert then
            then(at_s, node, one)

    def order(self, now_s: float, orders: NodeOrders) -> bool:
        """Deliver orders to a node; tell whether it obeys them: it has power, and knows of none that are newer."""
        node = self._nodes[orders.node]
        if not node.on or not self.accepts(node.orders, orders):
            return False
        node.orders, node.fenced = orders, False
        self._obey(now_s, node)
        return True

    def accepts(self, known: NodeOrders, orders: NodeOrders) -> bool:
        """The rule of versions; a test puts another in its place."""
        return orders.version >= known.version

    def report(self, name: str, at_ms: int) -> NodeReport:
        """Return what a node says of itself now; raises KeyError."""
        node = self._nodes[name]
        if node.told is None:
            node.told = tuple(self._replica(node, one) for one in node.kept.values())
        return NodeReport(node.offer, at_ms, node.orders.version, node.told)

    def power_off(self, now_s: float, name: str) -> None:
        """Everything on it is gone at once; what is on its disk stays."""
        node = self._nodes[name]
        node.on, node.deaf_since_s = False, None
        for one in tuple(node.kept.values()):
            self._lose(now_s, node, one, Cause.POWER)
        node.kept.clear()
        node.told = None

    def power_on(self, now_s: float, name: str) -> None:
        """It starts what its last orders say."""
        node = self._nodes[name]
        node.on, node.fenced = True, False
        self._obey(now_s, node)

    def deafen(self, now_s: float, name: str) -> None:
        """It hears nobody any more; when its lease is over it ends its engines."""
        self._nodes[name].deaf_since_s = now_s
        heappush(self._wakes, (now_s + self._pace.lease_s, next(self._numbers), name, ""))

    def hear(self, name: str) -> None:
        """It hears others again. What its lease ended is begun again when it gets orders."""
        self._nodes[name].deaf_since_s = None

    def crash(self, now_s: float, name: str, replica: str) -> bool:
        """The engine's process dies; tell whether there was one."""
        node = self._nodes[name]
        one = node.kept.get(replica)
        if one is None or not one.alive:
            return False
        self._die(now_s, node, one)
        return True

    def hang(self, now_s: float, name: str, replica: str) -> bool:
        """A ready engine answers nothing any more, until that is found; tell whether it was ready."""
        node = self._nodes[name]
        one = node.kept.get(replica)
        if one is None or not one.is_ready or one.hung:
            return False
        one.hung = True
        self._tell(now_s, node, one, Step.HUNG, Cause.HANG)
        self._later(now_s + self._pace.hang_found_s, node, one, self._be_found)
        return True

    def close(self, now_s: float) -> None:
        """End every engine at once."""
        for node in self._nodes.values():
            node.orders = NodeOrders(node.offer.name, node.orders.version)
            self._obey(now_s, node)

    def _obey(self, now_s: float, node: _Node) -> None:
        wanted = {} if node.fenced else {one.replica: one for one in node.orders.assignments}
        node.told = None
        for replica, one in tuple(node.kept.items()):
            assignment = wanted.get(replica)
            one.ordered = assignment is not None and assignment.term == one.assignment.term
            if assignment is not None and one.ordered:
                one.assignment = assignment
                if one.is_ready:
                    one.state = ReplicaState.READY if assignment.routed else ReplicaState.DRAINING
            elif one.alive:
                self._end(now_s, node, one, Cause.ORDERS)
            else:
                del node.kept[replica]
        for replica, assignment in wanted.items():
            if replica not in node.kept:
                node.kept[replica] = _Kept(assignment, since_s=now_s)
        self._begin_those_that_can(now_s, node)

    def _begin_those_that_can(self, now_s: float, node: _Node) -> None:
        """An engine begins when no other is on its devices, and its wait after a failure is over."""
        if not node.on or node.fenced:
            return
        used = {device for one in node.kept.values() if one.alive for device in one.assignment.part.devices}
        for one in node.kept.values():
            if not one.alive and one.state is ReplicaState.STARTING and used.isdisjoint(one.assignment.part.devices):
                used.update(one.assignment.part.devices)
                self._begin(now_s, node, one)

    def _begin(self, now_s: float, node: _Node, one: _Kept) -> None:
        replica, spec, pace = one.assignment.replica, one.assignment.spec, self._pace
        node.epochs[replica] = node.epochs.get(replica, 0) + 1
        one.alive, one.since_s, node.told = True, now_s, None
        self._tell(now_s, node, one, Step.BEGAN, Cause.ORDERS)
        manner = self._manner(node, one)
        ready_s = self._start_s(one.assignment, spec.model_digest in node.loaded) * manner.slow
        if manner.lives_s < min(ready_s, pace.start_timeout_s):
            self._later(now_s + manner.lives_s, node, one, self._die)
        elif ready_s <= pace.start_timeout_s:
            self._later(now_s + ready_s, node, one, self._become_ready)
        else:
            self._later(now_s + pace.start_timeout_s, node, one, self._be_late)

    def _become_ready(self, now_s: float, node: _Node, one: _Kept) -> None:
        node.loaded.add(one.assignment.spec.model_digest)
        self._set(now_s, node, one, ReplicaState.READY if one.assignment.routed else ReplicaState.DRAINING)
        self._tell(now_s, node, one, Step.READY, Cause.ORDERS)
        if (lives_s := self._manner(node, one).lives_s) < FOREVER_S:
            self._later(now_s + lives_s, node, one, self._die)

    def _die(self, now_s: float, node: _Node, one: _Kept) -> None:
        self._lose(now_s, node, one, Cause.CRASH)
        self._after(now_s, node, one)

    def _be_late(self, now_s: float, node: _Node, one: _Kept) -> None:
        self._end(now_s, node, one, Cause.LATE)

    def _be_found(self, now_s: float, node: _Node, one: _Kept) -> None:
        self._end(now_s, node, one, Cause.HANG)

    def _begin_again(self, now_s: float, node: _Node, one: _Kept) -> None:
        self._set(now_s, node, one, ReplicaState.STARTING)
        self._begin_those_that_can(now_s, node)

    def _end(self, now_s: float, node: _Node, one: _Kept, cause: Cause) -> None:
        """Tell a process to end. It serves no more from now on, and is gone a little later."""
        ready = one.is_ready
        self._set(now_s, node, one, ReplicaState.BACKING_OFF if one.ordered else ReplicaState.DRAINING)
        if one.ending:
            return
        one.ending = True
        if ready:
            self._tell(now_s, node, one, Step.UNREADY, cause)
        self._later(now_s + self._pace.stop_s, node, one, self._be_gone)

    def _be_gone(self, now_s: float, node: _Node, one: _Kept) -> None:
        one.alive = one.ending = one.hung = False
        one.failures = self._pace.backoff.failures_after(one.failures, 0.0)
        self._tell(now_s, node, one, Step.GONE, Cause.ORDERS)
        self._after(now_s, node, one)

    def _lose(self, now_s: float, node: _Node, one: _Kept, cause: Cause) -> None:
        """A process dies of itself."""
        if not one.alive:
            return
        ready, ran_s = one.is_ready, now_s - one.since_s
        one.alive = one.ending = one.hung = False
        one.turn = 0
        one.failures = self._pace.backoff.failures_after(one.failures, ran_s if ready else 0.0)
        self._set(now_s, node, one, ReplicaState.BACKING_OFF)
        if ready:
            self._tell(now_s, node, one, Step.UNREADY, cause)
        self._tell(now_s, node, one, Step.GONE, cause)

    def _after(self, now_s: float, node: _Node, one: _Kept) -> None:
        """Its devices are free: whoever waits for them may begin. It comes back itself if it is still wanted."""
        node.told = None
        replica = one.assignment.replica
        if one.ordered:
            self._set(now_s, node, one, ReplicaState.BACKING_OFF)
            self._later(now_s + self._pace.backoff.delay_s(max(1, one.failures)), node, one, self._begin_again)
            self._begin_those_that_can(now_s, node)
        else:
            del node.kept[replica]
            self._obey(now_s, node)  # it may have been ordered anew while it ended

    def _fence(self, now_s: float, node: _Node) -> None:
        """Its lease is over: what it runs may be placed elsewhere by now."""
        if node.deaf_since_s is None or now_s < node.deaf_since_s + self._pace.lease_s or not node.on:
            return
        node.fenced, node.told = True, None
        for replica, one in tuple(node.kept.items()):
            one.ordered = False
            if one.alive:
                self._end(now_s, node, one, Cause.LEASE)
            else:
                del node.kept[replica]

    def _is_valid(self, wake: tuple[float, int, str, str]) -> bool:
        _, turn, name, replica = wake
        if not replica:
            return True
        one = self._nodes[name].kept.get(replica)
        return one is not None and one.turn == turn

    def _manner(self, node: _Node, one: _Kept) -> Manner:
        assignment = one.assignment
        for key in (assignment.replica, f"{assignment.spec.name}@{assignment.revision}", node.offer.name):
            if key in self.manners:
                return self.manners[key]
        return SOUND

    def _later(self, at_s: float, node: _Node, one: _Kept, then: Callable[[float, _Node, _Kept], None]) -> None:
        one.turn, one.then = next(self._numbers), then
        heappush(self._wakes, (at_s, one.turn, node.offer.name, one.assignment.replica))

    def _set(self, now_s: float, node: _Node, one: _Kept, state: ReplicaState) -> None:
        node.told = None
        if state is not one.state:
            one.state, one.since_s = state, now_s

    def _tell(self, now_s: float, node: _Node, one: _Kept, step: Step, cause: Cause) -> None:
        epoch = node.epochs[one.assignment.replica]
        self._on_change(Change(now_s, node.offer.name, one.assignment, epoch, step, cause))

    def _replica(self, node: _Node, one: _Kept) -> Replica:
        assignment, name = one.assignment, node.offer.name
        epoch = node.epochs.get(assignment.replica, 0)
        return replace(
            assignment.as_replica(one.state),
            socket=f"simulated/{name}/{assignment.replica}",
            epoch=epoch,
            restarts=max(0, epoch - 1),
            since_s=one.since_s,
            memory_bytes=assignment.spec.needs.device_bytes * len(assignment.part.devices) if one.alive else None,
        )


class SimulatedFleet:
    """The fleet port on simulated nodes, all of them within reach. `now_s` is the virtual time."""

    def __init__(self, nodes: SimulatedNodes, now_s: Callable[[], float]) -> None:
        self._nodes, self._now_s = nodes, now_s
        self._last: dict[str, NodeReport] = {}

    async def observe(self) -> tuple[NodeReport, ...]:
        """See Fleet."""
        self._nodes.advance(self._now_s())
        for name in self._nodes.names:
            if self._nodes.is_on(name):
                self._last[name] = self._nodes.report(name, int(self._now_s() * 1_000))
        return tuple(self._last.values())

    async def order(self, orders: NodeOrders) -> None:
        """See Fleet."""
        self._nodes.advance(self._now_s())
        self._nodes.order(self._now_s(), orders)

    async def close(self) -> None:
        """See Fleet."""
        self._nodes.close(self._now_s())
