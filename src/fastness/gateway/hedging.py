"""Asking a second replica for an answer whose first token is late, and taking the one that begins first.

Only where a deployment says so and policy permits it, and never at the cost of anybody else: the second replica has a
slot that idles, nobody waits, and it is paid for out of the budget of retries. The one that loses is told to stop at
once, its slot goes to the next in line, and its tenant is charged for one answer.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any

from fastness.core.error import Refusal
from fastness.core.policy import Action, Query
from fastness.core.priority import Band
from fastness.core.replica import Replica, ReplicaState
from fastness.core.request import Usage
from fastness.gateway.race import Race
from fastness.gateway.relay import EngineAway, EngineErred, EngineFailed
from fastness.gateway.slot import Slot
from fastness.traffic.circuit import CircuitState

if TYPE_CHECKING:
    from fastness.gateway.gateway import Gateway
    from fastness.gateway.trip import Trip

Begin = Callable[[Slot, Race], Coroutine[object, object, Usage]]
"""Runs the generation on a slot, what comes of it going through the race's gate for that slot."""


async def hedged(gateway: Gateway, trip: Trip, slot: Slot, begin: Begin) -> Usage:
    """Run a generation on `slot`, and on another one, too, if it does not begin in time; raises Refusal.

    In the end `slot` is the one that the answer came from.
    """
    assert trip.served
    loop, race, other = gateway.loop, Race(gateway.loop), None
    tasks = [_begun(loop, begin(slot, race))]
    try:
        await _until_begun(race, tasks, trip.served.late_s(gateway.settings.traffic))
        if not race.begun.done() and not tasks[0].done() and (other := _second(gateway, trip, slot)) is not None:
            tasks.append(_begun(loop, begin(other, race)))
            await _until_begun(race, tasks)
            if race.winner is other:
                slot.swap(other)
                tasks.reverse()
            elif race.winner is None and tasks[1].done():
                _note_failure(gateway, trip, other, tasks[1])
            tasks[1].cancel()
            await asyncio.wait({tasks[1]})  # its engine has heard of it before its slot is another's
            other.waste()
            other = None
        return await tasks[0]
    finally:
        for task in tasks:
            task.cancel()
        try:
            await asyncio.wait(tasks)
        finally:
            if other is not None:
                other.waste()


def _begun(loop: asyncio.AbstractEventLoop, run: Coroutine[object, object, Usage]) -> asyncio.Task[Usage]:
    task = loop.create_task(run)
    task.add_done_callback(_heard)
    return task


def _heard(task: asyncio.Task[Usage]) -> None:
    """What a run fails with is told by whoever waits for it, or nobody need know."""
    if not task.cancelled():
        task.exception()


async def _until_begun(race: Race, tasks: list[asyncio.Task[Usage]], timeout_s: float | None = None) -> None:
    """Wait until something came, or one has ended, or the time is over."""
    waited: set[asyncio.Future[Any]] = {*tasks, race.begun}
    await asyncio.wait(waited, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)


def _second(gateway: Gateway, trip: Trip, slot: Slot) -> Slot | None:
    """Take an idle slot of another cleared replica; None when there is none, or nobody may."""
    served, policy, principal, mark = trip.served, gateway.policy, trip.principal, trip.mark
    assert served and trip.model and principal and mark
    if served.queue.waiting or trip.band is Band.BATCH or policy is None:
        return None
    face = trip.model.faces[trip.adapter]
    if not policy.permits(Query(principal, Action.HEDGE, mark.label, face, None, trip.parameters)):
        return None
    try:
        usable = gateway.usable(trip)
    except Refusal:
        return None  # what runs goes on; nothing more is asked
    now = gateway.now()
    idle = frozenset(
        one.id
        for one in trip.model.replicas.values()
        if (usable is None or one.id in usable) and one.id != slot.replica.id and _idles(trip, one, now)
    )
    if not idle or not gateway.budget(served.name).take(now):
        return None
    other = slot.beside(idle)
    if other is not None:
        trip.hedged += 1
        gateway.meters.retry(served.name, "hedged")
    return other


def _idles(trip: Trip, replica: Replica, now_s: float) -> bool:
    assert trip.served
    lane = trip.served.queue.lanes.get(replica.id)
    return (
        replica.state is ReplicaState.READY
        and lane is not None
        and lane.in_flight < trip.served.choosing.dealt(replica).count
        and trip.served.circuit(replica, now_s) is CircuitState.CLOSED
    )


def _note_failure(gateway: Gateway, trip: Trip, other: Slot, ended: asyncio.Task[Usage]) -> None:
    """The second failed before it began: that counts against its replica, and the first goes on alone."""
    failure = None if ended.cancelled() else ended.exception()
    if isinstance(failure, EngineFailed) and not isinstance(failure, EngineErred):
        assert trip.served
        trip.served.failed(other.replica, gateway.now(), gone=isinstance(failure, EngineAway))
    if failure is not None:
        failure.__traceback__ = failure.__context__ = None  # its frames hold the trip
