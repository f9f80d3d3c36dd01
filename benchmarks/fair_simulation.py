"""Replicas in virtual time behind the production FairQueue: prompts are read one after the other, answers side by side.

A replica reads prompts at `prefill` tokens a second, one at a time, in the order of arrival. The answers that it writes
at the same time slow each other down: a token takes `step_s + crowd_s * answers`. That is the shape of continuous
batching on one GPU; the numbers are those of a mid-sized model, and only ratios are read off. What it leaves out: that
reading slows writing, and that an engine reads in steps, so that it idles a little when it is sent too little at once.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from heapq import heappop, heappush
from itertools import count
from typing import Any

from fastness.traffic.counters import cost
from fastness.traffic.estimate import Estimate
from fastness.traffic.fair_queue import Ask, Band, FairQueue, Full

BYTES_PER_TOKEN = 4.3


@dataclass(frozen=True, slots=True)
class Fleet:
    """What answers: so many replicas, each with so many slots."""

    replicas: int = 4
    slots: int = 32
    prefill: float = 20_000.0
    step_s: float = 0.012
    crowd_s: float = 0.0003


@dataclass(eq=False, slots=True)
class Job:
    """One request, and what became of it; times in seconds, None: it did not come to that."""

    tenant: str
    at_s: float
    input_tokens: int
    output_tokens: int
    ask: Ask | None = None
    given_s: float | None = None
    first_s: float | None = None
    ended_s: float | None = None

    @property
    def tokens(self) -> float:
        return cost(self.input_tokens, self.output_tokens, 1.0)


@dataclass(slots=True)
class _Replica:
    """`written` counts tokens that an answer which was there from the start would have by now."""

    fleet: Fleet
    read_until_s: float = 0.0
    written: float = 0.0
    looked_s: float = 0.0
    version: int = 0
    answers: list[tuple[float, int, Job]] = field(default_factory=list)

    def look(self, now_s: float) -> None:
        if self.answers:
            self.written += (now_s - self.looked_s) / self.pace_s
        self.looked_s = now_s

    @property
    def pace_s(self) -> float:
        return self.fleet.step_s + self.fleet.crowd_s * len(self.answers)


class Simulation:
    """Runs jobs through a queue and replicas. `fair` False: one queue for all, first come, first served."""

    def __init__(
        self,
        fleet: Fleet,
        shares: dict[str, float],
        *,
        fair: bool = True,
        queue_max: int = 1_024,
        unread_max: int = 512,
        wait_s: float = 60.0,
    ) -> None:
        self.shares, self.fair, self.wait_s = shares, fair, wait_s
        self.queue = FairQueue(queue_max, tenant_part=0.75 if fair else 1.0, unread_max=unread_max if fair else 0)
        self.estimate = Estimate()
        self.replicas = {f"r{number}": _Replica(fleet) for number in range(fleet.replicas)}
        self.queue.set_lanes((name, fleet.slots) for name in self.replicas)
        self.refused: Counter[str] = Counter()
        self.waiting: defaultdict[str, list[int]] = defaultdict(list)
        """How many of each tenant wait, each second."""
        self._events: list[tuple[float, int, str, object]] = []
        self._numbers = count()
        self._where: dict[Job, str] = {}

    def run(self, jobs: Iterable[Job], until_s: float) -> None:
        """Run until then, or until all is done."""
        for job in jobs:
            self._later(job.at_s, "arrive", job)
        for second in range(int(until_s)):
            self._later(float(second), "look", None)
        while self._events and (event := heappop(self._events))[0] <= until_s:
            getattr(self, "_" + event[2])(event[0], event[3])

    def _later(self, at_s: float, what: str, about: object) -> None:
        heappush(self._events, (at_s, next(self._numbers), what, about))

    def _look(self, now_s: float, _: object) -> None:
        self.queue.expire(now_s)
        counted = Counter(job.tenant for job in self.queue.waiting if isinstance(job, Job))
        for tenant in self.shares:
            self.waiting[tenant].append(counted[tenant])

    def _arrive(self, now_s: float, job: Job) -> None:
        tokens = self.estimate.of(int(job.input_tokens * BYTES_PER_TOKEN), None)
        tenant, share = (job.tenant, self.shares[job.tenant]) if self.fair else ("all", 1.0)
        job.ask = Ask(tenant, share, Band.STANDARD, *tokens, now_s + self.wait_s, None)
        taken = self.queue.arrive(job, job.ask, now_s)
        if isinstance(taken, str):
            self._begin(now_s, job, taken)
        elif isinstance(taken, Full):
            self.refused[job.tenant] += 1

    def _begin(self, now_s: float, job: Any, name: str) -> None:
        replica = self.replicas[name]
        job.given_s, self._where[job] = now_s, name
        replica.read_until_s = max(now_s, replica.read_until_s) + job.input_tokens / replica.fleet.prefill
        self._later(replica.read_until_s, "write", job)

    def _write(self, now_s: float, job: Job) -> None:
        replica = self.replicas[self._where[job]]
        replica.look(now_s)
        heappush(replica.answers, (replica.written + job.output_tokens, next(self._numbers), job))
        job.first_s = now_s + replica.pace_s
        self._next(now_s, replica)
        assert job.ask
        for moved, where in self.queue.read(self._where[job], job.ask):
            self._begin(now_s, moved, where)

    def _next(self, now_s: float, replica: _Replica) -> None:
        replica.version += 1
        if replica.answers:
            left = max(0.0, replica.answers[0][0] - replica.written)
            self._later(now_s + left * replica.pace_s, "end", (replica, replica.version))

    def _end(self, now_s: float, about: tuple[_Replica, int]) -> None:
        replica, version = about
        if version != replica.version:
            return
        replica.look(now_s)
        job = heappop(replica.answers)[2]
        job.ended_s = now_s
        assert job.ask
        assert job.given_s is not None
        self.estimate.learn(int(job.input_tokens * BYTES_PER_TOKEN), job.input_tokens, job.output_tokens)
        self.queue.settle(job.ask.tenant, job.ask, job.input_tokens, job.output_tokens)
        name = self._where.pop(job)
        self._next(now_s, replica)
        for moved, where in self.queue.release(name, now_s, now_s - job.given_s, job.ask):
            self._begin(now_s, moved, where)
