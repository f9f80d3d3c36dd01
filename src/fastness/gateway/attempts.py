"""No answer is lost with its engine: what one failed to do, another does, or the same one once it is back.

Before anything came of a generation it is simply tried again. After that, another run goes on from the text that came
(traffic/continuation.py); the client's stream waits meanwhile, and then goes on. Only failures of engines are tried
again, never refusals, within a budget (traffic/retry_budget.py). Each try waits for a slot like any other and so asks
policy anew (law 4); it waits in front, because it was in before.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Coroutine
from dataclasses import replace
from typing import TYPE_CHECKING, Final, TypeVar

from fastness.core.error import Refusal
from fastness.core.replica import Replica, ReplicaState
from fastness.core.request import Delta, FinishReason, Generation, Usage
from fastness.engines.port import Dialect, EngineCall
from fastness.gateway.asking import charge, give_back
from fastness.gateway.choosing import Asked
from fastness.gateway.relay import (
    EngineAway,
    EngineErred,
    EngineFailed,
    StreamRun,
    broken,
    post,
    run_stream,
    run_whole,
)
from fastness.gateway.seat import seated
from fastness.traffic.circuit import CircuitState
from fastness.traffic.continuation import Diverged, Replay, Written, continuation, usage_at_end, usage_of
from fastness.traffic.retry_budget import RetryBudget

if TYPE_CHECKING:
    from fastness.gateway.gateway import Gateway
    from fastness.gateway.trip import Trip
    from fastness.traffic.fair_queue import Usable

T = TypeVar("T")
AWAY_MAX: Final = 5
"""So often nobody may have listened for one generation. It costs engines nothing, and circuits slow it down."""
STREAM_HEADERS: Final = b"content-type: text/event-stream\r\ncache-control: no-store\r\nx-accel-buffering: no\r\n"
_NOBODY: Final = frozenset({"no_replica_ready", "queue_timeout"})
_SEEDS: Final = 2**31


async def generate(gateway: Gateway, trip: Trip, choice: int) -> Usage:
    """Make one choice of an answer, on as many replicas as it takes; raises Refusal."""
    work, written = _repeatable(trip.generations[choice]), Written()
    asked, began = trip.asking(work), gateway.now()

    def take(delta: Delta) -> None:
        if asked.heard is not None:
            asked.read()
        written.add(delta)
        give(gateway, trip, choice, delta)

    async def on(replica: Replica) -> Usage:
        dialect = gateway.routing.dialect(replica)
        with seated(trip, dialect, replica, work, asked.prompt) as placed:
            if not work.stream:
                asked.let_next()
                return _ended(trip, asked, await _whole(gateway, trip, replica, placed, choice))
            if written.begun and work.constraint and not trip.streams:
                written.forget()
                trip.answer.restart(choice)  # type: ignore[union-attr]  # nobody has seen it
            if written.begun:
                rest = _Rest(gateway, trip, replica, placed, written, began)
                return _ended(trip, asked, await rest.run(take))
            run = StreamRun(dialect, replica, take, began)
            with gateway.watched(trip, run):
                return _ended(trip, asked, await run_stream(gateway.engines, dialect, replica, placed, run))

    return await on_some_replica(gateway, trip, on, asked, written)


def _ended(trip: Trip, asked: Asked, usage: Usage) -> Usage:
    """Tell what a run took, while it still has its slot."""
    charge(trip, usage)
    asked.told(usage)
    return usage


async def on_some_replica(
    gateway: Gateway,
    trip: Trip,
    work: Callable[[Replica], Coroutine[object, object, T]],
    asked: Asked,
    written: Written | None = None,
) -> T:
    """Do `work` on a slot's replica; on another one, or later, when an engine failed. Raises Refusal."""
    tries = Tries(gateway, trip, asked, written)
    while True:
        failure = None
        try:
            async with gateway.slot(trip, tries) as replica:
                try:
                    result = await work(replica)
                except EngineFailed as failed:
                    failure = failed
                    tries.note(replica, failure)  # before the slot goes to the next in line
        except Refusal as refusal:
            if tries.failure is not None and refusal.code in _NOBODY:
                raise tries.failure from None
            raise
        if failure is None:
            tries.done(replica)
            return result
        if not tries.again(failure):
            try:
                raise failure
            finally:
                del failure  # its frames hold the trip


class Tries:
    """How often one generation was tried, and where it failed. `failure` is the last one; None: it never failed."""

    __slots__ = (
        "_away",
        "_began",
        "_came",
        "_erred",
        "_failed",
        "_fruitless",
        "_gateway",
        "_trip",
        "_written",
        "asked",
        "failure",
    )

    def __init__(self, gateway: Gateway, trip: Trip, asked: Asked, written: Written | None) -> None:
        self._gateway, self._trip, self._written = gateway, trip, written
        self.asked = asked
        self._began = gateway.now()
        self._failed: dict[str, int] = {}
        self._erred: list[Replica] = []
        self._away = self._fruitless = self._came = 0
        self.failure: EngineFailed | None = None

    def deadline_s(self, now: float) -> float:
        """Until when the next try, which begins now, may wait for a slot."""
        traffic, own_s = self._gateway.settings.traffic, self._trip.wait_s
        if own_s is not None and not self._came:  # what has begun is gone on with, whoever would rather not wait
            return self._trip.exchange.received_at + own_s
        return now + (traffic.queue_timeout_s if self.failure is None else traffic.resume_timeout_s)

    def elsewhere(self, usable: Usable) -> Usable:
        """Of the usable replicas, those where it has not failed; as long as one of them can be sent anything."""
        served = self._trip.served
        if not self._failed or served is None:
            return usable
        now = self._gateway.now()
        others = frozenset(
            name
            for name, one in served.replicas.items()
            if (usable is None or name in usable)
            and self._failed.get(name) != one.epoch
            and one.state is ReplicaState.READY
            and served.circuit(one, now) is not CircuitState.OPEN
        )
        return others or usable

    def note(self, replica: Replica, failure: EngineFailed) -> None:
        """Take a failure to account. What an engine itself says is its fault is, once another did the same work."""
        served = self._trip.served
        assert served
        self._failed[replica.id] = replica.epoch
        give_back(self._trip)
        if isinstance(failure, EngineErred):
            self._erred.append(replica)
        else:
            served.failed(replica, self._gateway.now(), gone=isinstance(failure, EngineAway))

    def again(self, failure: EngineFailed) -> bool:
        """Tell whether it may be tried again, and count it."""
        gateway, traffic = self._gateway, self._gateway.settings.traffic
        came = self._written.count if self._written else 0
        if isinstance(failure, EngineAway):
            self._away += 1
        else:
            self._fruitless = 1 if came > self._came else self._fruitless + 1
            self._came = came
        late = gateway.now() - self._began > traffic.answer_timeout_s
        if late or self._away >= AWAY_MAX or self._fruitless >= traffic.attempts_max:
            return False
        model = self._trip.served.card.name if self._trip.served else ""
        if not gateway.budget(model).take(gateway.now()):
            gateway.meters.retry(model, "refused")
            return False
        failure.__traceback__ = failure.__context__ = None  # its frames hold the trip
        self.failure = failure
        resumes = came > 0 and not isinstance(failure, EngineAway)  # else that failure is counted already
        if resumes:
            self._trip.resumed += 1
        elif not came:
            self._trip.retried += 1
        gateway.meters.retry(model, "resumed" if resumes else "retried")
        return True

    def done(self, replica: Replica) -> None:
        """Count a run that came to its end."""
        served, now = self._trip.served, self._gateway.now()
        assert served
        if served.circuits:
            served.circuits.succeeded(replica.id, replica.epoch, now)
        self._gateway.budget(served.card.name).succeeded()
        for one in self._erred:
            if one.id != replica.id:
                served.failed(one, now)


class _Rest:
    """What is left of a generation of which something came, for one replica to do."""

    __slots__ = ("_began", "_dialect", "_gateway", "_replica", "_trip", "_work", "_written")

    def __init__(
        self, gateway: Gateway, trip: Trip, replica: Replica, work: Generation, written: Written, began: float
    ) -> None:
        self._gateway, self._trip, self._replica = gateway, trip, replica
        self._work, self._written, self._began = work, written, began
        self._dialect: Dialect = gateway.routing.dialect(replica)

    async def run(self, take: Callable[[Delta], None]) -> Usage:
        """Make it and give each delta to `take`; return what the whole answer took. Raises Refusal."""
        if self._work.constraint is not None and self._written.finish is None:
            return await self._replay(take)
        return await self._go_on(take)

    async def _go_on(self, take: Callable[[Delta], None]) -> Usage:
        written = self._written
        if written.prompt is None:
            written.prompt = await self._prompt()
        said = await self._tokens(written.texts, begins=False)
        if written.finish is not None:
            return usage_at_end(written.prompt, said, written.finish)
        rest = continuation(self._work, written.prompt, said, self._replica.context_tokens)
        if rest is None:
            take(Delta(finish=FinishReason.LENGTH))
            return usage_at_end(written.prompt, said, FinishReason.LENGTH)
        self._cleared()
        return usage_of(written.prompt, said, await self._run(rest, take))

    async def _replay(self, take: Callable[[Delta], None]) -> Usage:
        replay = Replay(self._written.text)

        def new(delta: Delta) -> None:
            try:
                fresh = replay.take(delta)
            except Diverged:
                message = (
                    "The engine was lost before the answer was whole, and the answer made anew begins otherwise than "
                    "what was sent. Try again; with `temperature` 0, or without a stream, this does not happen."
                )
                raise Refusal("engine_failed", message, retry_after_s=1) from None
            if fresh is not None:
                take(fresh)

        return await self._run(self._work, new)

    async def _run(self, work: Generation, take: Callable[[Delta], None]) -> Usage:
        run = StreamRun(self._dialect, self._replica, take, self._began)
        with self._gateway.watched(self._trip, run):
            return await run_stream(self._gateway.engines, self._dialect, self._replica, work, run)

    async def _prompt(self) -> tuple[int, ...]:
        """The tokens of the input."""
        prompt = self._work.prompt
        if isinstance(prompt, tuple):
            return prompt
        if prompt is None:
            body = await self._ask(self._dialect.template(self._work))
            try:
                prompt = self._dialect.templated(body)
            except ValueError:
                raise broken(self._replica, "wrote a prompt that cannot be read") from None
            self._cleared()
        return await self._tokens([prompt], begins=True)

    async def _tokens(self, texts: list[str], *, begins: bool) -> tuple[int, ...]:
        body = await self._ask(self._dialect.tokens(texts, begins=begins))
        try:
            return self._dialect.tokenised(body)
        except ValueError:
            raise broken(self._replica, "gave tokens that cannot be read") from None

    async def _ask(self, call: EngineCall) -> bytes:
        self._cleared()
        return await post(self._gateway.engines, self._dialect, self._replica, call.path, call.body)

    def _cleared(self) -> None:
        """Ask policy anew, before each word to the engine; raises Refusal."""
        may = self._gateway.usable(self._trip)
        if may is not None and self._replica.id not in may:
            assert self._trip.served
            raise self._trip.served.not_ready(may)


async def _whole(gateway: Gateway, trip: Trip, replica: Replica, work: Generation, choice: int) -> Usage:
    dialect = gateway.routing.dialect(replica)
    delta = await gateway.within_answer_time(run_whole(gateway.engines, dialect, replica, work))
    assert trip.answer
    trip.answer.take(choice, delta)
    assert delta.usage  # run_whole gives no answer without
    return delta.usage


def give(gateway: Gateway, trip: Trip, choice: int, delta: Delta) -> None:
    """Pass on what the engine added, in the callback that brought it: no task wakes for a token."""
    assert trip.answer
    events = trip.answer.take(choice, delta)
    if not events:
        return
    if trip.first_token_at is None:
        trip.first_token_at = gateway.now()
        trip.exchange.start(200, STREAM_HEADERS + trip.head_lines)
    trip.exchange.send(events)


def budget_of(gateway: Gateway) -> RetryBudget:
    """Return a full budget."""
    traffic = gateway.settings.traffic
    return RetryBudget(traffic.retry_percent / 100, traffic.retry_floor_per_s, traffic.retry_burst, gateway.now())


def _repeatable(work: Generation) -> Generation:
    """A constrained answer can only be made again from its start: it gets a seed where chance would decide."""
    sampling = work.sampling
    if work.constraint is None or sampling.seed is not None or sampling.temperature == 0:
        return work
    return replace(work, sampling=replace(sampling, seed=secrets.randbelow(_SEEDS)))
