"""`make bench`, or `python -m benchmarks [--quick] [--seconds N]`: what Fastness costs, side by side in one run.

Prints three tables and the state of the machine, and writes benchmarks/results/bench.json. How to read them, and what
they do not claim: docs/explanation/performance.md.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec

from benchmarks import gateway_cost, installation, side_by_side
from benchmarks.machine import Watch, as_json, describe, machine, warnings
from fastness import __version__

RESULTS = Path(__file__).resolve().parent / "results" / "bench.json"


@dataclass(frozen=True, slots=True)
class Plan:
    """How much of each part is run; the engines get the time that is left."""

    seconds: float
    starts: int
    rounds: int
    window_s: float
    held: int
    pairs: int


FULL = Plan(seconds=200.0, starts=3, rounds=3, window_s=1.5, held=1_000, pairs=150)
QUICK = Plan(seconds=34.0, starts=1, rounds=1, window_s=0.6, held=200, pairs=20)


def run(plan: Plan) -> dict[str, object]:
    """Run the three parts, printing each as it is done; return all that was seen."""
    began, start, watch = time.perf_counter(), machine(), Watch()
    print(f"fastness {__version__} · {describe(start)}", flush=True)
    watch.calibrate()
    cost = gateway_cost.measure(plan.window_s, plan.rounds, plan.held, watch.calibrate)
    _part("The gateway process alone, in front of a fake engine", gateway_cost.report(cost))
    with tempfile.TemporaryDirectory(prefix="fst-bench-") as folder:
        starts, key = installation.measure(Path(folder), plan.starts)
        _part("Starting", installation.report(starts))
        watch.calibrate()
        with installation.installation(Path(folder), key) as site:
            left_s = max(8.0, plan.seconds - (time.perf_counter() - began))
            beside = side_by_side.measure(site, left_s, plan.pairs)
    _part("The same engine process, bare and behind Fastness", side_by_side.report(beside))
    watch.calibrate()
    around = watch.busyness()
    found = warnings(start, around)
    lines = [f"WARNING: {line}" for line in found]
    advice = "Trust ratios within this run at most, and run it again when the machine is quiet."
    _part("Trust", "\n".join([*lines, advice]) if found else "the machine was quiet")
    return {
        "version": __version__,
        "machine": as_json(start, around),
        "warnings": found,
        "elapsed_s": time.perf_counter() - began,
        "gateway": cost,
        "start": starts,
        "side_by_side": beside,
    }


def _part(title: str, text: str) -> None:
    print(f"\n== {title}\n{text}", flush=True)


def main() -> None:
    """Read the command line, run, and write the results."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seconds", type=float, default=FULL.seconds, help="the whole run, about")
    parser.add_argument("--quick", action="store_true", help="well under a minute: to see that everything runs")
    chosen = parser.parse_args()
    seen = run(QUICK if chosen.quick else replace(FULL, seconds=chosen.seconds))
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_bytes(msgspec.json.format(msgspec.json.encode(seen), indent=2) + b"\n")
    print(f"\nwritten to {RESULTS}, after {seen['elapsed_s']:.0f} s")


if __name__ == "__main__":
    main()
