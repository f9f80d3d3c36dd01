"""The book of what gateways hold and have used: leases are written into it, and their ledgers are counted into it.

What was used is what a gateway's own ledger shows, which has one durable entry for each answer. How far it is counted
stands in the same transaction as the counters, so an entry is counted once, whoever is killed when.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Final

from fastness.control.alongside import alongside
from fastness.control.counting import uses_of
from fastness.control.failures import Log
from fastness.control.problem import Problem
from fastness.core.ids import is_name
from fastness.core.limit import DAY_S, MINUTE_S, Limit, Metric
from fastness.ledger.following import Place, end_of, follow, place_of
from fastness.ledger.port import LedgerCorrupt
from fastness.store.port import AccessStore, LimitStore, Unavailable
from fastness.traffic.quota import Gateway, Grant, Wish, charged

FOLLOW_S: Final = 1.0
"""How soon what was used is counted; leases do not wait for it."""
ENTRIES_MAX: Final = 10_000
"""Entries counted in one transaction."""
WINDOWS_AHEAD: Final = 2
"""How many windows a gateway's clock may be away from ours."""
MINUTES_KEPT_S: Final = 3_600
DAYS_KEPT_S: Final = 32 * DAY_S
"""How long it is remembered what was used in a minute, and in a day."""


class Quotas:
    """Answers gateways' wishes and counts their ledgers, one thing at a time. `clock`: seconds since 1970."""

    def __init__(
        self, store: LimitStore, access: AccessStore, ledgers: Path, clock: Callable[[], float], log: Log
    ) -> None:
        self._store, self._access, self._ledgers, self._clock, self._log = store, access, ledgers, clock, log
        self._order = asyncio.Lock()
        self._places: dict[str, Place] = {}
        self._troubled: dict[str, str] = {}
        self._known: tuple[int, tuple[Limit, ...]] = (-1, ())

    async def lease(self, name: str, boot: str, sequence: int, wishes: tuple[Wish, ...]) -> tuple[Grant, ...]:
        """Answer a gateway's wishes; raises Problem, store.port.Conflict and Unavailable, LedgerCorrupt.

        Of a gateway that was started anew, all that its ledger shows is counted first: what its former start held
        beyond that is free again.
        """
        now_s = int(self._clock())
        if not is_name(name):
            raise Problem("invalid_value", "`gateway` needs the name of a log.", "gateway-0", param="gateway")
        for wish in wishes:
            _check(wish, now_s)
        async with self._order:
            return await asyncio.to_thread(self._lease, name, boot, sequence, wishes, now_s)

    async def count(self) -> None:
        """Count what every gateway's ledger shows and is not counted yet; a problem is logged once.

        A part at a time, with leases in between: after a pause of control's own there may be much of it.
        """
        more = True
        while more:
            async with self._order:
                more = await asyncio.to_thread(self._count_parts)

    def used(self, limit: Limit, metric: Metric, now_s: float) -> tuple[int, int]:
        """Return what was used in the present window as the ledgers show it, and what is charged with leases. Blocks.

        Raises store.port.Unavailable.
        """
        gateways = {one.name: one for one in self._store.gateways()}
        lines = self._store.lines((limit.scope.id, metric, metric.window_s(now_s)))
        windowed = bool(metric.period_s)
        held = sum(charged(one, gateways.get(one.gateway), windowed=windowed, now_s=now_s) for one in lines)
        return sum(one.used for one in lines), held

    def keep_counting(self, period_s: float = FOLLOW_S) -> AbstractAsyncContextManager[None]:
        """Count now and then until the block ends."""
        return alongside(self._watch(period_s))

    async def _watch(self, period_s: float) -> None:
        while True:
            try:
                await self.count()
            except Unavailable as error:
                self._trouble("store", str(error))
            except Exception as error:  # noqa: BLE001 - a defect must not end the counting for good
                self._trouble("defect", type(error).__name__)
            await asyncio.sleep(period_s)

    def _lease(self, name: str, boot: str, sequence: int, wishes: tuple[Wish, ...], now_s: int) -> tuple[Grant, ...]:
        known = self._store.gateway(name)
        position = 0
        if known is None:
            position = end_of(self._ledgers / name)
        elif known.boot != boot:
            while self._count_part(name):
                pass
        return self._store.lease(Gateway(name, boot, sequence, position, now_s), wishes)

    def _count_parts(self) -> bool:
        """Count a part of every ledger; tell whether there is more."""
        more = False
        for gateway in self._store.gateways():
            try:
                more |= self._count_part(gateway.name)
            except (LedgerCorrupt, OSError) as error:
                self._trouble(gateway.name, str(error))
            else:
                self._troubled.pop(gateway.name, None)
        now_s = int(self._clock())
        minutes = [metric for metric in Metric if metric.period_s == MINUTE_S]
        days = [metric for metric in Metric if metric.period_s == DAY_S]
        if now_s % MINUTE_S < FOLLOW_S:
            self._store.forget_uses(minutes, now_s - MINUTES_KEPT_S)
            self._store.forget_uses(days, now_s - DAYS_KEPT_S)
        return more

    def _count_part(self, name: str) -> bool:
        """Count a part of one ledger; tell whether there is more.

        Where it stands is asked of the store: it alone knows what was counted.
        """
        known = self._store.gateway(name)
        if known is None:
            return False
        place = self._places.get(name)
        if place is None or place.index != known.position:
            if (end := end_of(self._ledgers / name)) < known.position:  # the disk lost what was counted already
                self._store.settle(name, known.position, end, {})
                self._trouble(name, f"the ledger of {name} ends at {end}, and {known.position} were counted")
                return True
            place = place_of(self._ledgers / name, known.position)
        self._places.pop(name, None)  # what was read and refused by the disk may be other entries now: then look anew
        entries, after = follow(self._ledgers / name, place, ENTRIES_MAX)
        if entries and not self._store.settle(name, known.position, after.index, uses_of(entries, self._limits())):
            return True  # another control process was quicker: from where it stopped
        self._places[name] = after
        return len(entries) == ENTRIES_MAX

    def _limits(self) -> tuple[Limit, ...]:
        """The limits in force; all of access is read only when something of it has changed."""
        version = self._access.version()
        if version != self._known[0]:
            known = self._access.access()
            self._known = known.version, known.limits
        return self._known[1]

    def _trouble(self, what: str, reason: str) -> None:
        if self._troubled.get(what) != reason:
            self._troubled[what] = reason
            self._log.record("error", "quota.not_counted", reason=reason)


def _check(wish: Wish, now_s: int) -> None:
    away_s = abs(wish.window_s - wish.metric.window_s(now_s))
    if wish.metric.window_s(wish.window_s) != wish.window_s or away_s > WINDOWS_AHEAD * wish.metric.period_s:
        raise Problem(
            "invalid_value",
            f"`window_s` is {wish.window_s}, and it is {now_s} here: that is no window of {wish.metric.value} near it.",
            "Set the clocks of both machines.",
            param="window_s",
        )
