"""A gateway in virtual time: the production queue, choice of replica and circuits, in front of simulated engines.

What is left out is the bytes. A request waits in its deployment's fair queue, is sent to the replica that the choice
names, goes on elsewhere when that replica fails, and ends exactly once.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

from fastness.core.marking import Label, Lattice
from fastness.core.observation import DeploymentLoad, GatewayReport
from fastness.simulator.engine import Run
from fastness.simulator.request import End, Request
from fastness.simulator.routes import Route
from fastness.traffic.circuit import CircuitBounds, Circuits, CircuitState
from fastness.traffic.counters import Ask, Usable
from fastness.traffic.fair_queue import FairQueue, Full, Moved
from fastness.traffic.lanes import Lane
from fastness.traffic.portion import Portion
from fastness.traffic.prefix_index import PrefixIndex
from fastness.traffic.prompt import Prompt
from fastness.traffic.replica_choice import Choice, ReplicaChoice
from fastness.traffic.tally import Tallies

TRIES_MAX: Final = 8
"""Runs of one request, the first included; then it ends in an error."""
RESUME_S: Final = 60.0
"""How long a request whose replica failed waits for another."""
QUEUE_MAX: Final = 1_024


class Site(Protocol):
    """What a gateway needs of the world around it."""

    lattice: Lattice

    def send(self, request: Request, route: Route, run: Run) -> bool:
        """Send a run to an engine; False: nothing answers there."""
        ...

    def recall(self, request: Request) -> None:
        """Tell the engine that a run is not wanted any more."""
        ...

    def ended(self, request: Request, end: End) -> None:
        """Hear that a request has ended."""
        ...

    def at(self, at_s: float, act: Callable[[], None]) -> None:
        """Have something done later."""
        ...


@dataclass(frozen=True, slots=True)
class TrafficRules:
    """The decisions that gateways make; a mutant puts others in their place."""

    is_open: Callable[[Route], bool] = lambda route: route.ready and route.routed
    clears: Callable[[Lattice, Route, Label], bool] = lambda lattice, route, label: all(
        lattice.dominates(ceiling, label) for ceiling in route.ceilings
    )
    goes_on: Callable[[Route, str], bool] = lambda route, digest: not digest or route.digest == digest
    slots: Callable[[Route, Portion], int] = lambda route, portion: portion.deal(route.replica, route.slots).count
    circuits: CircuitBounds = field(default_factory=CircuitBounds)


@dataclass(slots=True)
class Served:
    """What a gateway keeps for one deployment."""

    queue: FairQueue
    choice: ReplicaChoice
    circuits: Circuits
    routes: dict[str, Route] = field(default_factory=dict)
    running: dict[Request, None] = field(default_factory=dict)
    in_flight: Counter[str] = field(default_factory=Counter)
    asked: int = 0
    tallies: Tallies = field(default_factory=Tallies)


class SimulatedGateway:
    """See the module. `now_s` is the world's clock."""

    def __init__(self, name: str, site: Site, now_s: Callable[[], float], rules: TrafficRules) -> None:
        self.name, self._site, self._now_s, self._rules = name, site, now_s, rules
        self._served: dict[str, Served] = {}
        self._version = 0
        self.portion = Portion()
        """What it has of the slots of replicas."""
        self.up = True

    def take(self, known: dict[str, dict[str, Route]]) -> None:
        """Take a new routing snapshot, whole."""
        self._version += 1
        for deployment in sorted(known.keys() | self._served.keys()):
            served = self._of(deployment)
            served.routes = known.get(deployment, {})
            for one in served.routes.values():
                size = self._rules.slots(one, self.portion) * one.context_tokens
                served.choice.start(one.replica, one.epoch, lambda size=size: PrefixIndex(size))  # type: ignore[misc]
            served.choice.retain(served.routes)
            self._reconsider(served)
            self._open(served)

    def arrive(self, request: Request) -> None:
        """Take a request that has just come."""
        served, asked = self._of(request.asked.deployment), request.asked
        served.asked += 1
        usable = self._usable(served, request)
        if usable is not None and not usable and served.routes:
            self._end(served, request, End.REFUSED)
            return
        request.ask = Ask(
            asked.tenant, asked.weight, asked.band, asked.input_tokens, asked.output_tokens,
            asked.at_s + asked.patience_s, usable,
        )  # fmt: skip
        self._queue(served, request, request.ask)

    def first(self, request: Request) -> None:
        """Hear that a run's first token came."""
        served, now_s = self._of(request.asked.deployment), self._now_s()
        if request.first_s < 0.0:
            request.first_s = now_s
        if request.cut_s >= 0.0:
            request.pause_s, request.cut_s = max(request.pause_s, now_s - request.cut_s), -1.0
        if request.reading:
            served.choice.read(request.reading)
        assert request.ask
        self._begin(served, served.queue.read(request.replica, request.ask))

    def last(self, request: Request) -> None:
        """Hear that a run is complete."""
        served, now_s = self._of(request.asked.deployment), self._now_s()
        served.circuits.succeeded(request.replica, request.epoch, now_s)
        served.tallies[request.revision].add(request.ttft_s, request.asked.output_tokens)
        self._leave(served, request, unread=False)
        self._end(served, request, End.ANSWER)

    def fail(self, request: Request, written: int, *, gone: bool) -> None:
        """Hear that a run failed after `written` tokens; `gone`: nothing listens there any more."""
        served, now_s = self._of(request.asked.deployment), self._now_s()
        unread = request.run is not None and written == 0
        request.sent += written
        if written:
            request.digest = request.digest or request.on_digest
        served.circuits.failed(request.replica, request.epoch, now_s, gone=gone)
        self._open(served)
        self._site.at(now_s + self._rules.circuits.open_s + 0.001, lambda: self._open(served))
        if request.tries >= TRIES_MAX and request.sent < request.asked.output_tokens:
            served.tallies[request.revision].failed += 1
        self._leave(served, request, unread=unread)
        if request.cut_s < 0.0:
            request.cut_s = now_s
        self._go_on(served, request)

    def cancel(self, request: Request) -> None:
        """Hear that the client left."""
        if request.end is not None or not self.up:
            return
        served = self._of(request.asked.deployment)
        if not served.queue.leave(request) and request.replica:
            self._site.recall(request)
            self._leave(served, request, unread=request.first_s < 0.0)
        self._end(served, request, End.CANCELLED)

    def die(self) -> None:
        """Everything that is under way here is lost, and engines are told by the closed connections."""
        self.up = False
        for served in self._served.values():
            for request in tuple(served.running):
                if request.replica:
                    self._site.recall(request)
                request.replica = ""
                self._site.ended(request, End.LOST)
        self._served.clear()

    def under_way(self) -> Iterable[Request]:
        """Every request that has not ended."""
        return (one for served in self._served.values() for one in served.running)

    def in_flight(self, deployment: str, replica: str) -> int:
        """How many runs it has on a replica of a deployment."""
        served = self._served.get(deployment)
        return served.in_flight[replica] if served else 0

    def miscounted(self) -> str:
        """Name a replica on which the queue counts other answers than there are; empty: there is none."""
        for served in self._served.values():
            for name, lane in served.queue.lanes.items():
                if lane.in_flight != served.in_flight.get(name, 0):
                    return name
        return ""

    def waiting(self) -> int:
        """How many wait, over all deployments."""
        return sum(len(served.queue.waiting) for served in self._served.values())

    def report(self, at_ms: int) -> GatewayReport:
        """Say what is under way, as the control plane reads it."""
        draining, flying, loads = [], [], []
        for name, served in self._served.items():
            draining += [one.replica for one in served.routes.values() if not one.routed]
            flying += [(replica, count) for replica, count in served.in_flight.items() if count]
            loads.append(self._load(name, served))
        return GatewayReport(self.name, at_ms, self._version, tuple(draining), tuple(flying), tuple(loads))

    def _load(self, name: str, served: Served) -> DeploymentLoad:
        line, now_s = served.queue.line(), self._now_s()
        return DeploymentLoad(
            name,
            line.waiting,
            line.batches,
            0.0 if line.since_s is None else now_s - line.since_s,
            served.in_flight.total(),
            served.asked,
            revisions=served.tallies.loads(),
            batch_running=served.queue.batch_running,
        )

    def _of(self, deployment: str) -> Served:
        served = self._served.get(deployment)
        if served is None:
            choice = ReplicaChoice()
            queue = FairQueue(QUEUE_MAX, lambda ticket, lanes: self._choose(choice, ticket, lanes), 0.75)
            served = self._served[deployment] = Served(queue, choice, Circuits(self._rules.circuits))
        return served

    def _choose(self, choice: ReplicaChoice, ticket: Hashable, lanes: Sequence[Lane]) -> Lane:
        assert isinstance(ticket, Request)
        found: Choice = choice.choose(prompt_of(ticket), lanes)
        ticket.reading = choice.send(prompt_of(ticket), found)
        return next(lane for lane in lanes if lane.replica == found.replica)

    def _usable(self, served: Served, request: Request) -> Usable:
        """The replicas that a request may use; None: any."""
        rules, label = self._rules, request.asked.label
        fit = frozenset(
            name
            for name, one in served.routes.items()
            if rules.clears(self._site.lattice, one, label) and rules.goes_on(one, request.digest)
        )
        return None if len(fit) == len(served.routes) and not request.digest else fit

    def _reconsider(self, served: Served) -> None:
        for one in tuple(served.queue.waiting.values()):
            if isinstance(one.ticket, Request):
                served.queue.allow(one.ticket, self._usable(served, one.ticket))

    def _open(self, served: Served) -> None:
        """Give the routable replicas their lanes, as their circuits allow."""
        if not self.up:
            return
        now_s = self._now_s()
        served.circuits.keep({one.replica: one.epoch for one in served.routes.values()})
        lanes = []
        for one in served.routes.values():
            state = served.circuits.state(one.replica, one.epoch, now_s)
            if self._rules.is_open(one) and state is not CircuitState.OPEN:
                lanes.append(
                    (one.replica, 1 if state is CircuitState.HALF_OPEN else self._rules.slots(one, self.portion))
                )
        self._begin(served, served.queue.set_lanes(lanes))

    def _queue(self, served: Served, request: Request, ask: Ask) -> None:
        now_s = self._now_s()
        served.running[request] = None
        taken = served.queue.arrive(request, ask, now_s)
        if isinstance(taken, Full):
            self._end(served, request, End.REFUSED)
        elif taken is not None:
            self._begin(served, [(request, taken)])
        else:
            self._site.at(ask.deadline_s + 0.001, lambda: self._expire(served))

    def _expire(self, served: Served) -> None:
        if self.up:
            for ticket in served.queue.expire(self._now_s()):
                assert isinstance(ticket, Request)
                self._end(served, ticket, End.ERROR if ticket.tries else End.EXPIRED)

    def _begin(self, served: Served, moved: Moved) -> None:
        for ticket, replica in moved:
            assert isinstance(ticket, Request)
            self._run(served, ticket, served.routes[replica])

    def _run(self, served: Served, request: Request, route: Route) -> None:
        asked = request.asked
        request.replica, request.epoch, request.began_s = route.replica, route.epoch, self._now_s()
        request.tries, request.revision, request.on_digest = request.tries + 1, route.revision, route.digest
        read = request.reading.unread if request.reading else -1
        run = Run(request, asked.input_tokens + request.sent, asked.output_tokens - request.sent, read)
        request.run = run
        served.in_flight[route.replica] += 1
        if not self._site.send(request, route, run):
            self.fail(request, 0, gone=True)

    def _leave(self, served: Served, request: Request, *, unread: bool) -> None:
        """Give back what a run holds."""
        now_s, ask, replica = self._now_s(), request.ask, request.replica
        assert ask
        if request.reading:
            served.choice.ended(request.reading)
        served.in_flight[replica] -= 1
        request.replica, request.run, request.reading = "", None, None
        served.queue.settle(ask.tenant, ask, request.asked.input_tokens, request.sent)
        self._begin(served, served.queue.release(replica, now_s, now_s - request.began_s, ask, unread))

    def _go_on(self, served: Served, request: Request) -> None:
        """Try elsewhere, behind what was sent; or end."""
        asked, now_s = request.asked, self._now_s()
        if request.sent >= asked.output_tokens:
            self._end(served, request, End.ANSWER)
        elif request.tries >= TRIES_MAX:
            self._end(served, request, End.ERROR)
        else:
            request.resumed += request.sent > 0
            deadline_s, left = now_s + RESUME_S, asked.output_tokens - request.sent
            tokens = asked.input_tokens + request.sent
            usable = self._usable(served, request)
            request.ask = Ask(asked.tenant, asked.weight, asked.band, tokens, left, deadline_s, usable, returns=True)
            self._queue(served, request, request.ask)

    def _end(self, served: Served, request: Request, end: End) -> None:
        served.running.pop(request, None)
        self._site.ended(request, end)


def prompt_of(request: Request) -> Prompt:
    """A prompt in two blocks: what its tenant always begins with, and the rest, which is its own."""
    asked, tokens = request.asked, request.asked.input_tokens + request.sent
    head = min(asked.head_tokens, asked.input_tokens - 1)
    owner = (asked.tenant, str(asked.label))
    if head <= 0:
        return Prompt(owner, (request.number,), (tokens,))
    return Prompt(owner, (-head, request.number), (head, tokens))
