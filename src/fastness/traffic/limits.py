"""The limits as a gateway keeps them: what it may use of each, what it has taken, and what a request is told of it.

A request takes what it is estimated to need before it runs, and settles for what it really used at its end. Nothing
here asks anybody: what a gateway may use was leased before (see `quota`), and what it lacks it lists as wishes.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from fastness.core.limit import Limit, Metric, Scope
from fastness.traffic.meter import Meter
from fastness.traffic.quota import Grant, Wish

LEASE_S: Final = 40
"""How long a share of what may run at the same time holds without renewal; control counts longer, never shorter."""
RENEW_S: Final = 10
FRESH_S: Final = 0.5
"""How long it is believed that a limit is used up before control is asked again: others may give some back."""
IDLE_S: Final = 3.0
"""After so long without a request, what is left of a lease goes back."""
APPLYING_MAX: Final = 65_536
"""Combinations of tenant, key and model whose limits are remembered; beyond it all are looked up anew."""


@dataclass(slots=True)
class Reservation:
    """What a request took: of which limits, how many tokens, and when (seconds since 1970)."""

    meters: tuple[Meter, ...]
    tokens: int
    at_s: float


class Limits:
    """The limits in force at one gateway. Times are seconds since 1970."""

    def __init__(self) -> None:
        self._limits: tuple[Limit, ...] = ()
        self._meters: dict[tuple[Scope, Metric], Meter] = {}
        self._by_whom: dict[tuple[str | None, str | None], dict[str | None, list[Meter]]] = {}
        self._active: dict[Meter, None] = {}  # in the order in which they came to be
        self._applying: dict[tuple[str, str, str], tuple[Meter, ...]] = {}
        self.low = False
        """Whether some lease runs low: it is time to ask for more."""

    def replace(self, limits: tuple[Limit, ...], now_s: float) -> None:
        """From now on these limits. What was taken of one that stays, or comes back in its window, stays taken."""
        if limits == self._limits:
            return
        kept = {one: meter for one, meter in self._meters.items() if meter.until_s > now_s or meter.taken}
        self._by_whom = {}
        for limit in limits:
            scope = limit.scope
            met = self._by_whom.setdefault((scope.tenant, scope.key), {}).setdefault(scope.model, [])
            for metric, bound in limit.bounds():
                meter = kept.get((scope, metric)) or Meter(limit, metric, bound)
                kept[scope, metric] = meter
                meter.limit, meter.bound = limit, bound
                meter.held = min(meter.held, max(0, bound - meter.others))
                met.append(meter)
        self._limits, self._meters = limits, kept
        self._active = {meter: None for meter in self._active if kept.get((meter.limit.scope, meter.metric)) is meter}
        self._applying.clear()

    def of(self, tenant: str, key: str, model: str) -> tuple[Meter, ...]:
        """Return what a request is counted in; empty when nothing limits it."""
        if not self._by_whom:
            return ()
        found = self._applying.get((tenant, key, model))
        if found is None:
            met = [of for by_model in self._whose(tenant, key) for of in map(by_model.get, (model, None)) if of]
            found = tuple(itertools.chain.from_iterable(met))
            if len(self._applying) >= APPLYING_MAX:
                self._applying.clear()
            self._applying[tenant, key, model] = found
        return found

    def about(self, tenant: str, key: str) -> tuple[Meter, ...]:
        """Return every limit that a tenant and key may meet, whatever the model."""
        return tuple(meter for by_model in self._whose(tenant, key) for met in by_model.values() for meter in met)

    def _whose(self, tenant: str, key: str) -> list[dict[str | None, list[Meter]]]:
        whom = ((tenant, None), (tenant, key), (None, key), (None, None))
        return [self._by_whom[one] for one in whom if one in self._by_whom]

    def take(self, meters: tuple[Meter, ...], tokens: int, now_s: float) -> Reservation | Meter:
        """Take one request and `tokens` of all these limits, or of none: then the first that lacks some is returned."""
        low = False
        for at, meter in enumerate(meters):
            if now_s >= meter.until_s:
                meter.roll(now_s)
            need = tokens if meter.counts_tokens else 1
            left = meter.held - meter.taken - need
            if left < 0:
                for before in meters[:at]:
                    before.taken -= tokens if before.counts_tokens else 1
                return meter
            meter.taken += need
            if left < meter.low:
                low = True
        for meter in meters:
            meter.taken_s = now_s
        self.low = low or self.low
        return Reservation(meters, tokens, now_s)

    def lacking(self, meters: tuple[Meter, ...], tokens: int, now_s: float) -> list[tuple[Meter, int]]:
        """Return which of these limits hold too little for a request, and what it needs of each.

        None of them lies idle from then on: what one holds is not given back while the request waits for another.
        """
        found = []
        for meter in meters:
            if now_s >= meter.until_s:
                meter.roll(now_s)
            meter.taken_s = now_s
            need = tokens if meter.counts_tokens else 1
            if meter.taken + need > meter.held:
                found.append((meter, need))
                self._active[meter] = None
        return found

    def watch(self, meters: Iterable[Meter]) -> None:
        """Ask with the next wishes what is left of these limits."""
        for meter in meters:
            meter.watched = True
            self._active[meter] = None

    def let_go(self) -> None:
        """Give back with the next wishes all that is not taken: nothing more will be."""
        for meter in self._active:
            meter.taken_s = 0.0

    def settle(self, reservation: Reservation, tokens: int | None) -> None:
        """Put what was really used in the place of the estimate; None: it was not a request, nothing ran for it.

        To be called once for each reservation. What a request took in a window that is over is past.
        """
        at_s, beyond, active = reservation.at_s, (tokens or 0) - reservation.tokens, self._active
        for meter in reservation.meters:
            if not meter.period_s:
                meter.taken -= 1
            elif at_s >= meter.window_s:
                if meter.counts_tokens:
                    meter.taken += beyond
                elif tokens is None:
                    meter.taken -= 1
            active[meter] = None

    def wishes(self, now_s: float) -> list[tuple[Meter, Wish]]:
        """Return what to ask control for: more where a lease runs low or is waited for, less where it lies idle.

        What is waited for comes first. To be sent, or forgotten, before it is called again.
        """
        self.low = False
        found = []
        for meter in list(self._active):
            if now_s >= meter.until_s:
                meter.roll(now_s)
            busy = meter.asked or now_s - meter.taken_s < IDLE_S
            hold = meter.taken + meter.asked + meter.slice if busy else meter.taken
            hold = min(hold, max(meter.bound - meter.others, meter.taken + meter.asked))
            stale = not meter.period_s and meter.held and meter.until_s - now_s < LEASE_S - RENEW_S
            more = meter.held - meter.taken < meter.low and hold > meter.held
            if meter.asked or more or stale or meter.watched or (not busy and hold < meter.held):
                least = meter.taken + meter.asked
                meter.held = min(meter.held, hold)  # what is given back must not be used while it is on its way
                found.append((meter, Wish(meter.limit.scope.id, meter.metric, meter.window_s, hold, least)))
            elif not busy and meter.held <= meter.taken and (meter.period_s or not meter.held):
                del self._active[meter]  # until it is asked for again
        return sorted(found, key=lambda one: not one[0].asked)

    def granted(self, meter: Meter, wish: Wish, grant: Grant, asked_s: float) -> None:
        """Control answered a wish that was sent at `asked_s`."""
        if wish.window_s != meter.window_s:
            return  # its window is over
        held, others = min(grant.held, max(0, meter.bound - grant.others)), grant.others
        meter.held, meter.others, meter.told_s, meter.watched = held, others, asked_s, False
        if not meter.period_s:
            meter.until_s = asked_s + LEASE_S
        dry = meter.bound - others <= held
        meter.low = 0 if dry else max(1, meter.slice // 4)

    def is_used_up(self, meter: Meter, tokens: int, now_s: float) -> bool:
        """Tell whether control said lately that so much is not there."""
        need = tokens if meter.counts_tokens else 1
        return now_s - meter.told_s < FRESH_S and meter.left < need
