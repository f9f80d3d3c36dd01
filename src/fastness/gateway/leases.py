"""What a gateway may use of the limits, leased from control ahead of need: no request waits for it as a rule.

One question at a time, over control's socket. What is asked is a sum to hold in all (traffic/quota.py), so that a
question whose answer was lost may be asked again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

import msgspec

from fastness.core.gateways import FIRST
from fastness.gateway.http import EngineLost
from fastness.traffic.limits import Limits
from fastness.traffic.meter import Meter
from fastness.traffic.quota import Grant, Wish

if TYPE_CHECKING:
    from fastness.core.limit import Limit
    from fastness.gateway.http import EngineConnections
    from fastness.telemetry.log import JsonLog

PATH: Final = "/api/v1/quota/lease"
ANSWER_TIMEOUT_S: Final = 2.0
ANSWER_BYTES_MAX: Final = 1_048_576
RETRY_S: Final = 0.25
"""After control did not answer: how soon it is asked again."""
TICK_S: Final = 1.0
"""How often it is looked whether leases need renewal, or lie idle."""
WISHES_MAX: Final = 512
"""Wishes of one question; the others are for the next."""


class LeaseCall(msgspec.Struct, frozen=True):
    """The question; control's `LeaseBody` is the same."""

    gateway: str
    boot: str
    sequence: int
    wishes: list[Wish]


class LeaseAnswer(msgspec.Struct, frozen=True):
    """The answer: one grant for each wish."""

    grants: list[Grant]


class Leases:
    """The leases of one gateway. `boot` names this start of it; without a `socket` nothing can be leased.

    `clock` tells seconds since 1970.
    """

    def __init__(
        self,
        clock: Callable[[], float],
        connections: EngineConnections | None = None,
        socket: str = "",
        name: str = FIRST,
        boot: str = "",
        log: JsonLog | None = None,
    ) -> None:
        self.limits = Limits()
        self._clock, self._connections, self._socket = clock, connections, socket
        self._name, self._boot, self._log = name, boot, log
        self._sequence = 0
        self._running: asyncio.Task[bool] | None = None
        self._retry_at_s = 0.0
        self._away = False
        self._decoder = msgspec.json.Decoder(LeaseAnswer)

    def replace(self, limits: tuple[Limit, ...]) -> None:
        """From now on these limits."""
        self.limits.replace(limits, self._clock())

    async def fill(self, meters: tuple[Meter, ...], tokens: int) -> bool:
        """Ask for what a request lacks, and wait for the answer; False: control is away."""
        lacking = self.limits.lacking(meters, tokens, self._clock())
        for meter, need in lacking:
            meter.asked += need
        try:
            return await self._ask()
        finally:
            for meter, need in lacking:
                meter.asked -= need

    async def look(self, meters: tuple[Meter, ...]) -> bool:
        """Ask what is left of these limits; False: control is away."""
        self.limits.watch(meters)
        return await self._ask()

    def nudge(self) -> None:
        """See to it that what runs low is filled, in the background."""
        if self._running is None and self._clock() >= self._retry_at_s:
            self._start()

    async def keep(self) -> None:
        """Renew and give back, until cancelled."""
        while True:
            await asyncio.sleep(TICK_S)
            self.nudge()

    async def close(self) -> None:
        """Give back what was not used. Raises nothing."""
        self.limits.let_go()
        await self._ask()

    async def _ask(self) -> bool:
        """Have a question put that knows of everything asked so far."""
        if self._running is not None:
            await asyncio.wait({self._running})
        if self._running is None:
            if self._clock() < self._retry_at_s:
                return False
            self._start()
        running = self._running
        assert running
        await asyncio.wait({running})
        return running.result()

    def _start(self) -> None:
        self._running = asyncio.get_running_loop().create_task(self._exchange())
        self._running.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[bool]) -> None:
        self._running = None
        if task.cancelled() or task.exception() or not task.result():
            self._retry_at_s = self._clock() + RETRY_S

    async def _exchange(self) -> bool:
        now_s = self._clock()
        wishes = self.limits.wishes(now_s)[:WISHES_MAX]
        if not wishes:
            return True
        self._sequence += 1
        call = LeaseCall(self._name, self._boot, self._sequence, [wish for _, wish in wishes])
        reason = await self._put(call, wishes, now_s)
        if (reason is not None) != self._away and self._log:
            self._log.record("warning" if reason else "info", "quota.away" if reason else "quota.back", reason=reason)
        self._away = reason is not None
        return reason is None

    async def _put(self, call: LeaseCall, wishes: list[tuple[Meter, Wish]], now_s: float) -> str | None:
        """Ask, and take in the answer; return why there is none."""
        if self._connections is None:
            return "there is no control plane here"
        try:
            async with asyncio.timeout(ANSWER_TIMEOUT_S):
                body = msgspec.json.encode(call)
                said = await self._connections.call(self._socket, PATH, body, answer_bytes_max=ANSWER_BYTES_MAX)
            if said.status != 200:
                return f"control answered {said.status}"
            grants = self._decoder.decode(said.body).grants
        except TimeoutError:
            return "control did not answer in time"
        except EngineLost:
            return "control cannot be reached"
        except (msgspec.DecodeError, UnicodeDecodeError):
            return "control answered what cannot be read"
        if len(grants) != len(wishes):
            return "control answered another number of wishes"
        for (meter, wish), grant in zip(wishes, grants, strict=True):
            self.limits.granted(meter, wish, grant, now_s)
        return None
