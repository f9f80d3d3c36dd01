"""What the journey's steps share: the rooms below, the watch over running streams, and the slots."""

from __future__ import annotations

import asyncio
import math
import traceback
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Final, Protocol, TypeVar

from fastness.config import Settings
from fastness.config.document import configuration_digest
from fastness.core.batch import ON_BEHALF_OF
from fastness.core.error import Refusal
from fastness.core.event import Event
from fastness.core.gateways import FIRST
from fastness.core.marking import HEADER as MARKING_HEADER
from fastness.core.policy import Action, Decision, Parameters, Query
from fastness.core.tenant import Principal
from fastness.gateway.binding import Binding
from fastness.gateway.http import EngineConnections, Exchange
from fastness.gateway.in_force import Mark, PolicyInForce, unavailable
from fastness.gateway.leases import Leases
from fastness.gateway.listed_model import ListedModel, may_name
from fastness.gateway.meters import Meters
from fastness.gateway.relay import StreamRun
from fastness.gateway.routing import Routing
from fastness.gateway.served import Served
from fastness.gateway.served_model import ServedModel, Superseded
from fastness.gateway.tries import budget_of
from fastness.gateway.trip import Trip
from fastness.gateway.witnessed import Witnessed
from fastness.ledger.port import Ledger, LedgerUnavailable
from fastness.ledger.receipts.salt_secrets import new_salting
from fastness.policy.clearance import refusal
from fastness.sealed.writer import Sealer
from fastness.telemetry.log import JsonLog
from fastness.traffic.fair_queue import Usable
from fastness.traffic.retry_budget import RetryBudget

T = TypeVar("T")
_NOTHING_SET: Final = Parameters()
PASSED: Final = math.inf
"""Stands for the deadline of a task that was told that its time is over."""


class Authenticator(Protocol):
    """Turns an Authorization header, or the URIs of a verified client certificate, into a principal."""

    def authenticate(
        self, authorization: str | None, now_s: float, certificate_uris: tuple[str, ...] = ()
    ) -> Principal:
        """Return who it is; raises Refusal."""
        ...

    def on_behalf_of(self, key: str, now_s: float) -> Principal:
        """Return the principal of an API key by the key's id, as of now; raises Refusal."""
        ...


class Gateway:
    """One gateway process, as the journey sees it. `clock` tells seconds since 1970, `now` the loop's seconds.

    `reread_access` looks for a newer access snapshot and tells whether there was one. `policy` is None until one is in
    force: then nothing is permitted. Without `leases` whatever has a limit is refused, and without `sealer` whatever is
    to be kept; without a `binding` receipts are those of a secret that nobody has.
    """

    def __init__(
        self,
        settings: Settings,
        routing: Routing,
        authenticator: Authenticator,
        ledger: Ledger,
        engines: EngineConnections,
        meters: Meters,
        log: JsonLog,
        clock: Callable[[], float],
        reread_access: Callable[[], bool] = lambda: False,
        leases: Leases | None = None,
        sealer: Sealer | None = None,
        binding: Binding | None = None,
        witnessed: Witnessed | None = None,
    ) -> None:
        self.settings = settings
        self.routing = routing
        self.ledger = ledger
        self.engines = engines
        self.meters = meters
        self.log = log
        self.clock = clock
        self.leases = leases or Leases(clock)
        self.sealer = sealer
        self.binding = binding or Binding(FIRST, new_salting(clock()), configuration_digest(settings))
        self.witnessed = witnessed or Witnessed(FIRST, 0.0, clock)
        self.loop = asyncio.get_running_loop()  # kept, because asking for it costs a system call
        self.now = self.loop.time
        self._authenticator = authenticator
        self._reread_access = reread_access
        self.policy: PolicyInForce | None = None
        self.access_version = 0
        self._budgets: dict[str, RetryBudget] = {}
        self._runs: set[StreamRun] = set()
        self._deadlines: dict[asyncio.Task[object], float] = {}

    def authenticate(self, exchange: Exchange) -> Principal:
        """Return who asks; raises Refusal. A key that is not known may be newer than what was read last.

        Over our own socket a batch asks on behalf of the key that made it; anywhere else that header means nothing.
        """
        if (key := exchange.headers.get(ON_BEHALF_OF)) is not None and exchange.inside:
            return self._authenticator.on_behalf_of(key, self.clock())
        authorization, uris = exchange.headers.get("authorization"), exchange.certificate_uris
        try:
            return self._authenticator.authenticate(authorization, self.clock(), uris)
        except Refusal as refusal:
            if refusal.code != "invalid_api_key" or not self._reread_access():
                raise
            return self._authenticator.authenticate(authorization, self.clock(), uris)

    def access_changed(self) -> None:
        """Tenants, keys or identities are others now: whoever waits is recognised anew, or refused."""
        self.access_version += 1
        self.routing.reconsider()

    def put_in_force(self, policy: PolicyInForce | None) -> None:
        """From now on `policy` decides, also about those who wait; None: nothing is permitted."""
        self.policy = policy
        self.routing.reconsider()

    def mark(self, exchange: Exchange, principal: Principal) -> Mark:
        """Return what a request is marked with; raises Refusal: policy_unavailable, unknown_marking."""
        if self.policy is None:
            raise unavailable()
        return self.policy.mark(exchange.headers.get(MARKING_HEADER), principal)

    def usable(self, trip: Trip) -> Usable:
        """Tell which replicas may take a trip as things are now; raises Refusal when none may.

        To be asked whenever time may have passed since it was asked last: before each word to an engine (law 4). Where
        nothing has changed since, neither policy nor routes nor who may ask, the answer is the same.
        """
        changes = self.routing.changes
        if trip.cleared_at == changes and trip.access_version == self.access_version and trip.cleared_by is self.policy:
            return trip.usable
        if trip.access_version != self.access_version:
            trip.access_version = self.access_version
            trip.principal = self.authenticate(trip.exchange)
        policy, served, principal, mark = self.policy, trip.served, trip.principal, trip.mark
        if policy is None:
            raise unavailable()
        assert served and principal and mark
        model = trip.model
        if model is None:
            model = self._model_for(trip, served, policy)
            trip.model, trip.loaded = model, model.adapter(trip.adapter)
        elif served.is_superseded(model, self.now(), trip.adapter) and not trip.exchange.started:
            raise Superseded("no_replica_ready", f"{served.name} is another model now. Try again.", retry_after_s=1)
        face = model.faces.get(trip.adapter)
        if face is None or (face.adapters and face.adapters[0].digest != trip.digest):
            raise self._withdrawn(trip)
        clearance = policy.clear(principal, mark.label, trip.parameters, face, model.nodes)
        trip.policy, trip.decision = policy.digest, clearance.decision
        if not clearance.decision.allowed:
            raise self._not_cleared(trip, clearance.decision)
        if not clearance.nodes and served.strays:
            raise served.not_ready()
        trip.usable = model.usable(clearance.nodes, trip.context_tokens)
        trip.cleared_at, trip.cleared_by = changes, policy
        return trip.usable

    def _model_for(self, trip: Trip, served: Served, policy: PolicyInForce) -> ServedModel:
        """Choose the model that a request is prepared for, where one is just taking the place of another."""
        principal, mark, adapter = trip.principal, trip.mark, trip.adapter
        assert principal and mark
        having = [served.wanted] if len(served.models) == 1 else served.with_adapter(adapter)
        if not having or adapter not in having[0].faces:
            raise self._withdrawn(trip)
        if len(having) == 1:
            return having[0]
        cleared = [
            one
            for one in having
            if policy.clear(principal, mark.label, trip.parameters, one.faces[adapter], one.nodes).decision.allowed
        ]
        return served.least_busy(cleared, self.now()) if cleared else having[0]

    def may_use(
        self, principal: Principal, mark: Mark, listed: ListedModel, parameters: Parameters = _NOTHING_SET
    ) -> bool:
        """Tell whether policy lets a principal use what it names, on some node, for what is so marked."""
        if self.policy is None:
            return False
        for one in listed.models:
            face = one.faces[listed.adapter]
            if self.policy.clear(principal, mark.label, parameters, face, one.nodes).decision.allowed:
                return True
        return False

    def _withdrawn(self, trip: Trip) -> Refusal:
        assert trip.served
        message = f"{trip.name} was taken out of service while this request was under way. GET /v1/models lists what is"
        return Refusal("model_not_found", f"{message} served.", param="model")

    def _not_cleared(self, trip: Trip, decision: Decision) -> Refusal:
        served, principal, mark = trip.served, trip.principal, trip.mark
        assert served and principal and mark
        deployment = trip.model.faces[trip.adapter] if trip.model else served.deployment
        query = Query(principal, Action.INFER, mark.label, deployment, None, trip.parameters)
        others = [
            one.name
            for one in self.routing.listed_models()
            if (one.served is not served or one.adapter != trip.adapter)
            and one.card.kind is served.card.kind
            and may_name(principal, one)
            and self.may_use(principal, mark, one, trip.parameters)
        ]
        return refusal(query, decision, others)

    def budget(self, model: str) -> RetryBudget:
        """The retries that a model's generations have left here."""
        if model not in self._budgets:
            self._budgets[model] = budget_of(self)
        return self._budgets[model]

    @contextmanager
    def watched(self, trip: Trip, run: StreamRun) -> Iterator[None]:
        """Watch a stream for progress, and pause the engine while its client is slow."""
        self._runs.add(run)
        trip.runs.append(run)
        if trip.exchange.on_pause is None:
            trip.exchange.on_pause = trip.pause
            trip.exchange.on_resume = trip.resume
        run.paused = trip.paused
        try:
            yield
        finally:
            self._runs.discard(run)

    async def within_answer_time(self, work: Coroutine[object, object, T]) -> T:
        """Wait for a whole answer, not longer than an answer may take; raises Refusal."""
        task = self.begin_wait()
        try:
            return await work
        except asyncio.CancelledError:
            self.late(task)
            raise
        finally:
            self.end_wait(task)

    def begin_wait(self) -> asyncio.Task[object]:
        """Watch over the current task, from now until `end_wait`: it is cancelled when an answer takes too long."""
        task = asyncio.current_task(self.loop)
        assert task is not None
        self._deadlines[task] = self.now() + self.settings.traffic.answer_timeout_s
        return task

    def late(self, task: asyncio.Task[object]) -> None:
        """Raise the Refusal for a task that was cancelled because its time was over, and for nothing else."""
        if self._deadlines[task] == PASSED and task.uncancel() == 0:
            limit_s = self.settings.traffic.answer_timeout_s
            raise Refusal("engine_timeout", f"The answer took longer than {limit_s:g} s.") from None

    def end_wait(self, task: asyncio.Task[object]) -> None:
        """Watch over it no more."""
        del self._deadlines[task]

    def sweep(self) -> None:
        """End what takes too long; called several times a second, so that no request needs a timer of its own."""
        now, traffic = self.now(), self.settings.traffic
        for task in [one for one, at in self._deadlines.items() if now > at]:
            self._deadlines[task] = PASSED
            task.cancel()
        for run in list(self._runs):
            run.check(now, traffic)
        self.routing.sweep()

    def append(self, event: Event) -> None:
        """Record what needs no waiting for; a ledger that cannot is already refusing answers."""
        try:
            self.ledger.append(event)
        except LedgerUnavailable:
            self.log.record("warning", "ledger.unavailable")
        except ValueError as error:
            self.note_defect(str(event.fields.get("request_id")), error)

    def note_defect(self, request_id: str, error: Exception) -> None:
        """Log where a defect is: its type and place, never its message, which may quote content."""
        frames = traceback.extract_tb(error.__traceback__)[-3:]
        where = " < ".join(f"{frame.name}:{frame.lineno}" for frame in reversed(frames))
        self.log.record("error", "defect", request_id=request_id, reason=type(error).__name__, where=where)
