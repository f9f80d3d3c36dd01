"""What the gateway process costs, alone: `python -m benchmarks.gateway_cost [--seconds 3] [--rounds 2]`.

CPU is of that one process, user and system, all threads, while a fake engine answers without computing anything.
Keys, the ledger with its fsync, logs and metrics are on. Rounds are interleaved; the medians are printed.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks import processes
from benchmarks.bodies import CHAT_PATH, engine_body, sized_body
from benchmarks.figures import median, percentile, table
from benchmarks.gateway_process import prepare
from benchmarks.ledger import bare
from benchmarks.load import Job
from benchmarks.upstream import CHUNKS
from fastness.config import run_directory

MODELS = {
    "whole": ("fake", 0.0),
    "fast": ("llamacpp", 0.0),
    "paced": ("llamacpp", 10.0),
    "held": ("llamacpp", 60_000.0),
}
"""The fake site: each model's engine, as the gateway is told, and how far apart it writes its events, in ms.

The first is asked for whole answers. llama.cpp never is: it would not stop a whole answer that nobody waits for any
more, so the gateway asks it for streams, and a whole answer of its costs the reading of all its events.
"""
HELD = 1_000


@dataclass(frozen=True, slots=True)
class Case:
    """One row: what is asked, by how many connections at once."""

    name: str
    model: str
    connections: int
    prompt_bytes: int
    stream: bool


CASES = (
    Case("whole answer, 2 KB prompt, 1 connection", "whole", 1, 2_048, False),
    Case("whole answer, 2 KB prompt, 16 connections", "whole", 16, 2_048, False),
    Case("whole answer, 64 KB prompt, 1 connection", "whole", 1, 65_536, False),
    Case("whole answer, 64 KB prompt, 16 connections", "whole", 16, 65_536, False),
    Case(f"whole answer read as {CHUNKS} events, 10 ms apart, 32", "paced", 32, 2_048, False),
    Case(f"32 streams of {CHUNKS} chunks, 10 ms apart", "paced", 32, 2_048, True),
    Case(f"32 streams of {CHUNKS} chunks, unpaced", "fast", 32, 2_048, True),
)


@dataclass(frozen=True, slots=True)
class Site:
    """The gateway under measurement."""

    port: int
    pid: int
    key: str
    engine: Path


@dataclass(frozen=True, slots=True)
class Figure:
    """One window of one case. `unit_cpu_ms` is per request, or per 1,000 chunks of streams."""

    unit_cpu_ms: float
    per_second: float
    p50_ms: float
    p99_ms: float
    client_busy: float


@contextmanager
def site(environ: dict[str, str] | None = None) -> Iterator[Site]:
    """Run the gateway in front of fake engines."""
    with ExitStack() as stack:
        home = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="fst-bench-")))
        engines = {
            name: (engine, stack.enter_context(processes.upstream(home / f"{name}.sock", pace_ms, CHUNKS)))
            for name, (engine, pace_ms) in MODELS.items()
        }
        key = prepare(home, engines)
        control = run_directory(home, os.getuid()) / "control.sock"
        processes.line_of(stack.enter_context(processes.running("-m", "benchmarks.grants", str(control))))
        process = stack.enter_context(
            processes.running("-m", "benchmarks.gateway_process", str(home), environ=environ, grace_s=40.0)
        )
        port = int(processes.line_of(process))
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=30) as answer:  # it waits in the backlog
            assert answer.status == 200
        yield Site(port, process.pid, key, engines["fast"][1])


def run_case(target: Site, case: Case, seconds: float) -> Figure:
    """Measure one window of one case. Raises RuntimeError when an answer was not 200."""
    bodies = [sized_body(case.model, case.prompt_bytes, stream=case.stream)]
    with processes.load(
        Job(target.port, CHAT_PATH, bodies, case.connections, target.key, seconds, stamped=True)
    ) as client:
        before = processes.cpu_s(target.pid)
        seen = client.go()
        used = processes.cpu_s(target.pid) - before
    done = seen.chunks if case.stream else seen.requests
    if seen.failures or not done:
        raise RuntimeError(f"{case.name}: {seen.failures} answers failed, {done} arrived")
    times = seen.transit_s if case.stream else seen.total_s
    return Figure(
        unit_cpu_ms=used * 1e3 / done * (1_000 if case.stream else 1),
        per_second=done / seen.elapsed_s,
        p50_ms=percentile(times, 50) * 1e3,
        p99_ms=percentile(times, 99) * 1e3,
        client_busy=seen.cpu_s / seen.elapsed_s,
    )


def held_streams(target: Site, streams: int) -> tuple[float, float]:
    """Open streams that stay open; return the gateway's resident MiB before, and the KiB that each stream adds."""
    run_case(target, CASES[-1], 0.3)  # what is made at first use is not a stream's
    before = processes.resident_bytes(target.pid)
    job = Job(
        target.port, CHAT_PATH, [sized_body("held", 2_048, stream=True)], streams, target.key, hold=True, stamped=True
    )
    with processes.load(job) as client:
        after = processes.resident_bytes(target.pid)
        client.go()
    return before / 2**20, (after - before) / streams / 1024


def added_ms(target: Site, *, stream: bool, seconds: float) -> float:
    """Return what the gateway adds at the median at 1 connection: to a whole answer, or to a stream's first text."""
    asked = sized_body("fast" if stream else "whole", 2_048, stream=stream)
    medians = []
    for job in (
        Job(str(target.engine), CHAT_PATH, [engine_body(asked)], 1, seconds=seconds),
        Job(target.port, CHAT_PATH, [asked], 1, target.key, seconds),
    ):
        with processes.load(job) as client:
            seen = client.go()
        medians.append(median(seen.first_s if stream else seen.total_s) * 1e3)
    return medians[1] - medians[0]


def sync_cpu_ms(seconds: float) -> float:
    """Return the CPU-ms of writing one ledger entry and waiting for the disk: the floor under a lone request."""
    with tempfile.TemporaryDirectory(prefix="fst-bench-") as folder:
        row = bare(Path(folder), 1, seconds)
    return (row.user_us + row.system_us) / 1e3


def measure(seconds: float, rounds: int, streams: int, between: Callable[[], None] = lambda: None) -> dict[str, Any]:
    """Run every case `rounds` times, interleaved, and return the medians. Calls `between` after each round."""
    seen: dict[str, list[Figure]] = {case.name: [] for case in CASES}
    added: dict[bool, list[float]] = {False: [], True: []}
    with site() as target:
        idle_mib, stream_kib = held_streams(target, streams)  # first: later there is freed memory to fill
        for _ in range(rounds):
            for case in CASES:
                seen[case.name].append(run_case(target, case, seconds))
            for stream, values in added.items():
                values.append(added_ms(target, stream=stream, seconds=seconds / 2))
            between()
        busy_mib = processes.resident_bytes(target.pid) / 2**20
    return {
        "fdatasync_cpu_ms": sync_cpu_ms(min(0.5, seconds)),
        "added_whole_ms": median(added[False]),
        "added_first_text_ms": median(added[True]),
        "cases": {name: _middle(figures) for name, figures in seen.items()},
        "rss_idle_mib": idle_mib,
        "rss_after_load_mib": busy_mib,
        "held_streams": streams,
        "kib_per_held_stream": stream_kib,
    }


def _middle(figures: list[Figure]) -> dict[str, float]:
    middle = {name: median([getattr(one, name) for one in figures]) for name in Figure.__slots__}
    return middle | {"best_cpu_ms": min(one.unit_cpu_ms for one in figures)}


def report(result: dict[str, Any]) -> str:
    """Lay the results out as text."""
    cases = result["cases"]
    rows = []
    for case in CASES:
        seen, places = cases[case.name], 1 if case.stream else 3
        cpu = f"{seen['unit_cpu_ms']:.{places}f}"
        best = f"{seen['best_cpu_ms']:.{places}f}"
        rows.append(
            (
                case.name,
                *(("", cpu, best) if case.stream else (cpu, "", best)),
                f"{seen['per_second']:,.0f}",
                f"{seen['p50_ms']:.2f}",
                f"{seen['p99_ms']:.2f}",
                f"{seen['client_busy']:.0%}",
            )
        )
    head = ("CPU-ms of the gateway", "a request", "1,000 chunks", "best", "per s", "p50 ms", "p99 ms", "client")
    added = (
        f"for comparison: one entry written and synced by itself takes {result['fdatasync_cpu_ms']:.3f} CPU-ms here\n"
        f"added by the gateway at the median, 1 connection, fake engine: {result['added_whole_ms']:.2f} ms to a whole "
        f"answer (its fsync included), {result['added_first_text_ms']:.2f} ms to the first text of a stream"
    )
    memory = (
        f"memory of the gateway: {result['rss_idle_mib']:.0f} MiB at start, {result['rss_after_load_mib']:.0f} MiB "
        f"after load; {result['kib_per_held_stream']:.1f} KiB for each of {result['held_streams']:,} open streams"
    )
    return f"{table(head, rows)}\n{added}\n{memory}"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--rounds", type=int, default=2)
    chosen = parser.parse_args()
    print(report(measure(chosen.seconds, chosen.rounds, HELD)))
