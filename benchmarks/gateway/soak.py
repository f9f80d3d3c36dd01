"""`make soak-gateway`, or `python -m benchmarks.gateway.soak [--requests N] [--streams N] [--seconds N]`.

Does the gateway's memory stay flat over a million requests, and what does an open stream hold among ten thousand? The
gateway is the one that ships, with everything on. It runs as far as its time allows and extrapolates nothing: what is
printed was made and seen. Writes benchmarks/results/gateway-soak.json.
"""

from __future__ import annotations

import argparse
import math
import resource
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from benchmarks import processes
from benchmarks.bodies import CHAT_PATH
from benchmarks.figures import table
from benchmarks.gateway.cases import SATURATED, WHOLE, Case, job
from benchmarks.gateway.subjects import Subject, engines, fastness
from benchmarks.load import Job
from benchmarks.machine import Watch, as_json, describe, machine, warnings

RESULTS = Path(__file__).resolve().parents[1] / "results" / "gateway-soak.json"
REQUESTS = 1_000_000
STREAMS = 10_000
WAVES = 2
"""How often that many are opened: what the second adds to the first was not given back."""
SECONDS = 900.0
STEP = 20_000
"""Requests between two looks at the memory."""
WARM_UP = 5_000
"""Requests before the first look: what is made at first use is no leak."""
SHARES = (0.0, 0.1, 0.5, 1.0)
FLAT_SHARE = 0.05
"""How much more memory than at a tenth of the requests still counts as flat, at their end."""
KIB_A_STREAM_MAX = 40.0
HELD = Case("streams with an event every 10 s", STREAMS, 2_048, 128, 10_000)
SPARE_FILES = 64
"""Descriptors of a gateway beside two for each stream."""


def streams_possible(wanted: int, files_max: int) -> int:
    """Return how many streams a gateway can hold with so many descriptors: each takes two."""
    return max(0, min(wanted, (files_max - SPARE_FILES) // 2))


def looks(seen: Sequence[tuple[int, float]], planned: int) -> list[tuple[float, int, float]]:
    """Pick the looks at the memory at SHARES of what was planned: share, requests made, MiB. None that was not made."""
    found = []
    for share in SHARES:
        there = [one for one in seen if one[0] >= share * planned]
        if there:
            found.append((share, *there[0]))
    return found


def growth(seen: Sequence[tuple[int, float]]) -> float:
    """Return the last look over that at a tenth of the requests made, less one; nan for fewer than three looks."""
    if len(seen) < 3:
        return math.nan
    tenth = next(mib for made, mib in seen if made >= seen[-1][0] / 10)
    return seen[-1][1] / tenth - 1


def soak(target: Subject, requests: int, ends: float) -> list[tuple[int, float]]:
    """Ask until `requests` are made or the time is over; return requests made and MiB held, look by look."""
    _ask(target, WHOLE, WARM_UP)
    _ask(target, SATURATED, WARM_UP // 10)
    seen, longest_s = [(0, _mib(target))], 0.0
    while seen[-1][0] < requests and time.perf_counter() + longest_s < ends:
        began = time.perf_counter()
        step = min(STEP, requests - seen[-1][0])
        _ask(target, WHOLE, step)
        seen.append((seen[-1][0] + step, _mib(target)))
        longest_s = max(longest_s, time.perf_counter() - began)
        if len(seen) % 10 == 1:
            print(f"{seen[-1][0]:,} requests: {seen[-1][1]:.1f} MiB", flush=True)
    return seen


def hold(target: Subject, streams: int) -> tuple[float, float]:
    """Open streams that stay open; return the gateway's MiB before, and with all of them open."""
    before = _mib(target)
    text = job(target, HELD, 0.0).bodies
    with processes.load(Job(target.port, CHAT_PATH, text, streams, target.key, hold=True, stamped=True)) as client:
        held = _mib(target)
        client.go()
    return before, held


def run(requests: int, streams: int, seconds: float) -> dict[str, Any]:
    """Run both; return what was seen."""
    began, start, watch = time.perf_counter(), machine(), Watch()
    print(describe(start), flush=True)
    watch.calibrate()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    possible = streams_possible(streams, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, max(soft, 2 * possible + SPARE_FILES)), hard))
    environ = {
        "FASTNESS__GATEWAY__CONNECTIONS_MAX": str(possible + SPARE_FILES),
        "FASTNESS__TRAFFIC__QUEUE_MAX": str(2 * possible),  # all come at once; prompts are sent one after the other
    }
    with tempfile.TemporaryDirectory(prefix="fst-bench-") as folder, engines(Path(folder)) as behind:
        with fastness(Path(folder), behind, environ=environ, slots=possible) as rows:
            _ask(rows[0], SATURATED, WARM_UP // 10)
            waves = [hold(rows[0], possible) for _ in range(WAVES)]
        print(f"{possible:,} streams held: {waves[0][1]:.1f} MiB", flush=True)
        with fastness(Path(folder), behind) as rows:  # another one: what streams gave back would hide what leaks
            seen = soak(rows[0], requests, began + seconds)
    watch.calibrate()
    around = watch.busyness()
    return {
        "requests_planned": requests,
        "requests_made": seen[-1][0],
        "looks": [
            {"share": share, "requests": made, "resident_mib": mib} for share, made, mib in looks(seen, requests)
        ],
        "resident_mib_at_end": seen[-1][1],
        "growth_after_a_tenth": growth(seen),
        "streams_wanted": streams,
        "streams_held": possible,
        "files_max": hard,
        "waves_mib": waves,
        "kib_per_stream": (waves[0][1] - waves[0][0]) / possible * 1_024 if possible else math.nan,
        "machine": as_json(start, around),
        "warnings": warnings(start, around),
        "elapsed_s": time.perf_counter() - began,
    }


def report(seen: dict[str, Any]) -> str:
    """Lay the results out as text."""
    rows = [(f"{one['share']:.0%}", f"{one['requests']:,}", f"{one['resident_mib']:.1f}") for one in seen["looks"]]
    if seen["requests_made"] < seen["requests_planned"]:
        reached = seen["requests_made"] / seen["requests_planned"]
        rows.append((f"{reached:.0%}, out of time", f"{seen['requests_made']:,}", f"{seen['resident_mib_at_end']:.1f}"))
    grew = seen["growth_after_a_tenth"]
    flat = "too few looks to tell" if math.isnan(grew) else "flat" if grew <= FLAT_SHARE else "NOT FLAT"
    small = "met" if seen["kib_per_stream"] <= KIB_A_STREAM_MAX else "MISSED"
    peaks = ", ".join(f"{held:.1f} MiB" for _, held in seen["waves_mib"])
    short = "" if seen["streams_held"] == seen["streams_wanted"] else f" (of {seen['streams_wanted']:,} wanted)"
    return (
        f"{table(('of the requests', 'made', 'resident MiB'), rows)}\n"
        f"{seen['requests_made']:,} requests made; from a tenth of them to the end: "
        f"{grew:+.1%}: {flat} (at most {FLAT_SHARE:+.0%})\n"
        f"{seen['streams_held']:,} open streams{short}, at most {seen['files_max']:,} descriptors here: "
        f"{seen['kib_per_stream']:.1f} KiB each: {small} (at most {KIB_A_STREAM_MAX:g}); "
        f"opened {WAVES} times, held {peaks}"
    )


def _ask(target: Subject, case: Case, requests: int) -> None:
    asked = job(target, case, 0.0)
    asked.requests = requests
    with processes.load(asked) as client:
        seen = client.go()
    if seen.failures:
        raise RuntimeError(f"{case.name}: {seen.failures} of {requests} answers failed")


def _mib(target: Subject) -> float:
    return processes.resident_bytes(target.pid) / 2**20


def main() -> None:
    """Read the command line, run, and write the results."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--requests", type=int, default=REQUESTS)
    parser.add_argument("--streams", type=int, default=STREAMS)
    parser.add_argument("--seconds", type=float, default=SECONDS, help="the whole run, about")
    chosen = parser.parse_args()
    seen = run(chosen.requests, chosen.streams, chosen.seconds)
    print(report(seen), *(f"WARNING: {line}" for line in seen["warnings"]), sep="\n")
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_bytes(msgspec.json.format(msgspec.json.encode(seen), indent=2) + b"\n")
    print(f"\nwritten to {RESULTS}, after {seen['elapsed_s']:.0f} s")


if __name__ == "__main__":
    main()
