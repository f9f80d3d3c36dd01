"""Rates instead of requests: what a deployment does in each short step, from the profile of one replica.

In a step, requests arrive as a count drawn with the rate and the coefficient of variation of the trace; those that
waited go first; the ready replicas take as many as their profile says that they can. Of those that arrive, the part
that would wait too long misses the service level; of the others, as many as the profile says at that load. The queue is
as long as the gateway's: what comes beyond it is refused, and has missed the service level, too. What this leaves out:
that a step is steady within. How far it is from playing the requests one by one: `benchmarks/replay.py --check`.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from math import sqrt
from random import Random
from typing import Final

from fastness.core.observation import DeploymentLoad, RevisionLoad
from fastness.simulator.play import QUEUE_MAX
from fastness.simulator.played import Crew, Seen, Totals
from fastness.simulator.profile import Profile
from fastness.simulator.servegen import ClientRates
from fastness.simulator.slo import Slo

STEP_S: Final = 2.0
PAUSE_PART: Final = 0.1
PAUSE_PART_MAX: Final = 0.9
FINE: Final = 200
"""Steps of the load at which a profile is tabulated."""


@dataclass(frozen=True, slots=True)
class Stream:
    """The requests that arrive for one deployment, in each step of `step_s`."""

    name: str
    arrivals: array[float]
    step_s: float

    @property
    def total(self) -> float:
        """All requests."""
        return sum(self.arrivals)


def stream(
    name: str, clients: Sequence[ClientRates], seed: int, *, part: float = 1.0, spans: range | None = None,
    span_s: float = 600.0, step_s: float = STEP_S,
) -> Stream:  # fmt: skip
    """Draw the arrivals of clients together in `spans` of their trace (None: all); of their requests only a `part`.

    A renewal process with rate r and coefficient of variation c has, in a time t that is long beside its pauses, r t
    arrivals on average with variance c^2 r t. The sum over clients is drawn from the gamma distribution with that mean
    and variance. A span with n arrivals cannot have c^2 above n, and is near it only when most of it was one pause:
    where that would be more than PAUSE_PART of the span, the client is silent for that long, at a moment by chance,
    and steady for the rest, at up to 1 / (1 - PAUSE_PART_MAX) times its rate.
    """
    dice = Random(f"{seed}/{name}")  # noqa: S311 - seeded, for chance and not for secrets
    found: array[float] = array("d")
    steps = int(span_s / step_s)
    for span in spans or range(max(len(one.rates) for one in clients)):
        means, variances = [0.0] * steps, [0.0] * steps
        mean = variance = 0.0
        for one in clients:
            rate = one.rates[span] if span < len(one.rates) else 0.0
            if rate <= 0:
                continue
            pause = one.variation[span] / sqrt(rate * span_s)
            if pause <= PAUSE_PART:
                mean += rate
                variance += rate * (1 + part * max(0.0, one.variation[span] ** 2 - 1))
                continue
            silent = int(min(pause, PAUSE_PART_MAX) * steps)
            rate *= steps / (steps - silent)
            for step in _around(dice.randrange(steps), steps - silent, steps):
                means[step] += rate
                variances[step] += rate
        found.extend(
            _draw(dice, (mean + own) * part * step_s, (variance + other) * part * step_s)
            for own, other in zip(means, variances, strict=True)
        )
    return Stream(name, found, step_s)


def _around(first: int, count: int, steps: int) -> Iterable[int]:
    """So many steps from the first on; after the last comes step 0."""
    return (at % steps for at in range(first, first + count))


def _draw(dice: Random, mean: float, variance: float) -> float:
    return dice.gammavariate(mean**2 / variance, variance / mean) if mean > 0 else 0.0


@dataclass(slots=True)
class Flow:
    """One deployment as it goes through its steps. `kept` counts requests that kept to the service level."""

    stream: Stream
    profile: Profile
    slo: Slo
    queue_max: float = QUEUE_MAX
    kept: float = 0.0
    asked: float = 0.0
    refused: float = 0.0
    served: float = 0.0
    waiting: float = 0.0
    running: float = 0.0
    oldest_s: float = 0.0
    totals: Totals = field(default_factory=Totals)
    asked_kept: list[tuple[float, float]] = field(default_factory=list)
    """At each tick: requests that arrived until the next, and those of them that kept to the level."""
    _attains: list[float] = field(default_factory=list)
    _under_way: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._attains = [self.profile.attained(at / FINE) for at in range(FINE + 1)]
        self._under_way = [self.profile.under_way(at / FINE) for at in range(FINE + 1)]

    def pass_steps(self, arrivals: Iterable[float], replicas: int) -> None:
        """Go through steps in which so many replicas are ready."""
        room = replicas * self.profile.most * self.stream.step_s
        level = self.slo.ttft_s / self.stream.step_s * room  # what waits longer than that comes too late
        kept = refused = asked = all_served = 0.0
        waiting, queue_max, attains, load = self.waiting, self.queue_max, self._attains, 0
        for came in arrivals:
            asked += came
            before = waiting
            waiting += came
            served = min(room, waiting)
            waiting -= served
            if waiting > queue_max:
                refused += waiting - queue_max
                came -= waiting - queue_max
                waiting = queue_max
            all_served += served
            load = int(served / room * FINE) if room else FINE
            # In front of the first that arrives are those that waited before, of the last those that wait after.
            high = max(waiting, before)
            if high <= level:
                kept += came * attains[load] if room else 0.0
            else:
                low = before + waiting - high
                kept += came * attains[load] * (level - low) / (high - low) if low < level else 0.0
        self.kept += kept
        self.refused += refused
        self.asked += asked
        self.served += all_served
        self.waiting, self.running = waiting, self._under_way[load] * replicas
        self.oldest_s = waiting / (room / self.stream.step_s) if room else (60.0 if waiting else 0.0)

    def load(self) -> DeploymentLoad:
        """What a gateway would report now."""
        done = RevisionLoad(
            1, int(self.served), int(self.refused), int(self.served * 200), int(self.served * self.profile.outputs)
        )
        return DeploymentLoad(
            self.stream.name, int(self.waiting), 0, min(60.0, self.oldest_s), round(self.running), int(self.asked),
            revisions=(done,),
        )  # fmt: skip


def replay(flows: Sequence[Flow], crew: Crew, tick_s: float) -> None:
    """Let a crew run the deployments through all their steps. Each flow's `totals` then tell what it held."""
    steps = int(tick_s / flows[0].stream.step_s)
    count = max(len(one.stream.arrivals) for one in flows)
    for first in range(0, count, steps):
        now_s = first * flows[0].stream.step_s
        loads: Mapping[str, DeploymentLoad] = {one.stream.name: one.load() for one in flows} if first else {}
        if first:
            crew.tick(now_s, loads, {})
        for one in flows:
            arrivals = one.stream.arrivals[first : first + steps]
            ready, held = len(crew.ready(one.stream.name)), crew.held(one.stream.name)
            asked, kept = one.asked, one.kept
            one.pass_steps(arrivals, ready)
            one.totals.held_s += held * len(arrivals) * one.stream.step_s
            one.totals.seen.append(Seen(now_s, ready, held))
            one.asked_kept.append((one.asked - asked, one.kept - kept))


def least_static(stream_: Stream, profile: Profile, slo: Slo, part: float, most: int = 100_000) -> int:
    """Return the fewest replicas with which at least `part` of all requests keep to the level; `most` if none do."""
    mean = stream_.total / (len(stream_.arrivals) * stream_.step_s) / profile.most
    low, high = 0, max(1, int(mean))
    while high < most and kept_with(stream_, profile, slo, high) < part:
        low, high = high, min(most, high + max(1, high // 2))
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if kept_with(stream_, profile, slo, middle) >= part else (middle, high)
    return high


def kept_with(stream_: Stream, profile: Profile, slo: Slo, replicas: int) -> float:
    """The part of all requests that keep to the level with so many replicas all the time."""
    flow = Flow(stream_, profile, slo)
    flow.pass_steps(stream_.arrivals, replicas)
    return flow.kept / flow.asked if flow.asked else 1.0
