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
from fastness.core.request import Delta, Generation, Usage
from fastness.gateway.asking import charge
from fastness.gateway.choosing import Asked
from fastness.gateway.hedging import hedged
from fastness.gateway.race import Race
from fastness.gateway.relay import (
    EngineFailed,
    StreamRun,
    post,
    read_whole,
    run_stream,
)
from fastness.gateway.resuming import Rest
from fastness.gateway.seat import take_seat
from fastness.gateway.served_model import Superseded
from fastness.gateway.slot import Slot
from fastness.gateway.tries import Tries
from fastness.traffic.continuation import Written

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
            rest = Rest(gateway, trip, slot.replica, seat.work, written, began)
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
    gateway.budget(served.name).succeeded(0 if tries is None else tries.paid)
    for one in tries.erred if tries is not None else ():
        if one.id != replica.id:
            served.failed(one, gateway.now())


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


def _repeatable(work: Generation) -> Generation:
    """A constrained answer can only be made again from its start: it gets a seed where chance would decide."""
    sampling = work.sampling
    if work.constraint is None or sampling.seed is not None or sampling.temperature == 0:
        return work
    return replace(work, sampling=replace(sampling, seed=secrets.randbelow(_SEEDS)))
