"""Rules of how many replicas there are, beside the production plan: a fixed number, and Kubernetes' HPA."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from math import ceil
from typing import Final

from fastness.core.observation import DeploymentLoad


@dataclass(slots=True)
class Static:
    """A fixed number of replicas of each deployment, ready from the beginning."""

    counts: Mapping[str, int]
    devices: int = 1

    def tick(self, now_s: float, loads: Mapping[str, DeploymentLoad], in_flight: Mapping[str, int]) -> None:
        """See Crew."""

    def ready(self, deployment: str) -> tuple[str, ...]:
        """See Crew."""
        return tuple(f"{deployment}-{number}" for number in range(self.counts[deployment]))

    def held(self, deployment: str) -> int:
        """See Crew."""
        return self.counts[deployment] * self.devices


@dataclass(slots=True)
class _Scaled:
    """One deployment under HPA: `alive` has the time from which each replica is ready."""

    alive: dict[str, float] = field(default_factory=dict)
    draining: set[str] = field(default_factory=set)
    wishes: deque[tuple[float, int]] = field(default_factory=deque)
    count: int = 0


class Hpa:
    """HorizontalPodAutoscaler of Kubernetes (autoscaling/v2) with its defaults, on the utilisation of the replicas.

    It looks every 15 s; wants `replicas * use / target`, unless within a tenth; doubles, or adds four, at most at each
    look; and has fewer only when the most that it wanted within 300 s is fewer. A replica's use is the part of `most`
    requests a second that it answered since the last look: no more than 100%, as of any utilisation.
    """

    EVERY_S: Final = 15.0
    STABLE_S: Final = 300.0
    TOLERANCE: Final = 0.1

    def __init__(
        self, target: float, most_rps: float, start_s: float, first: Mapping[str, int], most: int, devices: int = 1
    ) -> None:
        self.target, self.most_rps, self.start_s, self.most, self.devices = target, most_rps, start_s, most, devices
        self._looked_s = 0.0
        self._now_s = 0.0
        self._answered = dict.fromkeys(first, 0)
        self._all = {name: _Scaled() for name in first}
        for name, count in first.items():
            self._add(name, count, 0.0)

    def tick(self, now_s: float, loads: Mapping[str, DeploymentLoad], in_flight: Mapping[str, int]) -> None:
        """See Crew."""
        self._now_s = now_s
        for one in self._all.values():
            for gone in [name for name in one.draining if not in_flight.get(name)]:
                one.draining.discard(gone)
        passed_s = now_s - self._looked_s
        if passed_s >= self.EVERY_S - 1e-9:
            self._looked_s = now_s
            for name, load in loads.items():
                self._look(name, sum(one.answered for one in load.revisions), passed_s)

    def ready(self, deployment: str) -> tuple[str, ...]:
        """See Crew."""
        return tuple(name for name, at_s in self._all[deployment].alive.items() if at_s <= self._now_s)

    def held(self, deployment: str) -> int:
        """See Crew."""
        one = self._all[deployment]
        return (len(one.alive) + len(one.draining)) * self.devices

    def _look(self, name: str, answered: int, passed_s: float) -> None:
        one = self._all[name]
        ready = len(self.ready(name))
        use = (answered - self._answered[name]) / passed_s / (max(1, ready) * self.most_rps)
        self._answered[name] = answered
        wish = len(one.alive) if abs(use / self.target - 1) <= self.TOLERANCE else ceil(ready * use / self.target)
        wish = max(1, min(self.most, wish))
        one.wishes.append((self._now_s, wish))
        while one.wishes[0][0] < self._now_s - self.STABLE_S:
            one.wishes.popleft()
        alive = len(one.alive)
        if wish > alive:
            self._add(name, min(wish, max(2 * alive, alive + 4)) - alive, self._now_s + self.start_s)
        for _ in range(alive - max(each for _, each in one.wishes)):
            newest = next(reversed(one.alive))
            del one.alive[newest]
            one.draining.add(newest)

    def _add(self, name: str, count: int, ready_s: float) -> None:
        one = self._all[name]
        for _ in range(count):
            one.count += 1
            one.alive[f"{name}-{one.count}"] = ready_s
