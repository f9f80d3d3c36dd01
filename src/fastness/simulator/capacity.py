"""How many devices a load needs, on engines of a pace: a fixed number, and under the production plan.

Single requests are played one by one (play.py); what comes as arrivals in steps, as rates (flow.py).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import ceil
from typing import Final

from fastness.core.desired import Scaling
from fastness.simulator.crews import Static
from fastness.simulator.flow import Flow, kept_with, least_static, replay
from fastness.simulator.loads import Load
from fastness.simulator.pace import NamedPace
from fastness.simulator.planned import Planned, Wanted
from fastness.simulator.play import Play
from fastness.simulator.played import Job, Seen
from fastness.simulator.profile import Profile, measure
from fastness.simulator.slo import Slo

REPLICAS_MAX: Final = 4_096
TICK_S: Final = 10.0
AFTER_S: Final = 120.0
"""How long the last requests of a trace may take to end."""
USE: Final = 0.8
"""Part of what a replica can take, above which the planned deployments want one more."""
POINTS: Final = 400
"""Points of a plot."""

Say = Callable[[str], None]


class NoAnswer(ValueError):  # noqa: N818 - an outcome
    """No number of devices of that kind serves this load as wanted; the message says why."""


@dataclass(frozen=True, slots=True)
class Point:
    """One point of a plot: when it begins, requests a second, devices held, and the part that kept to the level."""

    at_s: float
    rate: float
    held: float
    kept: float


@dataclass(frozen=True, slots=True)
class Need:
    """What one department needs: `static` devices all the time, or `hours` device-hours and at most `peak` planned.

    Planned, it has at least `floor` replicas: the fewest with which it keeps to the level, if any do.
    """

    name: str
    asked: int
    static: int
    static_kept: float
    floor: int
    hours: float
    peak: int
    kept: float
    points: tuple[Point, ...]


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer for one kind of device. `span_s` is how long the trace is, `by_rates` how it was simulated."""

    pace: NamedPace
    slo: Slo
    span_s: float
    by_rates: bool
    needs: tuple[Need, ...]

    @property
    def static(self) -> int:
        """Devices that serve all of it, all the time."""
        return sum(one.static for one in self.needs)

    @property
    def static_hours(self) -> float:
        """Device-hours of these."""
        return self.static * self.span_s / 3_600

    @property
    def hours(self) -> float:
        """Device-hours under the production plan."""
        return sum(one.hours for one in self.needs)

    @property
    def saved(self) -> float:
        """The part of the device-hours that the plan needs less."""
        return 1 - self.hours / self.static_hours

    @property
    def peak(self) -> int:
        """The most devices held at one time by all together, as far as the plots' points tell."""
        together: dict[float, float] = {}
        for one in self.needs:
            for point in one.points:
                together[point.at_s] = together.get(point.at_s, 0.0) + point.held
        return max(ceil(max(together.values())), max(one.peak for one in self.needs))

    @property
    def kept(self) -> float:
        """The part of all requests that kept to the level under the plan."""
        return sum(one.kept * one.asked for one in self.needs) / sum(one.asked for one in self.needs)


def answer(loads: Sequence[Load], named: NamedPace, slo: Slo, say: Say = lambda _: None) -> Answer:
    """Find out what these loads need on devices of that pace; raises NoAnswer."""
    needs, span_s = [], 0.0
    for one in loads:
        say(f"{named.name}: {one.name}, one replica at its loads")
        profile = measure(named.pace, one.draw, slo)
        best = profile.best_part(slo.part)
        if not best:
            raise NoAnswer(
                f"{named.name}: needed {slo}; already at a tenth of what a replica can take, {profile.attains[0]:.1%} "
                "keep to it. Fewer tokens in, or a faster device"
            )
        find = _by_rates if one.stream is not None else _by_playing
        need, lasted_s = find(_Case(one, named, slo, profile, best), say)
        needs.append(need)
        span_s = max(span_s, lasted_s)
    return Answer(named, slo, span_s, loads[0].stream is not None, tuple(needs))


def scaling(profile: Profile, best: float, slo: Slo, floor: int = 1, most: int = REPLICAS_MAX) -> Scaling:
    """How a deployment scales for that level: by its output tokens, and by the wait of the first in its queue."""
    tokens_per_s = min(best, USE) * profile.most * profile.outputs
    return Scaling(floor, most, queue_wait_s=slo.ttft_s / 4, busy_part=1.0, tokens_per_s=tokens_per_s)


@dataclass(frozen=True, slots=True)
class _Trial:
    """How it went with at least `floor` replicas under the plan."""

    floor: int
    kept: float
    held_s: float
    seen: Sequence[Seen]
    asked_kept: Sequence[tuple[float, float]]


@dataclass(frozen=True, slots=True)
class _Case:
    """One load on one kind of device."""

    load: Load
    named: NamedPace
    slo: Slo
    profile: Profile
    best: float

    def planned(self, floor: int, rate: float, most: int) -> Planned:
        """The production plan for it, beginning with what `rate` needs."""
        first = min(most, max(floor, ceil(rate / (self.profile.most * min(self.best, USE)))))
        how = scaling(self.profile, self.best, self.slo, floor, most)
        wanted = Wanted(self.load.name, self.load.name, how, first, self.named.pace.slots, self.named.devices)
        return Planned([wanted], most * self.named.devices, self.named.pace.start_s, self.named.accelerator)

    def need(self, asked: int, static: int, static_kept: float, trial: _Trial, span_s: float) -> Need:
        """Put it together."""
        return Need(
            self.load.name,
            asked,
            static * self.named.devices,
            static_kept,
            trial.floor,
            trial.held_s / 3_600,
            max(one.held for one in trial.seen),
            trial.kept,
            _points(trial.seen, trial.asked_kept, span_s),
        )


def _by_rates(case: _Case, say: Say) -> tuple[Need, float]:
    arrivals, profile, slo = case.load.stream, case.profile, case.slo
    assert arrivals is not None
    span_s = len(arrivals.arrivals) * arrivals.step_s
    static = least_static(arrivals, profile, slo, slo.part, REPLICAS_MAX)
    if static >= REPLICAS_MAX:
        raise NoAnswer(f"{case.named.name}: {case.load.name} needs more than {REPLICAS_MAX:,} replicas")
    steps = int(min(600.0, span_s) / arrivals.step_s)
    rate = sum(arrivals.arrivals[:steps]) / (steps * arrivals.step_s)

    def trial(floor: int) -> _Trial:
        say(f"{case.named.name}: {case.load.name}, planned with at least {floor}")
        flow = Flow(arrivals, profile, slo)
        replay([flow], case.planned(floor, rate, 2 * static + 8), TICK_S)
        return _Trial(floor, flow.kept / flow.asked, flow.totals.held_s, flow.totals.seen, flow.asked_kept)

    kept = kept_with(arrivals, profile, slo, static)
    return case.need(int(arrivals.total), static, kept, _least_floor(trial, static, slo), span_s), span_s


def _by_playing(case: _Case, say: Say) -> tuple[Need, float]:
    load, pace, slo = case.load, case.named.pace, case.slo
    span_s = load.requests[-1].at_s + 1.0

    def kept(count: int) -> float:
        jobs = _jobs(load)
        Play(load.name, pace, Static({load.name: count}), tick_s=span_s).run(jobs, span_s + AFTER_S)
        return sum(job.attains(slo) for job in jobs) / len(jobs)

    static = _least(kept, slo.part, case.named.name)
    rate = sum(1 for one in load.requests if one.at_s < min(60.0, span_s)) / min(60.0, span_s)

    def trial(floor: int) -> _Trial:
        say(f"{case.named.name}: {load.name}, planned with at least {floor}")
        jobs = _jobs(load)
        play = Play(load.name, pace, case.planned(floor, rate, 2 * static + 8), tick_s=TICK_S)
        play.run(jobs, span_s)
        held_s, seen = play.totals.held_s, list(play.totals.seen)
        play.go_on(span_s + AFTER_S)
        asked_kept = [(0.0, 0.0)] * len(seen)
        for job in jobs:
            at = min(len(seen) - 1, int(job.at_s / TICK_S))
            asked_kept[at] = asked_kept[at][0] + 1, asked_kept[at][1] + job.attains(slo)
        return _Trial(floor, sum(job.attains(slo) for job in jobs) / len(jobs), held_s, seen, asked_kept)

    return case.need(len(load.requests), static, kept(static), _least_floor(trial, static, slo), span_s), span_s


def _least_floor(trial: Callable[[int], _Trial], static: int, slo: Slo) -> _Trial:
    """Return the trial with the lowest floor that keeps to the level: what comes in bursts cannot be waited for."""
    found = trial(1)
    if found.kept >= slo.part or static == 1:
        return found
    low, found = 1, trial(static)
    while found.floor - low > 1:
        middle = trial((low + found.floor) // 2)
        if middle.kept >= slo.part:
            found = middle
        else:
            low = middle.floor
    return found


def _least(kept: Callable[[int], float], part: float, name: str) -> int:
    low, high = 0, 1
    while kept(high) < part:
        low, high = high, 2 * high
        if low >= REPLICAS_MAX:
            raise NoAnswer(f"{name}: {low:,} replicas are too few: some requests miss the level however many there are")
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if kept(middle) >= part else (middle, high)
    return high


def _points(seen: Sequence[Seen], asked_kept: Sequence[tuple[float, float]], span_s: float) -> tuple[Point, ...]:
    """Put ticks together, so that there are at most POINTS: means of the rates, the most of the devices."""
    every = ceil(len(seen) / POINTS)
    points = []
    for first in range(0, len(seen), every):
        some, pairs = seen[first : first + every], asked_kept[first : first + every]
        until_s = seen[first + every].at_s if first + every < len(seen) else max(span_s, some[-1].at_s + 1.0)
        asked, kept = sum(one for one, _ in pairs), sum(one for _, one in pairs)
        rate = asked / (until_s - some[0].at_s)
        points.append(Point(some[0].at_s, rate, max(one.held for one in some), kept / asked if asked else 1.0))
    return tuple(points)


def _jobs(load: Load) -> list[Job]:
    return [Job(one.at_s, one.input_tokens, one.output_tokens) for one in load.requests]
