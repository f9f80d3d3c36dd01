"""One deployment as a gateway serves it: the models behind its name, their replicas, and the queue in front of them."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Hashable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from fastness.config import TrafficSettings
from fastness.core.deployment import Deployment
from fastness.core.error import Refusal
from fastness.core.marking import Node
from fastness.core.model import ModelCard
from fastness.core.replica import Replica, ReplicaState
from fastness.gateway.choosing import Choosing
from fastness.gateway.served_model import ENDING, ServedModel, Variant, variant_of
from fastness.gateway.silence import SILENT_RETRY_S, Silence
from fastness.traffic.circuit import CircuitBounds, Circuits, CircuitState
from fastness.traffic.estimate import Estimate
from fastness.traffic.fair_queue import Ask, FairQueue, Usable
from fastness.traffic.starts import Starts
from fastness.traffic.tally import Tallies

TICK_S: Final = 0.001
"""How exact the loop's timers are: one may ring this much early."""
SEEN_MIN: Final = 20
SEEN_MAX: Final = 128
"""Of so many generations, and no more, it is known how long they took to begin, where hedging is allowed."""


class Waiter(NamedTuple):
    """One who waits for a slot, and where it may run as things are now (raises Refusal: nowhere)."""

    future: asyncio.Future[str]
    usable: Callable[[], Usable]
    ask: Ask


@dataclass(slots=True)
class Served:
    """One deployment, by the name that callers use. `card` and `deployment` are those of the model that is wanted.

    `models` has every model that serves it, by what is loaded of it; `replicas` are those of all of them. `strays` are
    replicas that get nothing, and why: nothing says what their node or their model is cleared for (law 4). `asked`
    counts requests.
    """

    name: str
    queue: FairQueue
    choosing: Choosing
    wanted: ServedModel
    models: dict[Variant, ServedModel] = field(default_factory=dict)
    replicas: dict[str, Replica] = field(default_factory=dict)
    strays: dict[str, str] = field(default_factory=dict)
    waiters: dict[Hashable, Waiter] = field(default_factory=dict)
    circuits: Circuits = field(default_factory=lambda: Circuits(CircuitBounds()))
    estimate: Estimate = field(default_factory=Estimate)
    alarm: tuple[float, asyncio.Handle] | None = None
    tallies: Tallies = field(default_factory=Tallies)
    starts: Starts = field(default_factory=Starts)
    silence: Silence = field(default_factory=Silence)
    first_s: deque[float] = field(default_factory=lambda: deque(maxlen=SEEN_MAX))
    asked: int = 0
    was_open: bool = False

    @property
    def card(self) -> ModelCard:
        """The card of the model that is wanted."""
        return self.wanted.card

    @property
    def deployment(self) -> Deployment:
        """The deployment, with the model that is wanted."""
        return self.wanted.deployment

    def place(
        self, models: list[tuple[ModelCard, Deployment]], replicas: Iterable[Replica], nodes: dict[str, Node]
    ) -> None:
        """Take what a snapshot says of this deployment: its models, the wanted one first, and its replicas.

        A replica on a node that the snapshot does not name is not there, nor is one of another model, or with other
        adapters (law 4).
        """
        found: dict[Variant, dict[str, Replica]] = {variant_of(*one): {} for one in models}
        self.strays = {}
        for one in replicas:
            variant = next((variant_of(*each) for each in models if _is_of(one, *each)), None)
            if one.node not in nodes:
                self.strays[one.id] = "is on a node that is not described here"
            elif variant is None:
                self.strays[one.id] = "has a model or adapters that are not described here"
            else:
                found[variant][one.id] = one
        self.replicas = {name: one for each in found.values() for name, one in each.items()}
        for variant in self.models.keys() - found.keys():
            gone = self.models.pop(variant)
            gone.place(gone.deployment, {}, {}, alone=False)
        for card, deployment in models:
            variant = variant_of(card, deployment)
            model = self.models.setdefault(variant, ServedModel(card, deployment))
            model.card = card
            model.place(deployment, found[variant], nodes, len(found[variant]) == len(self.replicas))
        self.wanted = self.models[variant_of(*models[0])]

    @property
    def sleeps(self) -> bool:
        """Whether there is no replica that serves or will: the control plane has to place one."""
        return all(one.state in ENDING for one in self.replicas.values())

    @property
    def is_ready(self) -> bool:
        """Whether a request would be served: now, or once it has woken what sleeps."""
        return self.queue.is_served() or (self.sleeps and (self.deployment.wakes or self.was_open))

    def late_s(self, traffic: TrafficSettings) -> float:
        """How long after it was sent a generation is late to begin: later than 95 of a hundred, within bounds."""
        seen = sorted(self.first_s)
        usual_s = seen[len(seen) * 95 // 100] if len(seen) >= SEEN_MIN else traffic.hedge_after_max_s
        return max(traffic.hedge_after_min_s, min(traffic.hedge_after_max_s, usual_s))

    def look_at_starts(self, now_s: float) -> None:
        """Learn from the replicas how long their starts take."""
        starting, ready = set(), []
        for one in self.replicas.values():
            if one.state is ReplicaState.STARTING:
                starting.add((one.id, one.epoch))
            elif one.state is ReplicaState.READY:
                ready.append((one.id, one.epoch))
        self.starts.saw(starting, ready, now_s)

    def in_vain(self, usable: Usable, now_s: float, deadline_s: float) -> Refusal | None:
        """None of the usable replicas takes anything now: one is asked for. Say so if it cannot be there in time."""
        if self.have_failed(usable):
            return self.not_ready(usable)
        self.starts.asked(now_s)
        if any(one.state is ReplicaState.READY for one in self._of(usable)):
            return None  # its circuit is open, for a while
        if self.sleeps and self.silence.lasts(now_s):
            return self.not_ready(usable, now_s)
        return self.not_ready(usable, now_s) if self.starts.is_vain(now_s, deadline_s) else None

    def context_tokens(self) -> int:
        """The longest context that a replica of the wanted model offers."""
        return self.wanted.context_tokens()

    def is_lively(self, model: ServedModel, now_s: float) -> bool:
        """Tell whether a replica of that model can be sent anything now."""
        return any(
            one.state is ReplicaState.READY and self.circuit(one, now_s) is not CircuitState.OPEN
            for one in model.replicas.values()
        )

    def with_adapter(self, name: str) -> list[ServedModel]:
        """Return the models that have an adapter of that name; "": all of them."""
        return [one for one in self.models.values() if name in one.faces]

    def is_superseded(self, model: ServedModel, now_s: float, adapter: str = "") -> bool:
        """Tell whether another model serves in that one's place: it is gone, or only others can be sent anything."""
        if self.models.get(model.variant) is not model:
            return True
        if len(self.models) == 1 or self.is_lively(model, now_s):
            return False
        return any(self.is_lively(one, now_s) for one in self.with_adapter(adapter))

    def least_busy(self, models: list[ServedModel], now_s: float) -> ServedModel:
        """Of some models the one whose replicas have most room; the wanted one of equals."""

        def busy(model: ServedModel) -> tuple[bool, float, bool]:
            lanes = [lane for name, lane in self.queue.lanes.items() if lane.open and name in model.replicas]
            capacity = sum(lane.capacity for lane in lanes) or 1
            part = (sum(lane.in_flight for lane in lanes) + 1) / capacity
            return not self.is_lively(model, now_s), part, model is not self.wanted

        return min(models, key=busy)

    def reconsider(self) -> None:
        """Ask anew, for all who wait, where they may run: policy or replicas have changed. Nobody moves yet."""
        for ticket, waiter in list(self.waiters.items()):
            try:
                self.queue.allow(ticket, waiter.usable())
            except Refusal as refusal:
                self._refuse(ticket, waiter, refusal)

    def close(self) -> None:
        """The deployment is no more: all who wait are told so, and its replicas get nothing new."""
        message = f"{self.name} was removed while this request waited. GET /v1/models lists what is served."
        self.refuse_all(lambda: Refusal("no_replica_ready", message, retry_after_s=2))
        self.queue.set_lanes(())

    def refuse_all(self, refusal: Callable[[], Refusal]) -> None:
        """Let nobody wait any more."""
        for ticket, waiter in list(self.waiters.items()):
            self._refuse(ticket, waiter, refusal())

    def _refuse(self, ticket: Hashable, waiter: Waiter, refusal: Refusal) -> None:
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
        """Count a failure against a replica: maybe it is sent nothing more, until it has a new epoch or for a while.

        It counts for the replica's revision, too.
        """
        self.tallies[replica.revision].failed += 1
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
                slots = self.choosing.dealt(one).count
                lanes.append((one.id, 1 if state is CircuitState.HALF_OPEN else slots + engine_queue))
        self.was_open = self.was_open or bool(lanes)
        self.wake(self.queue.set_lanes(lanes))

    def not_ready(self, usable: Usable = None, now_s: float | None = None) -> Refusal:
        """Say why nothing can serve; of replicas that are not usable nothing is said. With `now_s`: and when it may."""
        states = [f"{one.id} is {one.state}{_why(one)}" for one in self._of(usable)]
        states += [f"{name} {why}" for name, why in self.strays.items()]
        message = f"No replica of {self.name} is ready: {', '.join(states) or 'none runs now'}."
        if now_s is None:
            return Refusal("no_replica_ready", f"{message} Try again shortly.", retry_after_s=2)
        after_s, when = self._when(now_s)
        return Refusal("no_replica_ready", f"{message} {when} Try again in {after_s} s.", retry_after_s=after_s)

    def _when(self, now_s: float) -> tuple[int, str]:
        """When one may be ready, in whole seconds, and how that is known."""
        if self.sleeps and self.silence.since_s is not None:
            silent_s = now_s - self.silence.since_s
            return SILENT_RETRY_S, f"The control plane, which would start one, has not answered for {silent_s:.0f} s."
        asked, took = f"One was asked for {self.starts.elapsed_s(now_s):.0f} s ago", self.starts.took_s()
        known = f"the last starts took up to {took[1]:.0f} s" if took else "none was seen to start yet"
        return self.starts.retry_after_s(now_s), f"{asked}; {known}."

    def have_failed(self, usable: Usable = None) -> bool:
        """Tell whether there are usable replicas, and every one of them has failed for good."""
        states = [one.state for one in self._of(usable)]
        return bool(states) and all(state is ReplicaState.FAILED for state in states)

    def _of(self, usable: Usable) -> Iterator[Replica]:
        return (one for name, one in self.replicas.items() if usable is None or name in usable)


def _is_of(replica: Replica, card: ModelCard, deployment: Deployment) -> bool:
    """Tell whether a replica runs that model; one that does not say which weights it has is known by its name."""
    if replica.model_digest:
        return (replica.model_digest, *replica.adapters) == variant_of(card, deployment)
    return replica.model == deployment.model


def _why(replica: Replica) -> str:
    return f" ({replica.diagnosis.summary})" if replica.diagnosis else ""
