"""What is asked of each gateway, and one window of it."""

from __future__ import annotations

import time
from contextlib import ExitStack
from dataclasses import dataclass

from benchmarks import processes
from benchmarks.bodies import CHAT_PATH, sized_body
from benchmarks.figures import percentile
from benchmarks.gateway.instructions import Count, counted
from benchmarks.gateway.subjects import Subject
from benchmarks.gateway.tree import tree, tree_cpu_s
from benchmarks.load import Job, Outcome
from benchmarks.upstream import CHUNKS, pace

SHORT = 8
"""Events of a stream whose first one matters."""
CONNECTIONS_MAX = 256
"""Of clients that come by chance; further ones wait for one, and their time runs."""

SETTLE_S = 0.05
SETTLE_TIMEOUT_S = 5.0


@dataclass(frozen=True, slots=True)
class Case:
    """One column: what is asked, by how many connections at once. `events`: of each stream; 0: whole answers."""

    name: str
    connections: int
    prompt_bytes: int
    events: int = 0
    interval_ms: int = 0


WHOLE = Case("whole answers, 2 KB prompts, 16 connections", 16, 2_048)
ALONE = Case("whole answers, 2 KB prompts, 1 connection", 1, 2_048)
LARGE = Case("whole answers, 64 KB prompts, 16 connections", 16, 65_536)
PACED = Case(f"32 streams of {CHUNKS} chunks, 10 ms apart", 32, 2_048, CHUNKS, 10)
UNPACED = Case(f"32 streams of {CHUNKS} chunks, unpaced", 32, 2_048, CHUNKS)
SATURATED = Case(f"streams of {SHORT} chunks, 16 connections", 16, 2_048, SHORT)
CASES = (WHOLE, ALONE, LARGE, PACED, UNPACED, SATURATED)


@dataclass(frozen=True, slots=True)
class Figure:
    """One window of one case. A unit is a request; of streams, a chunk. Times: whole answers, or to the first text."""

    cpu_ms: float
    instructions: float
    per_s: float
    requests_per_s: float
    p50_ms: float
    p99_ms: float
    transit_p50_ms: float
    transit_p99_ms: float
    client_busy: float
    failures: int


def window(subject: Subject, case: Case, seconds: float, *, count: bool, rate: float = 0.0) -> Figure:
    """Measure one window; with `rate`, of requests that arrive by chance. `count`: instructions too.

    Raises RuntimeError when nothing was answered.
    """
    settle(subject)
    with ExitStack() as stack:
        client = stack.enter_context(processes.load(job(subject, case, seconds, rate)))
        count_ = stack.enter_context(counted(tree(subject.pid))) if count and subject.pid else Count()
        before = tree_cpu_s(subject.pid) if subject.pid else 0.0
        seen = client.go()
        used = tree_cpu_s(subject.pid) - before if subject.pid else 0.0
    return figure(case, seen, used, count_.instructions)


def lost(subject: Subject, streams: int = 4) -> str:
    """Say what a gateway loses of a few streams, or joins: then its chunks are not comparable. Empty for nothing."""
    asked = job(subject, UNPACED, 0.0)
    asked.connections = asked.requests = streams
    with processes.load(asked) as client:
        seen = client.go()
    due = streams * UNPACED.events
    return "" if seen.chunks == due else f"of {due} chunks {seen.chunks} arrived, and {seen.failures} answers failed"


def settle(subject: Subject) -> None:
    """Wait until a gateway has forgotten what was asked before: one that is overloaded works on for nobody."""
    ends = time.monotonic() + SETTLE_TIMEOUT_S
    while subject.pid and time.monotonic() < ends:
        before = tree_cpu_s(subject.pid)
        time.sleep(SETTLE_S)
        if tree_cpu_s(subject.pid) - before < SETTLE_S / 4:
            return


def job(subject: Subject, case: Case, seconds: float, rate: float = 0.0) -> Job:
    """Write what the load client is to do."""
    text = sized_body(subject.model, case.prompt_bytes, stream=bool(case.events))
    if case.events:
        told = pace(case.events, case.interval_ms)
        text = text.replace("word " * (len(told) // 5 + 1), told, 1)
    connections = CONNECTIONS_MAX if rate else case.connections
    warm_up_s = min(0.5, seconds)
    return Job(subject.port, CHAT_PATH, [text], connections, subject.key, seconds, warm_up_s, rate, stamped=True)


def figure(case: Case, seen: Outcome, cpu_s: float, instructions: int) -> Figure:
    """Turn what a client saw, and what the gateway used, into figures. Raises RuntimeError for no answer at all."""
    done = seen.chunks if case.events else seen.requests - seen.failures
    if not done:
        raise RuntimeError(f"{case.name}: nothing was answered, {seen.failures} answers failed")
    times = seen.first_s if case.events else seen.total_s
    return Figure(
        cpu_ms=cpu_s * 1e3 / done,
        instructions=instructions / done,
        per_s=done / seen.elapsed_s,
        requests_per_s=seen.requests / seen.elapsed_s,
        p50_ms=percentile(times, 50) * 1e3,
        p99_ms=percentile(times, 99) * 1e3,
        transit_p50_ms=percentile(seen.transit_s, 50) * 1e3,
        transit_p99_ms=percentile(seen.transit_s, 99) * 1e3,
        client_busy=seen.cpu_s / seen.elapsed_s,
        failures=seen.failures,
    )
