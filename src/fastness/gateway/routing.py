"""What is served here and where: the routing snapshot, as the journey uses it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial

from fastness.config import TrafficSettings
from fastness.core.deployment import Deployment
from fastness.core.error import Refusal
from fastness.core.gateways import FIRST
from fastness.core.model import ModelCard, ModelKind
from fastness.core.replica import Replica, ReplicaState, RoutingSnapshot
from fastness.engines.port import Dialect
from fastness.gateway.choosing import Choosing, Explanations
from fastness.gateway.listed_model import ListedModel
from fastness.gateway.served import Served
from fastness.gateway.served_model import ServedModel, variant_of
from fastness.gateway.silence import Silence
from fastness.traffic.circuit import CircuitBounds, Circuits
from fastness.traffic.fair_queue import FairQueue
from fastness.traffic.portion import Portion, portion_of


class Routing:
    """The current snapshot, and one queue a deployment that outlives snapshots. `name` is that of this gateway."""

    def __init__(
        self,
        traffic: TrafficSettings,
        dialect: Callable[[str], Dialect],
        forget: Callable[[str], None],
        now: Callable[[], float] = lambda: 0.0,
        clock: Callable[[], float] = lambda: 0.0,
        choosing: type[Choosing] = Choosing,
        name: str = FIRST,
    ) -> None:
        self._name = name
        self.portion: Portion | None = Portion()
        """What this gateway has of the slots of replicas; None: the last snapshot does not know it, and it has none."""
        self._choosing = choosing
        self._now = now
        self._clock = clock
        self.explanations = Explanations()
        self._traffic = traffic
        self._bounds = CircuitBounds(traffic.circuit_failures, traffic.circuit_open_s, traffic.circuit_open_max_s)
        self._dialect = dialect
        self._forget = forget
        self._served: dict[str, Served] = {}
        self._listed: dict[str, ListedModel] = {}
        self.silence = Silence()
        self._leaving: list[Served] = []
        self._visits: dict[str, int] = {}
        self.version = 0
        self.draining: tuple[str, ...] = ()
        """Ids of the replicas that drain, by the last snapshot, whether anything was ever sent there or not."""
        self.hurry: Callable[[], None] = lambda: None
        """Whom to tell when something is known of a replica that drains, or when the last of one that closed ends."""
        self.changes = 0
        """How often anything changed that decides on where a request may run."""
        self.wanted: dict[str, int] = {}
        """How many replicas of each deployment there should be: for people, nothing here decides by it."""

    def replace(self, snapshot: RoutingSnapshot) -> None:
        """Take a new snapshot: replicas that left or restarted get nothing more, those that wait may move on."""
        self.changes += 1
        self.version = snapshot.version
        self.portion = portion_of(self._name, snapshot.gateways)
        self.wanted = dict(snapshot.wanted)
        self.draining = tuple(sorted(one.id for one in snapshot.replicas if one.state is ReplicaState.DRAINING))
        nodes = {node.name: node for node in snapshot.nodes}
        described = _described(snapshot)
        replicas: dict[str, list[Replica]] = {name: [] for name in described}
        for each in snapshot.replicas:
            if self.portion is not None:
                replicas.get(each.deployment or each.model, []).append(each)
        for name, models in described.items():
            one = self._served.get(name) or self._serve(name, *models[0])
            known = one.replicas
            one.place(models, replicas[name], nodes)
            self._forget_those_that_left(known.values(), one.replicas)
            one.choosing.portion = self._part
            one.choosing.know((each, self._pins(one, each)) for each in one.replicas.values())
            one.look_at_starts(self._now())
            one.reconsider()
            one.open_lanes(self._now(), self._engine_queue(one))
        for name in self._served.keys() - described.keys():
            gone = self._served.pop(name)
            self._forget_those_that_left(gone.replicas.values(), {})
            gone.close()
            self._leaving.append(gone)
        self._listed = {one.name: one for served in self.models() for one in _names_of(served)}
        self._leaving = [one for one in self._leaving if one.queue.lanes]
        if self.draining:
            self.hurry()

    def _forget_those_that_left(self, known: Iterable[Replica], now: dict[str, Replica]) -> None:
        for before in known:
            after = now.get(before.id)
            if after is None or after.epoch != before.epoch:
                self._forget(before.socket)

    def _serve(self, name: str, card: ModelCard, deployment: Deployment) -> Served:
        choosing = self._choosing(name, self.explanations, self._clock)
        traffic = self._traffic
        part, unread_max = traffic.tenant_queue_percent / 100, self._part.of(traffic.unread_tokens_max)
        queue = FairQueue(traffic.queue_max, choosing.choose, part, unread_max)
        queue.emptied = self._emptied
        wanted = ServedModel(card, deployment)
        one = self._served[name] = Served(name, queue, choosing, wanted, circuits=Circuits(self._bounds))
        one.silence = self.silence
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
                if len(one.models) > 1:
                    self.changes += 1  # which of them can be sent anything may be another one now
                one.reconsider()
                one.open_lanes(self._now(), self._engine_queue(one))

    def _engine_queue(self, served: Served) -> int:
        """How many may wait in an engine: none where each generation must have a slot that is its own."""
        pinned = any(self._pins(served, one) for one in served.replicas.values())
        return 0 if pinned else self._part.of(self._traffic.engine_queue)

    @property
    def _part(self) -> Portion:
        return self.portion or Portion()

    def _pins(self, served: Served, replica: Replica) -> bool:
        return served.card.kind is ModelKind.CHAT and self._dialect(replica.engine).pins_slots

    @contextmanager
    def visit(self, replica: Replica) -> Iterator[None]:
        """Count a question that takes no slot as under way on its replica."""
        visits = self._visits
        visits[replica.id] = visits.get(replica.id, 0) + 1
        try:
            yield
        finally:
            visits[replica.id] -= 1
            if not visits[replica.id]:
                del visits[replica.id]
                self._emptied(replica.id)

    def in_flight(self) -> dict[str, int]:
        """How much runs on each replica that something runs on, of whatever deployment, also of those removed."""
        found = dict(self._visits)
        for served in (*self._served.values(), *self._leaving):
            for name, lane in served.queue.lanes.items():
                if lane.in_flight:
                    found[name] = found.get(name, 0) + lane.in_flight
        return found

    def _emptied(self, replica: str) -> None:
        if replica in self.draining:
            self.hurry()

    def models(self) -> list[Served]:
        """Everything served, by name."""
        return [self._served[name] for name in sorted(self._served)]

    def listed_models(self) -> list[ListedModel]:
        """Everything that callers may name, a deployment before its adapters."""
        return list(self._listed.values())

    def listed(self, name: str) -> ListedModel | None:
        """What callers mean by that name."""
        return self._listed.get(name)

    def find(self, name: str) -> Served | None:
        """The deployment of that name."""
        return self._served.get(name)

    def dialect(self, replica: Replica) -> Dialect:
        """How that replica's engine is spoken to."""
        return self._dialect(replica.engine)

    def is_ready(self) -> bool:
        """Tell whether every deployment known here has a ready replica, but for those that sleep until asked."""
        return bool(self._served) and all(one.is_ready for one in self._served.values())

    def somebody_waits_for_a_first_replica(self) -> bool:
        """Tell whether anybody waits for what only the control plane can bring."""
        return any(one.waiters and one.sleeps for one in self._served.values())

    def tell_of_silence(self) -> None:
        """Let nobody wait for what nobody will bring, once the control plane has been silent for long enough."""
        now_s = self._now()
        if self.silence.lasts(now_s):
            for one in self._served.values():
                if one.waiters and one.sleeps:
                    one.refuse_all(partial(one.not_ready, None, now_s))


def _names_of(served: Served) -> Iterator[ListedModel]:
    names = {name for model in served.models.values() for name in model.faces}
    yield from (ListedModel(served, name) for name in sorted(names))


def find_model(
    routing: Routing,
    name: str,
    kind: ModelKind | None,
    may_name: Callable[[ListedModel], bool],
    may_use: Callable[[ListedModel], bool],
) -> ListedModel:
    """Return what is named, if this caller may name it; what it may use is for the list of those there are.

    Raises Refusal: model_not_found. No other model ever stands in.
    """
    found = routing.listed(name)
    mine = found is not None and may_name(found)
    if found is not None and mine and kind in (None, found.card.kind):
        return found
    offered = ", ".join(
        one.name for one in routing.listed_models() if kind in (None, one.card.kind) and may_name(one) and may_use(one)
    )
    reason = f"{name[:100]!r} is not for this route" if mine else f"There is no model {name[:100]!r} for this key"
    raise Refusal("model_not_found", f"{reason}. Models available: {offered or 'none'}.", param="model")


def _described(snapshot: RoutingSnapshot) -> dict[str, list[tuple[ModelCard, Deployment]]]:
    """The variants of each deployment by its name, the one that it is known by first.

    No deployment, no ceiling; no card, no model: no route. A deployment's models are all of the first one's kind.
    """
    by_digest = {card.digest: card for card in snapshot.models}
    by_name = {card.name: card for card in snapshot.models}
    found: dict[str, list[tuple[ModelCard, Deployment]]] = {}
    for one in snapshot.deployments:
        card = by_digest.get(one.model_digest) if one.model_digest else by_name.get(one.model)
        if card is None:
            continue
        models = found.setdefault(one.name, [])
        variant = variant_of(card, one)
        if all(variant != variant_of(*other) and card.kind is other[0].kind for other in models):
            models.append((card, one))
    return found
