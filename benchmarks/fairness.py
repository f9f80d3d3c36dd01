"""Is the queue fair, on the tenants of ServeGen, in virtual time? `python -m benchmarks.fairness [--traces DIR]`.

The production FairQueue with its estimates, in front of simulated replicas (fair_simulation.py); ServeGen's clients are
dealt out to departments, and their rates multiplied to the load that is wanted. Beside it first come, first served.
Everything is seeded: two runs print the same.

1. *By shares*: eight departments ask for more than there is. In each window of 30 s: Jain's index of tokens over share
   of those that had something waiting all the time (bar: 0.99), and the smallest part that one of them got of its
   guarantee, which is its share of all tokens (bar: 95%).
2. *Against a flood*: one of two departments of equal share asks for a part of its share, the other for 50 times its
   own. p95 of the time to the first token, beside that of the department alone on its share of the machine (half of the
   replicas), and alone on the whole machine (bar: below 10% more). The queue may forbid the first; the second is also
   what a full machine costs.
"""

from __future__ import annotations

import argparse
import os
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from random import Random
from typing import Final

from benchmarks.fair_simulation import Fleet, Job, Simulation
from benchmarks.figures import percentile, table
from fastness.simulator.servegen import Client, read_clients

ARCHIVE: Final = "language-m-small.tar.gz"
SEED: Final = 7
SHARES: Final = {f"d{number}": share for number, share in enumerate((4.0, 4.0, 2.0, 2.0, 1.0, 1.0, 1.0, 1.0))}
WINDOW_S: Final = 30
FLOOD: Final = 50
PARTS: Final = (0.25, 0.5, 0.8, 0.9)
"""What the modest department asks for, of its share."""


def jobs_of(clients: Sequence[Client], tenant: str, speed: float, until_s: float) -> list[Job]:
    """Draw what clients send as one tenant, at `speed` times their rates."""
    jobs = []
    for client in clients:
        dice = Random(f"{SEED}/{tenant}/{client.name}")
        at_s = client.pause_s(dice, speed)
        while at_s < until_s:
            jobs.append(Job(tenant, at_s, max(1, client.inputs.draw(dice)), max(1, client.outputs.draw(dice))))
            at_s += client.pause_s(dice, speed)
    return jobs


def tokens(jobs: Iterable[Job]) -> float:
    """Sum what jobs count in a tenant's counter."""
    return sum(job.tokens for job in jobs)


def jain(values: Sequence[float]) -> float:
    """Return Jain's index: 1 when all are equal, 1/n when one has everything."""
    return sum(values) ** 2 / (len(values) * sum(one * one for one in values))


def capacity(clients: Sequence[Client], fleet: Fleet) -> float:
    """Tokens a second, as counters count them, that the fleet answers when it never idles."""
    until_s = 30.0
    jobs = jobs_of(clients, "all", 2.0, until_s)
    Simulation(fleet, {"all": 1.0}).run(jobs, until_s)
    return tokens(job for job in jobs if job.ended_s is not None and job.ended_s > 10.0) / (until_s - 10.0)


def by_shares(
    clients: Sequence[Client], fleet: Fleet, load: float, fair: bool, until_s: int = 180
) -> tuple[float, float]:
    """Return the worst index and the worst part of a guarantee over all windows."""
    weight = {client: client.rate * (client.inputs.mean + 2 * client.outputs.mean) for client in clients}
    names, jobs = list(SHARES), []
    for at, client in enumerate(sorted(clients, key=lambda one: -weight[one])):
        turn = at % (2 * len(names))
        name = names[turn if turn < len(names) else 2 * len(names) - 1 - turn]
        jobs += jobs_of([client], name, load, until_s)
    simulation = Simulation(fleet, SHARES, fair=fair, queue_max=4_096)
    simulation.run(jobs, until_s)
    indices, parts = [], []
    for began in range(WINDOW_S, until_s - WINDOW_S + 1, WINDOW_S):
        ended = began + WINDOW_S
        backlogged = [name for name in names if all(simulation.waiting[name][began : ended + 1])]
        served: Counter[str] = Counter()
        for job in jobs:
            if job.ended_s is not None and began <= job.ended_s < ended:
                served[job.tenant] += job.tokens  # type: ignore[assignment]
        if len(backlogged) > 1:
            indices.append(jain([served[name] / SHARES[name] for name in backlogged]))
            whole = sum(served.values()) / sum(SHARES.values())
            parts.append(min(served[name] / (whole * SHARES[name]) for name in backlogged))
    return min(indices, default=float("nan")), min(parts, default=float("nan"))


class Flood:
    """One department beside another that floods; `full` is what the fleet can do, in tokens a second."""

    def __init__(self, clients: Sequence[Client], fleet: Fleet, full: float, until_s: float = 40.0) -> None:
        self.clients, self.fleet, self.until_s = clients, fleet, until_s
        offered = sum(client.rate * (client.inputs.mean + 2 * client.outputs.mean) for client in clients)
        self.speed = full / 2 / offered
        self.flood = jobs_of(clients, "flood", FLOOD * self.speed, until_s)

    def first_token_s(
        self, part: float, *, flooded: bool, fleet: Fleet | None = None, **how: object
    ) -> tuple[float, float]:
        """Return p95 of the time to the first token, and the part of the requests that were answered."""
        jobs = jobs_of(self.clients, "modest", part * self.speed, self.until_s)
        flood = (
            [Job(job.tenant, job.at_s, job.input_tokens, job.output_tokens) for job in self.flood] if flooded else []
        )
        simulation = Simulation(fleet or self.fleet, {"modest": 1.0, "flood": 1.0}, **how)  # type: ignore[arg-type]
        simulation.run(jobs + flood, self.until_s)
        asked = [job for job in jobs if 5.0 < job.at_s < self.until_s - 5.0]
        heard = [job.first_s - job.at_s for job in asked if job.first_s is not None]
        return percentile(heard, 95), len(heard) / len(asked)


def shares_table(clients: Sequence[Client], fleet: Fleet) -> str:
    """Measure the first question."""
    rows = []
    for load in (1.5, 3.0):
        for name, fair in (("fair queue", True), ("first come, first served", False)):
            index, part = by_shares(clients, fleet, load, fair)
            rows.append((f"{name}, {load:g} times the trace", f"{index:.4f}", f"{part:.1%}"))
    return table(("worst window", "Jain", "of guarantee"), rows)


def flood_table(flood: Flood, half: Fleet) -> str:
    """Measure the second question."""
    rows = []
    for part in PARTS:
        whole, _ = flood.first_token_s(part, flooded=False)
        own, _ = flood.first_token_s(part, flooded=False, fleet=half)
        rows.append((f"{part:.0%} of its share, alone on all", f"{whole * 1e3:,.0f}", "", "", "100%"))
        rows.append(("  alone on its share of the machine", f"{own * 1e3:,.0f}", "", "", "100%"))
        for name, how in (
            ("  flooded, fair queue", {}),
            ("  flooded, fair queue, no bound on unread", {"unread_max": 0}),
            ("  flooded, first come, first served", {"fair": False}),
        ):
            p95, answered = flood.first_token_s(part, flooded=True, **how)
            moved = f"{p95 / own - 1:+.0%}", f"{p95 / whole - 1:+.0%}"
            rows.append((name, f"{p95 * 1e3:,.0f}", *moved, f"{answered:.0%}"))
    return table(("a department that asks for", "p95 TTFT ms", "on its share", "on all", "answered"), rows)


def main() -> int:
    """Print both tables."""
    reader = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    places = os.environ.get("SERVEGEN", "../shared/data/traces/servegen")
    reader.add_argument("--traces", type=Path, default=Path(places), help="directory with " + ARCHIVE)
    archive = reader.parse_args().traces / ARCHIVE
    if not archive.is_file():
        print(f"{archive} is not here, so nothing was measured. It is in alibaba/ServeGen; see --traces.")
        return 0
    clients, fleet = read_clients(archive), Fleet()
    full = capacity(clients, fleet)
    print(
        f"{len(clients)} clients of ServeGen, {fleet.replicas} replicas of {fleet.slots} slots, {full:,.0f} tokens/s\n"
    )
    print(shares_table(clients, fleet), end="\n\n")
    print(flood_table(Flood(clients, fleet, full), Fleet(replicas=fleet.replicas // 2)))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
