"""Taking a slot, and waiting for one: the queue decides, here it is waited for."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Hashable

from fastness.core.error import Refusal
from fastness.gateway.served import Served, Waiter
from fastness.traffic.fair_queue import Ask, Full, Usable


def arrive(served: Served, ticket: Hashable, now_s: float, asked: Ask) -> str | None:
    """Take a slot on a usable replica, if one is free, and return that replica's id; None: now wait for it, at once.

    Raises Refusal: queue_full, no_replica_ready.
    """
    may, queue = asked.usable, served.queue
    if not queue.is_served(may) and (in_vain := served.in_vain(may, now_s, asked.deadline_s)) is not None:
        raise in_vain
    taken = queue.arrive(ticket, asked, now_s)
    if isinstance(taken, Full):
        raise _full(served, taken)
    return taken


async def wait_for(
    served: Served,
    ticket: Hashable,
    now_s: float,
    asked: Ask,
    usable: Callable[[], Usable],
    cleared: Callable[[], Usable] | None = None,
) -> str:
    """Wait for the slot that `arrive` did not have, and return its replica's id. `usable` is asked after every change.

    `cleared`, unless None, are those that policy allows, where `usable` leaves some of them out for other reasons.

    Raises Refusal: queue_timeout, no_replica_ready, or what `usable` raises.
    """
    while True:
        replica = await _granted(served, ticket, now_s, asked, usable)
        # Between the giving of the slot and this turn of the loop, policy or replicas may have changed (law 4).
        try:
            may = (cleared or usable)()
        except BaseException:
            served.return_unused(replica, asked)
            raise
        if replica in served.replicas and (may is None or replica in may):
            return replica
        # Another one will do as well, and it is not the request's fault: it waits in front of all.
        served.return_unused(replica, asked)
        asked = asked._replace(usable=may, returns=True)
        if (taken := arrive(served, ticket, asyncio.get_running_loop().time(), asked)) is not None:
            return taken


async def _granted(served: Served, ticket: Hashable, now_s: float, asked: Ask, usable: Callable[[], Usable]) -> str:
    loop = asyncio.get_running_loop()
    future: asyncio.Future[str] = loop.create_future()
    served.waiters[ticket] = Waiter(future, usable, asked)
    served.watch(loop)
    granted = False
    try:
        replica = await future
        granted = True
    except TimeoutError:
        may = usable()
        if not served.queue.is_served(may):
            raise served.not_ready(may, loop.time()) from None
        raise _too_late(served, asked, now_s, loop.time(), may) from None
    else:
        return replica
    finally:
        served.waiters.pop(ticket, None)
        if not granted:
            served.queue.leave(ticket)
            # A slot given in the very moment of giving up goes to the next in line.
            if future.done() and not future.cancelled() and future.exception() is None:
                served.return_unused(future.result(), asked)


def _full(served: Served, full: Full) -> Refusal:
    waiting, model = f"{full.waiting:,} generations", served.name
    if full.tenant is None:
        message = f"{waiting} wait for {model} already, which is the limit."
    else:
        message = (
            f"{waiting} of tenant {full.tenant} wait for {model} already: the most that it may have now in a queue of "
            f"{full.limit:,} that is for others too."
        )
    after_s = full.retry_after_s
    return Refusal("queue_full", f"{message} Try again in {after_s} s.", retry_after_s=after_s)


def _too_late(served: Served, ask: Ask, since_s: float, now_s: float, usable: Usable) -> Refusal:
    after_s = served.queue.retry_after_s(usable, now_s, ask)
    waited_s = max(0.0, ask.deadline_s - since_s)
    message = (
        f"No slot of {served.name} came free for this request within {round(waited_s, 2):g} s; "
        f"{len(served.queue.waiting):,} generations wait. Try again in {after_s} s."
    )
    return Refusal("queue_timeout", message, retry_after_s=after_s)
