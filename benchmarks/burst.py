"""Azure's code trace with batches on what is left, request by request: `python -m benchmarks.burst [--replicas N]`.

8,819 requests in 57 minutes, so bursty that the coefficient of variation between arrivals is 13, as they came, on as
few replicas as keep 95% of them within the service level when alone. Batches never end: lines with the lengths of
Azure's conversations, at most so many under way or waiting at the gateway at a time (`batch.concurrency`). The queue is
the production FairQueue with the gateway's defaults; under *first come, first served* it has one band and one tenant,
and no bound on unread tokens. Engines have a shipped pace, which is assumed. All of it is the simulation's, and the
same on every machine.

*Filled* is the part of the time without interactive work on a device in which it worked for a batch. *Work* is
stricter: batch tokens, read and written, beside what the same devices would do in that idle time with nothing but
batches; above 100%, since batches also run beside interactive work.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path
from typing import Final

from benchmarks.figures import percentile, table
from fastness.simulator.crews import Static
from fastness.simulator.engine import EnginePace
from fastness.simulator.pace import read_paces
from fastness.simulator.play import UNREAD_TOKENS_MAX, Play
from fastness.simulator.played import Job
from fastness.simulator.slo import Slo
from fastness.simulator.traces import Asked, Requests, load, read
from fastness.traffic.fair_queue import Band

TRACES: Final = Path(os.environ.get("TRACES", Path(__file__).resolve().parents[2] / "shared/data/traces"))
CODE: Final = "azure/AzureLLMInferenceTrace_code.csv"
LINES: Final = "azure/AzureLLMInferenceTrace_conv.csv"
PACE: Final = "h100-80gb/8b-bf16"
SLO: Final = Slo(2.0, 0.1, 0.95)
PER_REPLICA: Final = (1, 4, 16, 32, 36, 64)
"""Lines under way for each replica."""
BACKLOG: Final = 900
"""Lines that wait at a gateway where nothing bounds them: nearly its whole queue."""


@dataclass(frozen=True, slots=True)
class Row:
    """One rule: what interactive requests got, and what batches did."""

    rule: str
    kept: float
    first_p95_s: float
    idle: float
    filled: float
    tokens_per_s: float
    lines: int


def play(
    rule: str, code: Sequence[Asked], lines: Sequence[Asked], pace: EnginePace, replicas: int, under_way: int,
    *, fair: bool = True,
) -> Row:  # fmt: skip
    """Play the trace under one rule, with so many lines under way."""
    coming = cycle(lines)
    seen = [0, 0]

    def line() -> Job:
        one = next(coming)
        return Job(0.0, one.input_tokens, one.output_tokens, "batch", Band.BATCH)

    def then(job: Job) -> Job | None:
        if job.band is not Band.BATCH:
            return None
        seen[0] += 1
        seen[1] += job.input_tokens + job.output_tokens
        return line()

    until_s = (code[-1].at_s if code else 600.0) + 1.0
    jobs = [Job(one.at_s, one.input_tokens, one.output_tokens, "code") for one in code]
    unread = UNREAD_TOKENS_MAX if fair else 0
    shares = {"code": 1.0, "batch": 1.0}
    game = Play("burst", pace, Static({"burst": replicas}), shares=shares, unread_max=unread, bands=fair, then=then)
    game.run([*(line() for _ in range(under_way)), *jobs], until_s)
    use = list(game.use.values())
    ready_s, busy_s = sum(one.ready_s for one in use), sum(one.interactive_s for one in use)
    filled_s, tokens = sum(one.batch_alone_s for one in use), seen[1]
    game.end_batches()
    game.go_on(until_s + 120.0)
    kept = sum(job.attains(SLO) for job in jobs) / len(jobs) if jobs else 1.0
    firsts = [job.first_s - job.at_s for job in jobs]
    idle_s = ready_s - busy_s
    return Row(rule, kept, percentile(firsts, 95), idle_s / ready_s, filled_s / idle_s, tokens / until_s, seen[0])


def least_replicas(code: Sequence[Asked], lines: Sequence[Asked], pace: EnginePace) -> int:
    """Return the fewest replicas that keep enough of the trace within the level when there are no batches."""
    return next(count for count in range(1, 65) if play("", code, lines, pace, count, 0).kept >= SLO.part)


def compare(code: Sequence[Asked], lines: Sequence[Asked], pace: EnginePace, replicas: int) -> tuple[list[Row], float]:
    """Play all rules; return them, and the tokens a second that the devices do with batches alone."""
    alone = max(
        play("", (), lines, pace, replicas, replicas * each).tokens_per_s for each in (PER_REPLICA[-1], pace.slots)
    )
    rules = [("no batches", 0, True)]
    rules += [(f"fastness, {each * replicas} lines at a time", each * replicas, True) for each in PER_REPLICA]
    rules.append(("fastness, lines without a bound", BACKLOG, True))
    some = 32 * replicas
    rules.append((f"first come, first served, {some} lines", some, False))
    rules.append(("first come, first served, without a bound", BACKLOG, False))
    return [play(rule, code, lines, pace, replicas, most, fair=fair) for rule, most, fair in rules], alone


def report(rows: Sequence[Row], alone: float) -> str:
    """Lay the results out as text."""
    cells = [
        (
            one.rule,
            f"{one.kept:.1%}",
            f"{one.first_p95_s:.2f}",
            f"{one.idle:.0%}",
            f"{one.filled:.1%}",
            f"{one.tokens_per_s / (alone * one.idle):.0%}",
            f"{one.lines:,}",
        )
        for one in rows
    ]
    return table(("rule", "kept", "p95 TTFT s", "idle", "filled", "work", "lines"), cells)


def traces(folder: Path) -> tuple[list[Asked], list[Asked]]:
    """Read both traces; raises OSError, TraceError."""
    code, lines = read(folder / CODE), read(folder / LINES)
    assert isinstance(code, Requests) and isinstance(lines, Requests)
    return load(code), load(lines)


def main() -> int:
    """Read the command line, play, and print."""
    reader = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    reader.add_argument("--traces", type=Path, default=TRACES)
    reader.add_argument("--replicas", type=int, help="default: the fewest that serve the trace alone")
    reader.add_argument("--pace", default=PACE)
    chosen = reader.parse_args()
    try:
        code, lines = traces(chosen.traces)
    except OSError as error:
        print(f"The traces are not here ({error}); nothing was played. See --traces.")
        return 0
    pace = read_paces()[chosen.pace].pace
    replicas = chosen.replicas or least_replicas(code, lines, pace)
    print(f"{len(code):,} requests in {code[-1].at_s:,.0f} s on {replicas} replicas of {chosen.pace}; {SLO}\n")
    print(report(*compare(code, lines, pace, replicas)))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
