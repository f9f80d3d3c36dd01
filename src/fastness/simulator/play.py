"""Requests, one by one, through the production FairQueue and simulated engines, in virtual time. Seeded by its inputs.

A crew says which replicas there are; it is asked every `tick_s`, as the reconciler would be.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from heapq import heappop, heappush
from math import inf
from typing import Final

from fastness.core.observation import DeploymentLoad, RevisionLoad
from fastness.simulator.engine import Engine, EnginePace, Progress, Run
from fastness.simulator.played import Crew, Job, Seen, Totals, Use
from fastness.traffic.fair_queue import Ask, Band, FairQueue, Full

QUEUE_MAX: Final = 1_024
WAIT_S: Final = 60.0
UNREAD_TOKENS_MAX: Final = 512
"""The gateway's own defaults: traffic.queue_max, traffic.queue_timeout_s, traffic.unread_tokens_max."""


class Play:
    """One deployment. `then` is told of each job that has ended, and may give another to begin at once."""

    def __init__(
        self,
        name: str,
        pace: EnginePace,
        crew: Crew,
        *,
        tick_s: float = 10.0,
        shares: Mapping[str, float] | None = None,
        queue_max: int = QUEUE_MAX,
        unread_max: int = UNREAD_TOKENS_MAX,
        bands: bool = True,
        then: Callable[[Job], Job | None] | None = None,
    ) -> None:
        self.name, self.pace, self.crew, self.tick_s = name, pace, crew, tick_s
        self.shares, self.bands, self._then = shares or {}, bands, then
        self.queue = FairQueue(queue_max, tenant_part=0.75 if len(self.shares) > 1 else 1.0, unread_max=unread_max)
        self.engines: dict[str, Engine] = {}
        self.use: dict[str, Use] = {}
        self.totals = Totals()
        self._runs: dict[Job, tuple[str, Run]] = {}
        self._events: list[tuple[float, int, str]] = []
        self._count = 0
        self._ticked_s, self._tick_s = 0.0, tick_s

    def run(self, jobs: Iterable[Job], until_s: float) -> None:
        """Play jobs, in the order of time, until then. Jobs then tell what became of them."""
        self._tick(0.0)
        self._tick_s = self.tick_s
        self._go(iter(jobs), until_s)

    def go_on(self, until_s: float) -> None:
        """After `run`: let what is under way end, with no more jobs."""
        self._go(iter(()), until_s)

    def end_batches(self) -> None:
        """No job that ends is followed by another any more."""
        self._then = None

    def _go(self, coming: Iterator[Job], until_s: float) -> None:
        job = next(coming, None)
        while True:
            event_s = self._events[0][0] if self._events else inf
            now_s = min(event_s, job.at_s if job else inf, self._tick_s)
            if now_s > until_s:
                break
            if now_s == event_s:
                self._happen(now_s, heappop(self._events))
            elif job is not None and now_s == job.at_s:
                self.arrive(now_s, job)
                job = next(coming, None)
            else:
                self._tick(now_s)
                self._tick_s += self.tick_s
        for one in self.use.values():
            one.look(until_s)

    def arrive(self, now_s: float, job: Job) -> None:
        """A request comes."""
        self.totals.asked += 1
        tenant, band = (job.tenant, job.band) if self.bands else ("all", Band.STANDARD)
        job.ask = Ask(
            tenant, self.shares.get(tenant, 1.0), band, job.input_tokens, job.output_tokens, now_s + WAIT_S, None
        )
        taken = self.queue.arrive(job, job.ask, now_s)
        if isinstance(taken, str):
            self._begin(now_s, job, taken)
        elif isinstance(taken, Full):
            self.totals.refused += 1

    def _begin(self, now_s: float, job: Job, name: str) -> None:
        job.given_s = now_s
        run = Run(job, job.input_tokens, job.output_tokens)
        self._runs[job] = (name, run)
        self._note(now_s, job, name, 1)
        self.engines[name].take(now_s, run)
        self._due(name)

    def _note(self, now_s: float, job: Job, name: str, change: int) -> None:
        use = self.use[name]
        use.look(now_s)
        if job.band is Band.BATCH:
            use.batch += change
        else:
            use.interactive += change

    def _due(self, name: str) -> None:
        due_s = self.engines[name].due_s()
        if due_s is not None:
            self._count += 1
            heappush(self._events, (due_s, self._count, name))

    def _happen(self, now_s: float, event: tuple[float, int, str]) -> None:
        name = event[2]
        engine = self.engines.get(name)
        if engine is None or (due_s := engine.due_s()) is None or due_s > now_s:
            return  # it was put off by what came meanwhile; there is a later event
        for progress, run in engine.advance(now_s):
            job = run.ticket
            assert isinstance(job, Job) and job.ask
            if progress is Progress.FIRST:
                job.first_s = now_s
                moved = self.queue.read(name, job.ask)
            else:
                moved = self._ended(now_s, job, name)
            for other, where in moved:
                assert isinstance(other, Job)
                self._begin(now_s, other, where)
        self._due(name)

    def _ended(self, now_s: float, job: Job, name: str) -> list[tuple[object, str]]:
        assert job.ask
        job.ended_s = now_s
        del self._runs[job]
        self._note(now_s, job, name, -1)
        totals = self.totals
        totals.answered += 1
        totals.output_tokens += job.output_tokens
        totals.ttft_ms_sum += int((job.first_s - job.at_s) * 1e3)
        self.queue.settle(job.ask.tenant, job.ask, job.input_tokens, job.output_tokens)
        moved = list(self.queue.release(name, now_s, now_s - job.given_s, job.ask))
        if self._then is not None and (another := self._then(job)) is not None:
            another.at_s = now_s
            self.arrive(now_s, another)
        return moved

    def _tick(self, now_s: float) -> None:
        self.queue.expire(now_s)
        running = {name: engine.runs for name, engine in self.engines.items()}
        self.crew.tick(now_s, {self.name: self._load(now_s)}, running)
        ready = self.crew.ready(self.name)
        for name in ready:
            if name not in self.engines:
                self.engines[name], self.use[name] = Engine(self.pace), Use(looked_s=now_s)
        held = self.crew.held(self.name)
        self.totals.held_s += held * (now_s - self._ticked_s)
        self.totals.seen.append(Seen(now_s, len(ready), held))
        self._ticked_s = now_s
        for other, where in self.queue.set_lanes((name, self.pace.slots) for name in ready):
            assert isinstance(other, Job)
            self._begin(now_s, other, where)

    def _load(self, now_s: float) -> DeploymentLoad:
        totals, line = self.totals, self.queue.line()
        done = RevisionLoad(1, totals.answered, totals.refused, totals.ttft_ms_sum, totals.output_tokens)
        return DeploymentLoad(
            self.name,
            line.waiting,
            line.batches,
            0.0 if line.since_s is None else now_s - line.since_s,
            len(self._runs),
            totals.asked,
            self._cache_part(),
            (done,),
        )

    def _cache_part(self) -> float:
        most = self.pace.kv_tokens
        return min(1.0, max((one.kv_tokens / most for one in self.engines.values()), default=0.0)) if most else 0.0
