"""What is served here and where: the routing snapshot, as the journey uses it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Hashable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from fastness.config import TrafficSettings
from fastness.core.deployment import Deployment
from fastness.core.error import Refusal
from fastness.core.marking import Node
from fastness.core.model import ModelCard, ModelKind
from fastness.core.replica import Replica, ReplicaState, RoutingSnapshot
from fastness.core.tenant import Principal
from fastness.engines.port import Dialect
from fastness.gateway.choosing import Choosing, Explanations
from fastness.traffic.circuit import CircuitBounds, Circuits, CircuitState
from fastness.traffic.estimate import Estimate
from fastness.traffic.fair_queue import Ask, FairQueue, Usable

TICK_S: Final = 0.001
"""How exact the loop's timers are: one may ring this much early."""


class Waiter(NamedTuple):
    """One who waits for a slot, and where it may run as things are now (raises Refusal: nowhere)."""

    future: asyncio.Future[str]
    usable: Callable[[], Usable]
    ask: Ask


@dataclass(slots=True)
class Served:
    """One model served here: its card, its deployment, its replicas, and the queue in front of them.

    `replicas` are those on a node that is named; `nodes` are these nodes. Both tuple and deployment stay the same
    objects until they change, so that decisions about them are found again quickly.
    """

    card: ModelCard
    queue: FairQueue
    deployment: Deployment
    choosing: Choosing
    replicas: dict[str, Replica] = field(default_factory=dict)
    nodes: tuple[Node, ...] = ()
    strays: tuple[str, ...] = ()
    waiters: dict[Hashable, Waiter] = field(default_factory=dict)
    circuits: Circuits = field(default_factory=lambda: Circuits(CircuitBounds()))
    estimate: Estimate = field(default_factory=Estimate)
    alarm: tuple[float, asyncio.Handle] | None = None
    _usable: dict[frozenset[str], Usable] = field(default_factory=dict)
    _context: dict[Usable, int] = field(default_factory=dict)

    def place(
        self, card: ModelCard, deployment: Deployment, replicas: Iterable[Replica], nodes: dict[str, Node]
    ) -> None:
        """Take what a snapshot says of this model. A replica on a node that it does not name is not there (law 4)."""
        found = {one.id: one for one in replicas}
        self.card = card
        self.strays = tuple(one.id for one in found.values() if one.node not in nodes)
        self.replicas = {name: one for name, one in found.items() if one.node in nodes}
        under = tuple(nodes[name] for name in sorted({one.node for one in self.replicas.values()}))
        if under != self.nodes:
            self.nodes = under
        if deployment != self.deployment:
            self.deployment = deployment
        self._usable.clear()
        self._context.clear()

    def usable(self, nodes: frozenset[str]) -> Usable:
        """The replicas on these nodes."""
        try:
            return self._usable[nodes]
        except KeyError:
            on = frozenset(name for name, one in self.replicas.items() if one.node in nodes)
            self._usable[nodes] = usable = None if len(on) == len(self.replicas) else on
            return usable

    def context_tokens(self, usable: Usable = None) -> int:
        """The longest context that a usable replica offers; the model's own when none is known."""
        found = self._context.get(usable)
        if found is None:
            offered = [replica.context_tokens for replica in self._of(usable)]
            found = self._context[usable] = max(offered, default=self.card.context_tokens)
        return found

    def reconsider(self) -> None:
        """Ask anew, for all who wait, where they may run: policy or replicas have changed. Nobody moves yet."""
        for ticket, waiter in list(self.waiters.items()):
            try:
                self.queue.allow(ticket, waiter.usable())
            except Refusal as refusal:
                self.queue.leave(ticket)
                self.waiters.pop(ticket, None)
                if not waiter.future.done():
                    waiter.future.set_exception(refusal)

    def wake(self, admitted: Iterable[tuple[Hashable, str]]) -> None:
        """Tell those who waited that they may run."""
        for ticket, replica in admitted:
            waiter = self.waiters.pop(ticket, None)
            if waiter is None:
                self.wake(self.queue.release(replica, 0.0))
            elif waiter.future.done():
                self.return_unused(replica, waiter.ask)
            else:
                waiter.future.set_result(replica)

    def return_unused(self, replica: str, ask: Ask) -> None:
        """Give back a slot on which nothing was done, and charge nothing for it."""
        self.queue.settle(ask.tenant, ask, 0, 0)
        self.wake(self.queue.release(replica, 0.0, None, ask, unread=True))

    def watch(self, loop: asyncio.AbstractEventLoop) -> None:
        """Let those who wait hear when their time is over: one timer for all, at the next deadline."""
        due_s = self.queue.next_deadline_s()
        if due_s is None or (self.alarm is not None and self.alarm[0] <= due_s):
            return
        if self.alarm is not None:
            self.alarm[1].cancel()
        self.alarm = due_s, loop.call_at(due_s, self._expire, loop)

    def _expire(self, loop: asyncio.AbstractEventLoop) -> None:
        self.alarm = None
        for ticket in self.queue.expire(loop.time() + TICK_S):
            if (waiter := self.waiters.pop(ticket, None)) and not waiter.future.done():
                waiter.future.set_exception(TimeoutError())
        self.watch(loop)

    def failed(self, replica: Replica, now_s: float, *, gone: bool = False) -> None:
        """Count a failure against a replica: maybe it is sent nothing more, until it has a new epoch or for a while."""
        if self.circuits.failed(replica.id, replica.epoch, now_s, gone=gone) is CircuitState.OPEN:
            self.queue.close(replica.id)

    def circuit(self, replica: Replica, now_s: float) -> CircuitState:
        """The state of a replica's circuit."""
        return self.circuits.state(replica.id, replica.epoch, now_s)

    def open_lanes(self, now_s: float, engine_queue: int) -> None:
        """Give the ready replicas their lanes, as their circuits allow. `engine_queue` may wait in the engine."""
        self.circuits.keep({one.id: one.epoch for one in self.replicas.values()})
        lanes = []
        for one in self.replicas.values():
            state = self.circuit(one, now_s)
            if one.state is ReplicaState.READY and state is not CircuitState.OPEN:
                lanes.append((one.id, 1 if state is CircuitState.HALF_OPEN else one.slots + engine_queue))
        self.wake(self.queue.set_lanes(lanes))

    def any_replica(self, usable: Usable = None) -> Replica:
        """Any replica whatever its state, for what depends on its engine only; raises Refusal when there is none."""
        for name, replica in self.replicas.items():
            if usable is None or name in usable:
                return replica
        raise self.not_ready(usable)

    def ready_replica(self, usable: Usable = None) -> Replica:
        """Any ready replica, for questions that take no slot; raises Refusal when there is none."""
        for replica in self._of(usable):
            if replica.state is ReplicaState.READY:
                return replica
        raise self.not_ready(usable)

    def not_ready(self, usable: Usable = None) -> Refusal:
        """Say why nothing can serve; of replicas that are not usable nothing is said."""
        states = [f"{one.id} is {one.state}{_why(one)}" for one in self._of(usable)]
        states += [f"{name} is on a node that is not described here" for name in self.strays]
        message = (
            f"No replica of {self.card.name} is ready: {', '.join(states) or 'none was started'}. Try again shortly."
        )
        return Refusal("no_replica_ready", message, retry_after_s=2)

    def have_failed(self, usable: Usable = None) -> bool:
        """Tell whether every usable replica has failed for good."""
        return all(one.state is ReplicaState.FAILED for one in self._of(usable))

    def _of(self, usable: Usable) -> Iterator[Replica]:
        return (one for name, one in self.replicas.items() if usable is None or name in usable)


def _why(replica: Replica) -> str:
    return f" ({replica.diagnosis.summary})" if replica.diagnosis else ""


class Routing:
    """The current snapshot, and one queue a model that outlives snapshots."""

    def __init__(
        self,
        traffic: TrafficSettings,
        dialect: Callable[[str], Dialect],
        forget: Callable[[str], None],
        now: Callable[[], float] = lambda: 0.0,
        clock: Callable[[], float] = lambda: 0.0,
        choosing: type[Choosing] = Choosing,
    ) -> None:
        self._choosing = choosing
        self._now = now
        self._clock = clock
        self.explanations = Explanations()
        self._traffic = traffic
        self._bounds = CircuitBounds(traffic.circuit_failures, traffic.circuit_open_s, traffic.circuit_open_max_s)
        self._dialect = dialect
        self._forget = forget
        self._served: dict[str, Served] = {}
        self.changes = 0
        """How often anything changed that decides on where a request may run."""

    def replace(self, snapshot: RoutingSnapshot) -> None:
        """Take a new snapshot: replicas that left or restarted get nothing more, those that wait may move on."""
        self.changes += 1
        known = {name: one.replicas for name, one in self._served.items()}
        nodes = {node.name: node for node in snapshot.nodes}
        deployments = {one.name: one for one in snapshot.deployments}
        cards = [card for card in snapshot.models if card.name in deployments]  # no deployment, no ceiling: no route
        for card in cards:
            deployment = deployments[card.name]
            one = self._served.get(card.name) or self._serve(card, deployment)
            one.place(card, deployment, (each for each in snapshot.replicas if each.model == card.name), nodes)
            for before in known.get(card.name, {}).values():
                after = one.replicas.get(before.id)
                if after is None or after.epoch != before.epoch:
                    self._forget(before.socket)
            one.choosing.know((each, self._pins(one, each)) for each in one.replicas.values())
            one.reconsider()
            one.open_lanes(self._now(), self._engine_queue(one))
        for name in self._served.keys() - {card.name for card in cards}:
            self._served.pop(name).queue.set_lanes(())

    def _serve(self, card: ModelCard, deployment: Deployment) -> Served:
        choosing = self._choosing(card.name, self.explanations, self._clock)
        traffic = self._traffic
        part, unread_max = traffic.tenant_queue_percent / 100, traffic.unread_tokens_max
        queue = FairQueue(traffic.queue_max, choosing.choose, part, unread_max)
        one = self._served[card.name] = Served(card, queue, deployment, choosing, circuits=Circuits(self._bounds))
        return one

    def reconsider(self) -> None:
        """Another policy is in force, or others may ask: all who wait are asked about anew."""
        self.changes += 1
        for one in self._served.values():
            one.reconsider()
            one.wake(one.queue.advance())

    def sweep(self) -> None:
        """Give replicas another chance whose circuit has been open for long enough."""
        for one in self._served.values():
            if one.circuits:
                one.reconsider()
                one.open_lanes(self._now(), self._engine_queue(one))

    def _engine_queue(self, served: Served) -> int:
        """How many may wait in an engine: none where each generation must have a slot that is its own."""
        pinned = any(self._pins(served, one) for one in served.replicas.values())
        return 0 if pinned else self._traffic.engine_queue

    def _pins(self, served: Served, replica: Replica) -> bool:
        return served.card.kind is ModelKind.CHAT and self._dialect(replica.engine).pins_slots

    def models(self) -> list[Served]:
        """Everything served, by name."""
        return [self._served[name] for name in sorted(self._served)]

    def find(self, name: str) -> Served | None:
        """The model of that name."""
        return self._served.get(name)

    def dialect(self, replica: Replica) -> Dialect:
        """How that replica's engine is spoken to."""
        return self._dialect(replica.engine)

    def is_ready(self) -> bool:
        """Tell whether every kind of model known here has a ready replica."""
        return bool(self._served) and all(one.queue.is_served() for one in self._served.values())


def may_name(principal: Principal, served: Served) -> bool:
    """Tell whether a caller may know of a model: its key and its tenant may name it, and it is for its tenant."""
    tenants = served.deployment.tenants
    return principal.may_use(served.card.name) and (tenants is None or principal.tenant in tenants)


def find_model(
    routing: Routing,
    name: str,
    kind: ModelKind | None,
    may_name: Callable[[Served], bool],
    may_use: Callable[[Served], bool],
) -> Served:
    """Return the model, if this caller may name it; what it may use is for the list of those there are.

    Raises Refusal: model_not_found. No other model ever stands in.
    """
    served = routing.find(name)
    mine = served is not None and may_name(served)
    if served is not None and mine and kind in (None, served.card.kind):
        return served
    offered = ", ".join(
        one.card.name for one in routing.models() if kind in (None, one.card.kind) and may_name(one) and may_use(one)
    )
    reason = f"{name[:100]!r} is not for this route" if mine else f"There is no model {name[:100]!r} for this key"
    raise Refusal("model_not_found", f"{reason}. Models available: {offered or 'none'}.", param="model")
