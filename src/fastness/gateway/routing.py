"""What is served here and where: the routing snapshot, as the journey uses it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass, field

from fastness.config import TrafficSettings
from fastness.core.error import Refusal
from fastness.core.model import ModelCard, ModelKind
from fastness.core.replica import Replica, ReplicaState, RoutingSnapshot
from fastness.engines.port import Dialect
from fastness.traffic.slots import Full, SlotQueue


@dataclass(slots=True)
class Served:
    """One model served here: its card, its replicas, and the queue in front of them."""

    card: ModelCard
    queue: SlotQueue
    replicas: dict[str, Replica] = field(default_factory=dict)
    futures: dict[Hashable, asyncio.Future[str]] = field(default_factory=dict)
    suspects: dict[str, tuple[int, float]] = field(default_factory=dict)

    def context_tokens(self) -> int:
        """The longest context that a replica offers; the model's own when none is known."""
        offered = [replica.context_tokens for replica in self.replicas.values()]
        return max(offered, default=self.card.context_tokens)

    def wake(self, admitted: Iterable[tuple[Hashable, str]]) -> None:
        """Tell those who waited that they may run."""
        for ticket, replica in admitted:
            if (future := self.futures.pop(ticket, None)) and not future.done():
                future.set_result(replica)
            else:
                self.wake(self.queue.release(replica))

    def suspect(self, replica: Replica, until_s: float) -> None:
        """Send nothing more to a replica that could not be reached, until it has a new epoch or `until_s`."""
        self.suspects[replica.id] = (replica.epoch, until_s)
        self.queue.close(replica.id)

    def open_lanes(self, now_s: float, engine_queue: int) -> None:
        """Give the ready replicas their lanes: all but those under suspicion."""
        for name, (epoch, until_s) in list(self.suspects.items()):
            if now_s >= until_s or name not in self.replicas or self.replicas[name].epoch != epoch:
                del self.suspects[name]
        ready = [
            one for one in self.replicas.values() if one.state is ReplicaState.READY and one.id not in self.suspects
        ]
        self.wake(self.queue.set_lanes((one.id, one.slots + engine_queue) for one in ready))

    def any_replica(self) -> Replica:
        """Any replica whatever its state, for what depends on its engine only; raises Refusal when there is none."""
        for replica in self.replicas.values():
            return replica
        raise self.not_ready()

    def ready_replica(self) -> Replica:
        """Any ready replica, for questions that take no slot; raises Refusal when there is none."""
        for replica in self.replicas.values():
            if replica.state is ReplicaState.READY:
                return replica
        raise self.not_ready()

    def not_ready(self) -> Refusal:
        """Say why nothing can serve."""
        states = ", ".join(f"{one.id} is {one.state}{_why(one)}" for one in self.replicas.values())
        message = f"No replica of {self.card.name} is ready: {states or 'none was started'}. Try again shortly."
        return Refusal("no_replica_ready", message, retry_after_s=2)


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
    ) -> None:
        self._now = now
        self._traffic = traffic
        self._dialect = dialect
        self._forget = forget
        self._served: dict[str, Served] = {}

    def replace(self, snapshot: RoutingSnapshot) -> None:
        """Take a new snapshot: replicas that left or restarted get nothing more, those that wait may move on."""
        known = {name: one.replicas for name, one in self._served.items()}
        for card in snapshot.models:
            one = self._served.setdefault(card.name, Served(card, SlotQueue(self._traffic.queue_max)))
            one.card = card
            one.replicas = {replica.id: replica for replica in snapshot.replicas if replica.model == card.name}
            for before in known.get(card.name, {}).values():
                after = one.replicas.get(before.id)
                if after is None or after.epoch != before.epoch:
                    self._forget(before.socket)
            one.open_lanes(self._now(), self._traffic.engine_queue)
        for name in self._served.keys() - {card.name for card in snapshot.models}:
            self._served.pop(name).queue.set_lanes(())

    def sweep(self) -> None:
        """Give replicas another chance whose time under suspicion is over."""
        for one in self._served.values():
            if one.suspects:
                one.open_lanes(self._now(), self._traffic.engine_queue)

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


async def admit(served: Served, ticket: Hashable, now_s: float, timeout_s: float) -> str:
    """Wait for a slot and return the replica it is on; raises Refusal: queue_full, queue_timeout, no_replica_ready."""
    if not served.queue.is_served() and all(one.state is ReplicaState.FAILED for one in served.replicas.values()):
        raise served.not_ready()
    taken = served.queue.arrive(ticket, now_s)
    if isinstance(taken, str):
        return taken
    if isinstance(taken, Full):
        message = (
            f"{taken.waiting:,} generations wait for {served.card.name} already, which is the limit. "
            f"Try again in {taken.retry_after_s} s."
        )
        raise Refusal("queue_full", message, retry_after_s=taken.retry_after_s)
    future: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    served.futures[ticket] = future
    granted = False
    try:
        async with asyncio.timeout(timeout_s):
            replica = await future
        granted = True
    except TimeoutError:
        if not served.queue.is_served():
            raise served.not_ready() from None
        message = f"No slot of {served.card.name} came free within {timeout_s:g} s."
        raise Refusal("queue_timeout", message, retry_after_s=served.queue.retry_after_s()) from None
    else:
        return replica
    finally:
        served.futures.pop(ticket, None)
        if not granted:
            served.queue.leave(ticket)
            # A slot given in the very moment of giving up goes to the next in line.
            if future.done() and not future.cancelled():
                served.wake(served.queue.release(future.result()))


def find_model(routing: Routing, name: str, allowed: Callable[[str], bool], kind: ModelKind | None) -> Served:
    """Return the model; raises Refusal model_not_found that lists what there is, never another model."""
    served = routing.find(name)
    if served is not None and allowed(name) and kind in (None, served.card.kind):
        return served
    offered = [one.card.name for one in routing.models() if allowed(one.card.name) and kind in (None, one.card.kind)]
    listed = ", ".join(offered) or "none"
    reason = (
        f"{name[:100]!r} is not for this route"
        if served and allowed(name)
        else f"There is no model {name[:100]!r} for this key"
    )
    raise Refusal("model_not_found", f"{reason}. Models available: {listed}.", param="model")
