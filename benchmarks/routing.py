"""Choosing the replica on a published trace, simulated: `python -m benchmarks.routing [TRACE]`.

Mooncake's conversation trace (FAST'25: an hour, 12,031 requests, prompts as ids of 512-token blocks) is played as
published through simulated replicas, once for each rule. Printed: what share of what an unbounded cache shared by all
would have spared was spared; how even the load was; times to the first token. All of it is the simulation's, seeded,
and the same on every machine. The trace is not part of this repository.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

from benchmarks.figures import percentile, table
from benchmarks.routing_rules import RULES
from benchmarks.routing_site import BLOCK_TOKENS, Pace, Request, run
from fastness.simulator.traces import Requests

TRACE = Path(__file__).resolve().parents[2] / "shared/data/traces/mooncake/conversation_trace.jsonl"
REPLICAS = 8
CACHE_BLOCKS = (1_000, 4_000, 16_000)


@dataclass(frozen=True, slots=True)
class Seen:
    """What one rule made of the trace. Loads are the most of any replica over the mean, less one."""

    rule: str
    hit_share: float
    of_bound: float
    spread_in_flight: float
    spread_read: float
    first_mean_s: float
    first_p95_s: float


def read_trace(path: Path) -> list[Request]:
    """Read the trace as published; raises OSError, TraceError."""
    asked = enumerate(Requests(path, "mooncake"))
    return [Request(number, one.at_s, one.input_tokens, one.output_tokens, one.blocks) for number, one in asked]


def bound(trace: Sequence[Request]) -> int:
    """The tokens that an unbounded cache, shared by all replicas, would spare."""
    seen: set[int] = set()
    spared = 0
    for request in trace:
        depth = 0
        while depth < len(request.blocks) and request.blocks[depth] in seen:
            depth += 1
        spared += min(depth * BLOCK_TOKENS, request.tokens)
        seen.update(request.blocks)
    return spared


def play(trace: list[Request], rule_type: type, count: int, pace: Pace, most: int) -> Seen:
    """Play the trace under one rule."""
    rule = rule_type(count, pace)
    replicas = run(trace, rule, count, pace)
    spared = sum(request.cached_tokens for request in trace)
    firsts = [request.first_s for request in trace]
    return Seen(
        rule.name,
        spared / sum(request.tokens for request in trace),
        spared / most,
        _spread([one.in_flight_s for one in replicas]),
        _spread([float(one.read_tokens) for one in replicas]),
        fmean(firsts),
        percentile(firsts, 95),
    )


def _spread(loads: Sequence[float]) -> float:
    return max(loads) / fmean(loads) - 1


def report(seen: Sequence[Seen]) -> str:
    """Lay the results out as text."""
    rows = [
        (
            one.rule,
            f"{one.hit_share:.1%}",
            f"{one.of_bound:.1%}",
            f"{1 + one.spread_in_flight:.3f}",
            f"{1 + one.spread_read:.3f}",
            f"{one.first_mean_s:.2f}",
            f"{one.first_p95_s:.2f}",
        )
        for one in seen
    ]
    head = ("rule", "cached", "of bound", "max/mean in flight", "max/mean read", "TTFT mean s", "p95 s")
    return table(head, rows)


def main() -> None:
    """Read the command line, play, and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("trace", nargs="?", type=Path, default=TRACE)
    parser.add_argument("--replicas", type=int, default=REPLICAS)
    parser.add_argument("--cache-blocks", type=int, nargs="*", default=CACHE_BLOCKS, help="of 512 tokens, a replica")
    chosen = parser.parse_args()
    try:
        trace = read_trace(chosen.trace)
    except OSError as error:
        print(
            f"The trace is not here ({error}). Give its path: conversation_trace.jsonl of Mooncake's FAST'25 release."
        )
        return
    most = bound(trace)
    total = sum(request.tokens for request in trace)
    print(f"{len(trace):,} requests, {total:,} input tokens; an unbounded shared cache spares {most / total:.1%}")
    for blocks in chosen.cache_blocks:
        pace = Pace(cache_blocks=blocks)
        print(f"\n{chosen.replicas} replicas, {blocks:,} blocks each ({blocks * BLOCK_TOKENS:,} tokens)", flush=True)
        print(report([play(trace, rule, chosen.replicas, pace, most) for rule in RULES]), flush=True)


if __name__ == "__main__":
    main()
