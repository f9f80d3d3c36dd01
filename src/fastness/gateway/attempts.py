"""No answer is lost with its engine: what one failed to do, another does, or the same one once it is back.

Before anything came of a generation it is simply tried again. After that, another run goes on from the text that came
(traffic/continuation.py); the client's stream waits meanwhile, and then goes on. Only failures of engines are tried
again, never refusals, within a budget (traffic/retry_budget.py). Each try waits for a slot like any other and so asks
policy anew (law 4); it waits in front, because it was in before.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Final, TypeVar

from fastness.core.error import Refusal
from fastness.core.replica import Replica
from fastness.core.request import Delta, FinishReason, Generation, Usage
from fastness.engines.port import Dialect, EngineCall
from fastness.gateway.asking import charge
from fastness.gateway.choosing import Asked
from fastness.gateway.hedging import Race, hedged
from fastness.gateway.relay import (
    EngineFailed,
    StreamRun,
    Taker,
    broken,
    post,
    read_whole,
    run_stream,
)
from fastness.gateway.seat import take_seat
from fastness.gateway.served_model import Superseded
from fastness.gateway.slot import Slot
from fastness.gateway.tries import Tries
from fastness.traffic.continuation import Diverged, Replay, Written, continuation, usage_at_end, usage_of

if TYPE_CHECKING:
    from fastness.gateway.gateway import Gateway
    from fastness.gateway.trip import Trip

T = TypeVar("T")
STREAM_HEADERS: Final = b"content-type: text/event-stream\r\ncache-control: no-store\r\nx-accel-buffering: no\r\n"
_NOBODY: Final = frozenset({"no_replica_ready", "queue_timeout"})
_SEEDS: Final = 2**31


def generate(gateway: Gateway, trip: Trip, choice: int) -> Coroutine[object, object, Usage]:
    """Make one choice of an answer, on as many replicas as it takes; raises Refusal."""
    work = _repeatable(trip.generations[choice])
    asked = trip.asking(work)
    if work.stream:
        return _generate_stream(gateway, trip, choice, work, asked)

    async def on(slot: Slot) -> Usage:
        replica = slot.replica
        dialect = gateway.routing.dialect(replica)
        seat = take_seat(trip, dialect, replica, work, asked.prompt)
        try:
            asked.let_next()
            call = dialect.generation(seat.work)
            task = gateway.begin_wait()
            try:
                body = await post(gateway.engines, dialect, replica, call.path, call.body)
            except asyncio.CancelledError:
                gateway.late(task)
                raise
            finally:
                gateway.end_wait(task)
            return _ended(trip, asked, _take_whole(trip, choice, read_whole(dialect, replica, body)))
        finally:
            seat.leave()

    return on_some_replica(gateway, trip, on, asked)


def _generate_stream(
    gateway: Gateway, trip: Trip, choice: int, work: Generation, asked: Asked
) -> Coroutine[object, object, Usage]:
    written, began, known = Written(), gateway.now(), 0

    async def on(slot: Slot) -> Usage:
        nonlocal known
        if written.begun and work.constraint and not trip.streams:
            known = max(known, written.count)
            written.forget()
            trip.answer.restart(choice)  # type: ignore[union-attr]  # nobody has seen it
        if not written.begun:
            if trip.model and trip.model.deployment.hedges:
                return _ended(trip, slot.asked, await hedged(gateway, trip, slot, afresh))
            return _ended(trip, slot.asked, await afresh(slot))
        dialect = gateway.routing.dialect(slot.replica)
        seat = take_seat(trip, dialect, slot.replica, work, asked.prompt)
        try:
            rest = _Rest(gateway, trip, slot.replica, seat.work, written, began)
            return _ended(trip, slot.asked, await rest.run(_Passing(gateway, trip, choice, slot.asked, written)))
        finally:
            seat.leave()

    async def afresh(slot: Slot, race: Race | None = None) -> Usage:
        replica, taker = slot.replica, _Passing(gateway, trip, choice, slot.asked, written)
        dialect = gateway.routing.dialect(replica)
        seat = take_seat(trip, dialect, replica, work, asked.prompt)
        try:
            through = race.gate(slot, taker) if race else taker
            run = StreamRun(gateway.loop, dialect, replica, through, began, known)
            with gateway.watched(trip, run):
                return await run_stream(gateway.engines, dialect, replica, seat.work, run)
        except asyncio.CancelledError:
            if race is not None and race.winner is not None:
                trip.runs.remove(run)  # it lost: nothing of it counts
            raise
        finally:
            seat.leave()

    return on_some_replica(gateway, trip, on, asked, written)


def _take_whole(trip: Trip, choice: int, delta: Delta) -> Usage:
    assert trip.answer and delta.usage  # read_whole gives no answer without
    trip.answer.take(choice, delta)
    return delta.usage


def _ended(trip: Trip, asked: Asked, usage: Usage) -> Usage:
    """Tell what a run took, while it still has its slot."""
    charge(trip, usage)
    asked.told(usage)
    return usage


async def on_some_replica(
    gateway: Gateway,
    trip: Trip,
    work: Callable[[Slot], Coroutine[object, object, T]],
    asked: Asked,
    written: Written | None = None,
) -> T:
    """Do `work` on a slot's replica; on another one, or later, when an engine failed. Raises Refusal."""
    tries, began = None, gateway.now()
    while True:
        slot, failure = Slot(gateway, trip, asked, tries), None
        try:
            slot.take() or await slot.wait()
            try:
                result = await work(slot)
            except EngineFailed as failed:
                failure = failed
                tries = tries or Tries(gateway, trip, written, began)
                tries.note(slot.replica, failure)  # before the slot goes to the next in line
            finally:
                slot.free()
        except Superseded:
            raise
        except Refusal as refusal:
            if tries is not None and tries.failure is not None and refusal.code in _NOBODY:
                raise tries.failure from None
            raise
        if failure is None or tries is None:
            _succeeded(gateway, trip, slot, tries, result)
            return result
        if not tries.again(failure):
            try:
                raise failure
            finally:
                del failure  # its frames hold the trip


def _succeeded(gateway: Gateway, trip: Trip, slot: Slot, tries: Tries | None, result: object) -> None:
    """Count a run that came to its end."""
    served, replica = trip.served, slot.replica
    assert served
    if slot.asked.request_id:  # else it was but a question
        tokens = result.output_tokens if isinstance(result, Usage) else 0
        served.tallies[replica.revision].add(slot.first_s or slot.held_s, tokens)
        if slot.first_s and served.wanted.deployment.hedges:
            served.first_s.append(slot.first_s)
    if served.circuits:
        served.circuits.succeeded(replica.id, replica.epoch, gateway.now())
    gateway.budget(served.name).succeeded()
    for one in tries.erred if tries is not None else ():
        if one.id != replica.id:
            served.failed(one, gateway.now())
            served.tallies[one.revision].failed += 1


class _Passing:
    """Passes on what the engine added, in the callback that brought it: no task wakes for a token."""

    __slots__ = ("_asked", "_choice", "_gateway", "_trip", "_written")

    def __init__(self, gateway: Gateway, trip: Trip, choice: int, asked: Asked, written: Written) -> None:
        self._gateway, self._trip, self._choice, self._asked, self._written = gateway, trip, choice, asked, written

    def texts(self, texts: Sequence[str]) -> None:
        """See Taker."""
        if self._asked.heard is not None:
            self._asked.read()
        self._written.add_texts(texts)
        answer = self._trip.answer
        assert answer
        if events := answer.texts(self._choice, texts):
            if self._trip.first_token_at is None:
                self._start()
            self._trip.exchange.send(events)

    def delta(self, delta: Delta) -> None:
        """See Taker."""
        if self._asked.heard is not None:
            self._asked.read()
        self._written.add(delta)
        answer = self._trip.answer
        assert answer
        if events := answer.take(self._choice, delta):
            if self._trip.first_token_at is None:
                self._start()
            self._trip.exchange.send(events)

    def _start(self) -> None:
        trip = self._trip
        trip.first_token_at = self._gateway.now()
        trip.exchange.start(200, STREAM_HEADERS + trip.head_lines)


class _New:
    """Passes on what is new in an answer that is made again; raises Refusal when it does not begin as it had begun."""

    __slots__ = ("_replay", "_taker")

    def __init__(self, replay: Replay, taker: Taker) -> None:
        self._replay, self._taker = replay, taker

    def texts(self, texts: Sequence[str]) -> None:
        """See Taker."""
        for text in texts:
            self.delta(Delta(text))

    def delta(self, delta: Delta) -> None:
        """See Taker."""
        try:
            fresh = self._replay.take(delta)
        except Diverged:
            message = (
                "The engine was lost before the answer was whole, and the answer made anew begins otherwise than "
                "what was sent. Try again; with `temperature` 0, or without a stream, this does not happen."
            )
            raise Refusal("engine_failed", message, retry_after_s=1) from None
        if fresh is not None:
            self._taker.delta(fresh)


class _Rest:
    """What is left of a generation of which something came, for one replica to do."""

    __slots__ = ("_began", "_dialect", "_gateway", "_replica", "_trip", "_work", "_written")

    def __init__(
        self, gateway: Gateway, trip: Trip, replica: Replica, work: Generation, written: Written, began: float
    ) -> None:
        self._gateway, self._trip, self._replica = gateway, trip, replica
        self._work, self._written, self._began = work, written, began
        self._dialect: Dialect = gateway.routing.dialect(replica)

    async def run(self, taker: Taker) -> Usage:
        """Make it and give it to `taker`; return what the whole answer took. Raises Refusal."""
        if self._work.constraint is not None and self._written.finish is None:
            replay = _New(Replay(self._written.text), taker)
            return await self._run(self._work, replay, self._written.count)
        return await self._go_on(taker)

    async def _go_on(self, taker: Taker) -> Usage:
        written = self._written
        if written.prompt is None:
            written.prompt = await self._prompt()
        said = await self._tokens(written.texts, begins=False)
        if written.finish is not None:
            return usage_at_end(written.prompt, said, written.finish)
        rest = continuation(self._work, written.prompt, said, self._replica.context_tokens)
        if rest is None:
            taker.delta(Delta(finish=FinishReason.LENGTH))
            return usage_at_end(written.prompt, said, FinishReason.LENGTH)
        self._cleared()
        return usage_of(written.prompt, said, await self._run(rest, taker))

    async def _run(self, work: Generation, taker: Taker, known: int = 0) -> Usage:
        run = StreamRun(self._gateway.loop, self._dialect, self._replica, taker, self._began, known)
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


def _repeatable(work: Generation) -> Generation:
    """A constrained answer can only be made again from its start: it gets a seed where chance would decide."""
    sampling = work.sampling
    if work.constraint is None or sampling.seed is not None or sampling.temperature == 0:
        return work
    return replace(work, sampling=replace(sampling, seed=secrets.randbelow(_SEEDS)))
