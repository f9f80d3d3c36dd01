"""What a replica does at a steady rate of requests: its profile, so that rates can be replayed.

Days of thousands of requests a second cannot be played one by one. Some thousand with their lengths are (play.py).
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from random import Random
from typing import Final

from fastness.simulator.crews import Static
from fastness.simulator.engine import EnginePace
from fastness.simulator.play import Play
from fastness.simulator.played import Job
from fastness.simulator.slo import Slo

REPLICAS: Final = 4
PARTS: Final = (0.1, 0.3, 0.5, 0.6, 0.7, 0.8, 0.85, 0.9, 0.95, 1.0)
"""Of the most that a replica can take, at which it is measured."""
WARM_UP_S: Final = 20.0
JOBS: Final = 6_000
"""Requests in each measurement, about."""
SEED: Final = 5

Draw = Callable[[Random], tuple[int, int]]
"""Draws the input and output tokens of one request."""


@dataclass(frozen=True, slots=True)
class Profile:
    """One replica of a pace: `most` is what it can take, in requests a second; `outputs` tokens an answer on average.

    `attains` is the part of requests that keep to the service level at each of PARTS of `most`, when none waits for a
    slot; `running` how many answers are under way then.
    """

    most: float
    outputs: float
    attains: tuple[float, ...]
    running: tuple[float, ...]

    def attained(self, part: float) -> float:
        """The part of the requests that keep to the service level at this part of `most`."""
        return _between(self.attains, part)

    def under_way(self, part: float) -> float:
        """The answers under way on one replica at this part of `most`."""
        return _between((0.0, *self.running), part, (0.0, *PARTS))

    def best_part(self, wanted: float) -> float:
        """The greatest measured part of `most` at which at least `wanted` of the requests keep to the level; or 0."""
        good = [part for part, attains in zip(PARTS, self.attains, strict=True) if attains >= wanted]
        return max(good, default=0.0)


def measure(pace: EnginePace, draw: Draw, slo: Slo) -> Profile:
    """Measure a pace with lengths that are drawn. Deterministic; about 80,000 requests are played."""
    dice = Random(SEED)  # noqa: S311 - seeded, for chance and not for secrets
    sizes = [draw(dice) for _ in range(JOBS)]
    most = _most(pace, [*sizes, *(draw(dice) for _ in range(3 * JOBS))])
    attains, running = [], []
    for part in PARTS:
        rate = part * most * REPLICAS
        until_s = WARM_UP_S + JOBS / rate
        jobs = list(_poisson(rate, sizes, until_s))
        play = Play("profile", pace, Static({"profile": REPLICAS}), tick_s=until_s)
        play.run(jobs, until_s + 120.0)
        asked = [job for job in jobs if job.at_s >= WARM_UP_S]
        # Those at the end have time to end; what the queue refuses did not keep to anything.
        attains.append(sum(job.attains(slo) for job in asked) / len(asked))
        wrote_s = sum(min(job.ended_s, until_s) - min(job.given_s, until_s) for job in asked)
        running.append(wrote_s / (until_s - WARM_UP_S) / REPLICAS)
    return Profile(most, sum(outputs for _, outputs in sizes) / len(sizes), tuple(attains), tuple(running))


def _most(pace: EnginePace, sizes: list[tuple[int, int]]) -> float:
    """Requests a second of one replica that always has more to do."""
    coming, ended = iter(sizes), list[float]()

    def then(job: Job) -> Job | None:
        ended.append(job.ended_s)
        size = next(coming, None)
        return Job(0.0, *size) if size else None

    first = [Job(0.0, *next(coming)) for _ in range(min(len(sizes) // 2, 2 * pace.slots))]
    Play("most", pace, Static({"most": 1}), tick_s=1e9, then=then).run(first, 1e8)
    early, late = len(ended) // 10, 9 * len(ended) // 10
    return (late - early) / (ended[late] - ended[early])


def _poisson(rate: float, sizes: list[tuple[int, int]], until_s: float) -> Iterator[Job]:
    dice = Random(SEED + 1)  # noqa: S311
    at_s = dice.expovariate(rate)
    while at_s < until_s:
        yield Job(at_s, *dice.choice(sizes))
        at_s += dice.expovariate(rate)


def _between(values: tuple[float, ...], part: float, parts: tuple[float, ...] = PARTS) -> float:
    """Interpolate; beyond the ends, the ends."""
    at = bisect_right(parts, part)
    if at == 0:
        return values[0]
    if at == len(parts):
        return values[-1]
    weight = (part - parts[at - 1]) / (parts[at] - parts[at - 1])
    return values[at - 1] + weight * (values[at] - values[at - 1])
