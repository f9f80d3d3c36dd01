"""Is the queue fair in front of a real engine? `python -m benchmarks.fairness_live [--seconds N]`.

One installation with one engine, two tenants with a key each, requests of one size, every prompt used once.

1. *Against a flood*: a modest tenant asks for half of its share, by chance (a Poisson process, the same moments in
   every window): alone; while another tenant of equal share asks for what is its own; and while that one asks for 50
   times its own. Windows take turns. A time to the first token counts from when the request was due.
2. *By shares*: two tenants that always have something waiting, with equal shares and with 3 to 1, one of them with
   answers four times as long as the other's. Jain's index of tokens over share, as the counters count them (output
   twice), and the smallest part of its guarantee that one of them got.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from threading import Barrier
from typing import Final

import uvloop

from benchmarks import processes
from benchmarks.bodies import CHAT_PATH
from benchmarks.fairness import FLOOD, jain
from benchmarks.figures import percentile, table
from benchmarks.installation import Running, installation, tenant_key, verb
from benchmarks.load import Job, Outcome
from benchmarks.machine import Watch, describe, machine, warnings
from benchmarks.side_by_side import SHORT, Prompts
from benchmarks.voice import Voice
from fastness.traffic.counters import cost

OUTPUT_TOKENS: Final = 8
LONGER: Final = 4
"""How much longer the answers of one of the two tenants that compete are."""
PART: Final = 0.5
"""What the modest tenant asks for, of its share."""
PROMPTS: Final = 400
MODEST_AT_ONCE, FLOOD_AT_ONCE, BACKLOG = 64, 900, 24
"""Connections: of the modest tenant, of the other one (more than may wait for it), of each of two that compete."""
WARM_UP_S, CAPACITY_S = 4.0, 12.0
SHARES_S: Final = 30.0
"""At least so long tenants compete: in ten seconds one answer more or less moves the index."""
KNOWN_S: Final = 1.5
"""A changed share is known to gateways within this."""
TURNS: Final = 3


@dataclass(slots=True)
class Condition:
    """What the modest tenant saw, and the other one got, over all windows of one kind. `other` is its rate."""

    other: float
    first_s: list[float] = field(default_factory=list)
    failures: int = 0
    others_answers: int = 0
    refused: int = 0
    elapsed_s: float = 0.0


class Site:
    """An installation with two tenants."""

    def __init__(self, running: Running, home: Path) -> None:
        self.running, self.home, self.prompts = running, home, Prompts()
        self.keys = {name: tenant_key(home, name) for name in ("modest", "other")}

    def job(self, name: str, connections: int, seconds: float, rate: float = 0.0, longer: int = 1) -> Job:
        """Say what a tenant asks for."""
        bodies = self.prompts.bodies(PROMPTS, OUTPUT_TOKENS * longer, SHORT)
        where, key = self.running.port, self.keys[name]
        return Job(where, CHAT_PATH, bodies, connections, key, seconds=seconds, warm_up_s=WARM_UP_S, rate=rate)

    def together(self, *jobs: Job) -> list[Outcome]:
        """Do jobs at the same time: none is measured before all are warm."""
        warm = Barrier(len(jobs))

        def work(job: Job) -> Outcome:
            with processes.load(job) as client:
                warm.wait(WARM_UP_S + processes.START_TIMEOUT_S)
                return client.go()

        with ThreadPoolExecutor(len(jobs)) as pool:
            return list(pool.map(work, jobs))

    def weigh(self, share: float) -> None:
        """Give the modest tenant a share; the other one keeps 1."""
        verb(self.home, "tenants", "set", "modest", "--share", f"{share:g}")
        time.sleep(KNOWN_S)


def against_a_flood(site: Site, seconds: float) -> tuple[float, dict[str, Condition]]:
    """Return the answers a second that there are, and what was seen under each condition."""
    (full,) = site.together(site.job("other", BACKLOG, CAPACITY_S))
    capacity = full.requests / full.elapsed_s
    share = capacity / 2
    seen = {
        "alone": Condition(0.0),
        "the other asks for its share": Condition(share),
        f"the other asks for {FLOOD} times that": Condition(FLOOD * share),
    }
    for turn in range(TURNS):
        conditions = list(seen.values())
        for one in conditions[turn % 3 :] + conditions[: turn % 3]:
            jobs = [site.job("modest", MODEST_AT_ONCE, seconds, PART * share)]
            if one.other:
                jobs.append(site.job("other", FLOOD_AT_ONCE, seconds, one.other))
            modest, *others = site.together(*jobs)
            one.first_s += modest.first_s
            one.failures += modest.failures
            one.elapsed_s += modest.elapsed_s
            for other in others:
                one.others_answers += other.requests - other.failures
                one.refused += other.failures
    return capacity, seen


def flood_report(capacity: float, seen: dict[str, Condition]) -> str:
    """Lay the first question's results out as text."""
    base, rows = percentile(list(seen.values())[1].first_s, 95), []
    for name, one in seen.items():
        p50, p95 = (percentile(one.first_s, percent) for percent in (50, 95))
        others = f"{one.others_answers / one.elapsed_s:.2f}", f"{one.refused / one.elapsed_s:.1f}"
        moved = f"{p95 / base - 1:+.0%}"
        rows.append((name, f"{len(one.first_s)}", f"{p50 * 1e3:,.0f}", f"{p95 * 1e3:,.0f}", moved, *others))
    head = ("the modest tenant", "answers", "TTFT p50 ms", "p95 ms", "moved", "other: answers/s", "refused/s")
    return f"{capacity:.2f} answers a second when one tenant asks for all\n{table(head, rows)}"


def by_shares(site: Site, input_tokens: int, seconds: float) -> str:
    """Answer the second question: a table."""
    rows = []
    for share in (1.0, 3.0):
        site.weigh(share)
        got = site.together(site.job("modest", BACKLOG, seconds), site.job("other", BACKLOG, seconds, longer=LONGER))
        shares = (share, 1.0)
        tokens = [
            cost(input_tokens * (one.requests - one.failures), one.output_tokens, weight)
            for one, weight in zip(got, shares, strict=True)
        ]
        served = sum(each * weight for each, weight in zip(tokens, shares, strict=True))
        least = min(tokens) * sum(shares) / served
        answers = " and ".join(f"{one.requests - one.failures}" for one in got)
        rows.append((f"{share:g} to 1", answers, f"{tokens[0] / tokens[1]:.3f}", f"{jain(tokens):.4f}", f"{least:.1%}"))
    return table(("shares", "answers", "tokens over share, ratio", "Jain", "least of a guarantee"), rows)


def main() -> None:
    """Read the command line, measure, and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seconds", type=float, default=25.0, help="of one window; there are eleven")
    chosen = parser.parse_args()
    start, watch = machine(), Watch()
    watch.calibrate()
    print(describe(start), flush=True)
    with tempfile.TemporaryDirectory(prefix="fst-bench-") as folder, installation(Path(folder)) as running:
        site = Site(running, Path(folder))
        _, input_tokens, _ = uvloop.run(ask_once(site))
        print(flood_report(*against_a_flood(site, chosen.seconds)), end="\n\n", flush=True)
        print(by_shares(site, input_tokens, max(SHARES_S, chosen.seconds)))
    watch.calibrate()
    for line in warnings(start, watch.busyness()):
        print(f"WARNING: {line}")


async def ask_once(site: Site) -> tuple[float, int, int]:
    """Ask a prompt like all others: what it takes."""
    return await Voice(site.running, site.keys["modest"]).ask(SHORT.format(number=99_999))


if __name__ == "__main__":
    main()
