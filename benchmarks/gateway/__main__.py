"""`make bench-gateway`, or `python -m benchmarks.gateway [--quick] [--only NAMES] [--rounds N] [--seconds N]`.

Fastness with everything on, side by side with its peers as plain pass-through: CPU of the gateway's processes, added
latency, and whether the bars hold. Prints tables and the state of the machine, and writes
benchmarks/results/gateway.json. What it means, and what it does not claim: docs/explanation/performance.md.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import msgspec

from benchmarks.gateway import instructions
from benchmarks.gateway.bars import bars
from benchmarks.gateway.compare import Comparison, counts
from benchmarks.gateway.peers import PEERS
from benchmarks.gateway.report import bar_table, gateway_rows, latency_table, main_table
from benchmarks.gateway.subjects import FASTNESS, features, subjects
from benchmarks.machine import Watch, as_json, describe, machine, warnings
from fastness import __version__

RESULTS = Path(__file__).resolve().parents[1] / "results" / "gateway.json"
COMPARED_SHARE = 0.85
"""Of the time, where instructions are to be counted afterwards."""
EVERYONE = (*FASTNESS, *(one.name for one in PEERS))


@dataclass(frozen=True, slots=True)
class Plan:
    """How much is run. `seconds` is for the whole run, about; a round that would take longer is not begun."""

    seconds: float
    rounds: int
    window_s: float
    count: bool


FULL = Plan(seconds=570.0, rounds=3, window_s=1.7, count=True)
QUICK = Plan(seconds=100.0, rounds=1, window_s=0.4, count=False)


def run(plan: Plan, only: tuple[str, ...]) -> dict[str, object]:
    """Run the comparison, printing each part as it is done; return all that was seen."""
    began, start, watch = time.perf_counter(), machine(), Watch()
    print(f"fastness {__version__} · {describe(start)}", flush=True)
    watch.calibrate()
    there, not_there = features()
    print(f"on in Fastness: {', '.join(there)}" + (f"; NOT ON: {', '.join(not_there)}" if not_there else ""))
    no_counter = instructions.absent()
    with tempfile.TemporaryDirectory(prefix="fst-bench-") as folder:
        with subjects(Path(folder), only) as (running, missing):
            for one in missing:
                print(f"NOT MEASURED: {one.name} {one.version}: {one.why}", flush=True)
            ends = began + plan.seconds * (COMPARED_SHARE if plan.count and no_counter else 1.0)
            compared = Comparison(running, plan.window_s, ends, count=not no_counter)
            compared.check()
            for number in range(plan.rounds):
                if number and time.perf_counter() + compared.longest_round_s > ends:
                    print(f"{number} of {plan.rounds} rounds, for want of time", flush=True)
                    break
                compared.round()
                watch.calibrate()
                print(f"round {number + 1} of {plan.rounds}: {time.perf_counter() - began:.0f} s", flush=True)
            compared.look_at_memory()
        counted, why_not = counts(Path(folder), only, began + plan.seconds) if plan.count and no_counter else ({}, {})
    rows = gateway_rows(compared, missing, counted)
    verdicts = bars(rows)
    watch.calibrate()
    around = watch.busyness()
    found = warnings(start, around)
    _part("CPU of the gateway's processes, medians", main_table(rows))
    _part("Latency", latency_table(rows))
    _part("Bars", bar_table(verdicts))
    for name, why in why_not.items():
        print(f"instructions not counted: {name}: {why}")
    advice = "Trust ratios within this run at most, and run it again when the machine is quiet."
    lines = [*(f"WARNING: {line}" for line in found), advice]
    _part("Trust", "\n".join(lines) if found else "the machine was quiet")
    return {
        "version": __version__,
        "gateways": rows,
        "machine": as_json(start, around) | {"load_1_min_at_end": machine().load_1_min},
        "bars": [asdict(bar) for bar in verdicts],
        "on": there,
        "not_on": not_there,
        "warnings": found,
        "plan": asdict(plan),
        "instructions_by": "callgrind" if no_counter else "perf",
        "instructions_not_counted": why_not,
        "elapsed_s": time.perf_counter() - began,
    }


def _part(title: str, text: str) -> None:
    print(f"\n== {title}\n{text}", flush=True)


def main() -> None:
    """Read the command line, run, and write the results."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="under two minutes: to see that everything runs")
    parser.add_argument("--only", default=",".join(EVERYONE), help="names, separated by commas: %(default)s")
    parser.add_argument("--rounds", type=int, help=f"{FULL.rounds} unless said otherwise")
    parser.add_argument("--seconds", type=float, help="the whole run, about")
    chosen = parser.parse_args()
    only = tuple(name.strip() for name in chosen.only.split(",") if name.strip())
    unknown = sorted(set(only) - set(EVERYONE))
    if unknown or not only:
        parser.error(f"--only takes some of {', '.join(EVERYONE)}; {', '.join(unknown) or 'nothing'} came")
    plan = QUICK if chosen.quick else FULL
    plan = replace(plan, rounds=chosen.rounds or plan.rounds, seconds=chosen.seconds or plan.seconds)
    seen = run(plan, only)
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_bytes(msgspec.json.format(msgspec.json.encode(seen), indent=2) + b"\n")
    print(f"\nwritten to {RESULTS}, after {seen['elapsed_s']:.0f} s")


if __name__ == "__main__":
    main()
