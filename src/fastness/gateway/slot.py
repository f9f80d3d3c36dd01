"""A slot on a replica, for one try of one generation."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fastness.core.error import Refusal
from fastness.core.replica import Replica
from fastness.gateway.admit import arrive, wait_for
from fastness.gateway.asking import ask_of
from fastness.gateway.choosing import Asked
from fastness.gateway.tries import Tries, deadline_of

if TYPE_CHECKING:
    from fastness.gateway.gateway import Gateway
    from fastness.gateway.trip import Trip
    from fastness.traffic.fair_queue import Usable


class Slot:
    """A slot on a replica: to be taken, or else waited for at once, and to be freed however its use ends.

    `replica` is where it is, once it is had; `tries` is None as long as nothing has failed. `first_s` is when the first
    token came, in seconds from when the slot was had (0.0: none by itself), `held_s` how long it was had.
    """

    __slots__ = (
        *("_ask", "_gateway", "_name", "_served", "_taken", "_tries", "_trip"),
        *("asked", "first_s", "held_s", "replica"),
    )

    def __init__(self, gateway: Gateway, trip: Trip, asked: Asked, tries: Tries | None = None) -> None:
        assert trip.served
        self._gateway, self._trip, self._served, self._tries = gateway, trip, trip.served, tries
        self.asked = asked

    def take(self) -> Replica | None:
        """Take it, if one is free, and return its replica; None: `wait` for it. Raises Refusal."""
        trip, tries, began = self._trip, self._tries, self._gateway.now()
        deadline_s, self._taken = deadline_of(self._gateway, trip, tries, began), began
        self._ask = ask_of(trip, deadline_s, self._usable(), returns=tries is not None and tries.failure is not None)
        name = arrive(self._served, self, began, self._ask)
        return None if name is None else self._has(name)

    async def wait(self) -> Replica:
        """Wait for the slot and return its replica; raises Refusal."""
        trip, began = self._trip, self._taken
        try:
            name = await wait_for(self._served, self, began, self._ask, self._usable, self._cleared)
        except BaseException as error:
            self.asked.over()  # a slot may have been given in the moment of giving up
            if isinstance(error, Refusal) and error.code == "queue_timeout" and trip.wait_s is not None:
                error.should_retry = False  # the caller's own time is over: nobody waits for the answer
            raise
        self._taken = self._gateway.now()
        trip.queue_s = max(trip.queue_s, self._taken - began)
        return self._has(name)

    def _has(self, name: str) -> Replica:
        replica = self._served.replicas.get(name)
        if replica is None:
            self.asked.over()
            self._served.return_unused(name, self._ask)
            raise self._served.not_ready()
        self._name, self._trip.replica, self.asked.heard = name, replica, self._read
        self.replica = replica
        self.asked.is_read, self.first_s = False, 0.0
        return replica

    def beside(self, idle: frozenset[str]) -> Slot | None:
        """Take another slot for the same on one of these replicas, if it is free at once and nobody waits."""
        asked = Asked(self.asked.request_id, self.asked.prompt)
        asked.hedges = True
        other, had = Slot(self._gateway, self._trip, asked), self._trip.replica
        other._taken, other._ask = self._gateway.now(), self._ask._replace(usable=idle)
        name = self._served.queue.seize(other, other._ask)
        if name is None:
            return None
        other._has(name)
        self._trip.replica = had
        return other

    def swap(self, other: Slot) -> None:
        """From now on this is the other slot, and the other one is this."""
        for name in ("_ask", "_name", "_taken", "asked", "first_s", "replica"):
            mine, theirs = getattr(self, name), getattr(other, name)
            setattr(self, name, theirs)
            setattr(other, name, mine)
        for one in (self, other):
            if one.asked.heard is not None:
                one.asked.heard = one._read
        self._trip.replica = self.replica

    def waste(self) -> None:
        """Give it back, and charge nothing for what was done there."""
        self._served.queue.settle(self._ask.tenant, self._ask, 0, 0)
        self.free()

    def _usable(self) -> Usable:
        usable = self._gateway.usable(self._trip)
        return usable if self._tries is None else self._tries.elsewhere(usable)

    def _cleared(self) -> Usable:
        return self._gateway.usable(self._trip)

    def _read(self) -> None:
        if self.asked.is_read:
            self.first_s = self._gateway.now() - self._taken
        if admitted := self._served.queue.read(self._name, self._ask):
            self._served.wake(admitted)

    def free(self) -> None:
        """Give it to the next in line."""
        asked = self.asked
        unread = asked.heard is not None
        if unread or asked.choice is not None:
            asked.over()
        now = self._gateway.now()
        self.held_s = now - self._taken
        admitted = self._served.queue.release(self._name, now, self.held_s, self._ask, unread)
        if admitted:
            self._served.wake(admitted)
