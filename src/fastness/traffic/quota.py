"""Sharing a limit out among gateways: what each may hold, so that together they never have more than the limit.

For each limit and window, and each gateway, the book has one line. A gateway asks for a sum that it may hold in all in
that window, never for "some more": a request that arrives twice changes nothing. What its ledger says it used is
counted beside that, and whichever is more is charged. A gateway that was started anew holds nothing, and of what its
predecessor held only that stays charged which its ledger shows as used.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Final

from fastness.core.limit import Limit, Metric

GATEWAY_LOST_S: Final = 60
"""How long a gateway that is not heard of keeps its share of what may run at the same time."""


@dataclass(frozen=True, slots=True)
class Gateway:
    """A gateway as control knows it: `boot` names its present start, `sequence` the last of its requests.

    `position` is the index of the first entry of its ledger that is not counted yet, `seen_s` when it was last heard.
    """

    name: str
    boot: str
    sequence: int
    position: int
    seen_s: int


@dataclass(frozen=True, slots=True)
class Line:
    """What one gateway holds of one limit in one window.

    `used` is what its ledger shows, over all its starts; `base` how much of that is from before `boot`, the start that
    asked last; `held` what that start may use.
    """

    gateway: str
    boot: str
    base: int = 0
    held: int = 0
    used: int = 0


@dataclass(frozen=True, slots=True)
class Wish:
    """What a gateway asks of a limit in a window: to hold `hold` in all. Less than `least` would not help it."""

    limit: str
    metric: Metric
    window_s: int
    hold: int
    least: int = 0


@dataclass(frozen=True, slots=True)
class Grant:
    """What it gets: `held` in all; `others` is charged to everybody else, and to its own earlier starts."""

    held: int
    others: int


def charged(line: Line, gateway: Gateway | None, *, windowed: bool, now_s: float) -> int:
    """Return what must be taken for used of a line: by a living start what it holds, by an ended one what it used.

    Without a window (what runs at the same time), a gateway that is not heard of has lost its share.
    """
    alive = gateway is not None and gateway.boot == line.boot
    if alive and (windowed or now_s - gateway.seen_s <= GATEWAY_LOST_S):  # type: ignore[union-attr]  # alive: it is one
        return max(line.base + line.held, line.used)
    return line.used


def lease(bound: int, line: Line | None, gateway: Gateway, others: int, wish: Wish, *, alone: bool) -> Line:
    """Return the line of `gateway` after its wish. `others` is charged to the other gateways of that window.

    Never more than is free is given, and what was given is never taken back: a gateway gives it back by wishing for
    less. Unless it is `alone`, it gets no more than half of what is free beyond what it needs at `least`, so that
    something is left for the others when little is.
    """
    line = line or Line(gateway.name, gateway.boot)
    if line.boot != gateway.boot:
        line = replace(line, boot=gateway.boot, base=line.used, held=0)
    # Held by this start already, or used beyond it (answers that were longer than foreseen): not free.
    free = bound - others - max(line.base + line.held, line.used)
    if wish.hold <= line.held or free <= 0:
        return replace(line, held=min(line.held, max(0, wish.hold)))
    # What it used beyond its lease is in `used`, and a lease that grows must first cover that.
    beyond = max(0, line.used - line.base - line.held)
    want, need = wish.hold - line.held, max(0, wish.least - line.held)
    most = free + beyond
    given = min(want, most) if alone else min(want, most, max(need, beyond + free // 2))
    return replace(line, held=line.held + given)


def answer(
    limit: Limit | None, lines: Iterable[Line], gateways: Mapping[str, Gateway], gateway: Gateway, wish: Wish
) -> tuple[Line | None, Grant]:
    """Answer one wish: the line to write down (None: there is no such limit, so nothing is counted), and the grant.

    `lines` are all those of this limit, metric and window; `gateways` all that are known, this one as it asks now.
    """
    bound = None if limit is None else getattr(limit, wish.metric.value)
    if bound is None:
        return None, Grant(wish.hold, 0)
    by_name, now_s = {line.gateway: line for line in lines}, gateway.seen_s
    own = by_name.pop(gateway.name, None)
    windowed = bool(wish.metric.period_s)
    others = total(by_name.values(), gateways, windowed=windowed, now_s=now_s)
    alone = all(now_s - one.seen_s > GATEWAY_LOST_S for one in gateways.values() if one.name != gateway.name)
    line = lease(bound, own, gateway, others, wish, alone=alone)
    return line, Grant(line.held, others + line.base)


def total(lines: Iterable[Line], gateways: Mapping[str, Gateway], *, windowed: bool, now_s: float) -> int:
    """Return what is charged to all these lines."""
    return sum(charged(line, gateways.get(line.gateway), windowed=windowed, now_s=now_s) for line in lines)
