"""The bare engine, and Fastness in front of the same engine process, in one run: `python -m benchmarks.side_by_side`.

Bare means: its own chat route on its Unix socket, with the body that the gateway's dialect would send. Through Fastness
means: TCP, the OpenAI wire format, a key, the ledger. Every prompt is used once, all have the same number of tokens,
every answer is equally long. The two sides take turns, and so do their order and the numbers of streams.
"""

from __future__ import annotations

import argparse
import itertools
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import uvloop

from benchmarks import processes
from benchmarks.bodies import CHAT_PATH, engine_body, exact_body
from benchmarks.figures import median, median_interval, percentile, table
from benchmarks.installation import Running, installation
from benchmarks.load import Client, Job, Outcome

STREAMS = (1, 4, 16)
REQUESTS = {1: 2, 4: 4, 16: 16}
"""Requests of one window, by the number of concurrent streams."""
WINDOW_S = 4.0
"""How long the longest window should take: the length of the answers is chosen for it, within these bounds."""
OUTPUT_TOKENS = (16, 64)
PROBE_TOKENS = 16
SIDES = ("bare", "fastness")
TEXT = "Case {number:06d}. Write a friendly letter."
SHORT = "Case {number:06d}. Say hello."


@dataclass(slots=True)
class Level:
    """All windows at one number of streams, by side. `longest_s` is what one turn of both sides took at most."""

    tokens_per_s: dict[str, list[float]] = field(default_factory=lambda: {side: [] for side in SIDES})
    first_s: dict[str, list[float]] = field(default_factory=lambda: {side: [] for side in SIDES})
    longest_s: float = 0.0

    def take(self, side: str, outcome: Outcome) -> None:
        """Add a window."""
        self.tokens_per_s[side].append(outcome.output_tokens / outcome.elapsed_s)
        self.first_s[side] += outcome.first_s

    def summary(self) -> dict[str, object]:
        """Return medians of each side, and of the ratios of neighbouring windows."""
        ratios = [after / before for before, after in zip(*self.tokens_per_s.values(), strict=True)]
        sides = {
            side: {
                "tokens_per_s": median(self.tokens_per_s[side]),
                "ttft_p50_ms": percentile(self.first_s[side], 50) * 1e3,
                "ttft_p99_ms": percentile(self.first_s[side], 99) * 1e3,
            }
            for side in SIDES
        }
        return {
            **sides,
            "ratio": median(ratios),
            "ratio_low": min(ratios),
            "ratio_high": max(ratios),
            "turns": len(ratios),
        }


class Prompts:
    """Numbers every prompt, so that no answer profits from another's cache."""

    def __init__(self) -> None:
        self._numbers: Iterator[int] = itertools.count(100_000)

    def bodies(self, count: int, output_tokens: int, text: str = TEXT) -> list[str]:
        """Write fresh requests in OpenAI's format."""
        return [exact_body(text.format(number=next(self._numbers)), output_tokens) for _ in range(count)]


def job(site: Running, side: str, bodies: list[str], streams: int) -> Job:
    """Say what one side has to do."""
    if side == "bare":
        return Job(site.replica.socket, CHAT_PATH, [engine_body(body) for body in bodies], streams)
    return Job(site.port, CHAT_PATH, bodies, streams, site.key)


def window(site: Running, side: str, streams: int, bodies: list[str], output_tokens: int) -> Outcome:
    """Run one window. Raises RuntimeError unless every answer came, with every token asked for."""
    with processes.load(job(site, side, bodies, streams)) as client:
        seen = client.go()
    wanted = len(bodies) * output_tokens
    if seen.failures or seen.output_tokens != wanted:
        raise RuntimeError(f"{side}: {seen.failures} answers failed, {seen.output_tokens} of {wanted} tokens came")
    return seen


async def alternate(site: Running, prompts: Prompts, pairs: int, seconds: float) -> list[tuple[float, float]]:
    """Ask both sides in turn, one short question at a time; return pairs of times to first text, in seconds."""
    outcomes, lines, clients = {side: Outcome() for side in SIDES}, {}, {}
    for side in SIDES:
        clients[side] = Client(job(site, side, prompts.bodies(1, 2, SHORT), 1), outcomes[side])
        lines[side] = await clients[side].connect()
    ends = time.perf_counter() + seconds
    for number in range(pairs):
        for side in SIDES if number % 2 else reversed(SIDES):
            raw = clients[side].request(job(site, side, prompts.bodies(1, 2, SHORT), 1).bodies[0])
            lines[side] = await clients[side].fresh(lines[side])
            await lines[side].ask(raw)
        if time.perf_counter() > ends:
            break
    for line in lines.values():
        line.transport.close()
    if any(outcome.failures for outcome in outcomes.values()):
        raise RuntimeError("an answer failed while the time to the first token was measured")
    return list(zip(outcomes["bare"].first_s, outcomes["fastness"].first_s, strict=True))


def measure(site: Running, seconds: float, pairs: int) -> dict[str, object]:
    """Take turns until `seconds` are over, at least once at each number of streams; return medians and ratios."""
    prompts, ends = Prompts(), time.perf_counter() + seconds
    output_tokens = answer_length(site, prompts)
    first = uvloop.run(alternate(site, prompts, pairs, seconds / 5))
    levels = {streams: Level() for streams in STREAMS}
    for turn in itertools.count():
        for streams, level in levels.items():
            if turn and time.perf_counter() + level.longest_s > ends:
                return result(levels, output_tokens, first)
            began = time.perf_counter()
            for side in SIDES if turn % 2 else reversed(SIDES):
                bodies = prompts.bodies(REQUESTS[streams], output_tokens)
                level.take(side, window(site, side, streams, bodies, output_tokens))
            level.longest_s = max(level.longest_s, time.perf_counter() - began)
    raise AssertionError("the turns end by themselves")


def answer_length(site: Running, prompts: Prompts) -> int:
    """Choose how long answers are, by how fast this machine is now."""
    streams = max(STREAMS)
    outcome = window(site, "bare", streams, prompts.bodies(streams, PROBE_TOKENS), PROBE_TOKENS)
    low, high = OUTPUT_TOKENS
    return max(low, min(high, round(outcome.output_tokens / outcome.elapsed_s * WINDOW_S / streams)))


def result(levels: dict[int, Level], output_tokens: int, first: list[tuple[float, float]]) -> dict[str, object]:
    """Sum up what was seen."""
    added = [(fastness - bare) * 1e3 for bare, fastness in first]
    low, high = median_interval(added)
    return {
        "output_tokens": output_tokens,
        "levels": {str(streams): level.summary() for streams, level in levels.items()},
        "pairs": len(first),
        "ttft_short_ms": {side: median([pair[n] for pair in first]) * 1e3 for n, side in enumerate(SIDES)},
        "added_ttft_ms": median(added),
        "added_ttft_low_ms": low,
        "added_ttft_high_ms": high,
    }


def report(seen: dict[str, Any]) -> str:
    """Lay the results out as text."""
    rows = []
    for streams, level in seen["levels"].items():
        bare, fastness = level["bare"], level["fastness"]
        rows.append(
            (
                f"{streams} ({level['turns']} turns)",
                f"{bare['tokens_per_s']:.1f}",
                f"{fastness['tokens_per_s']:.1f}",
                f"{level['ratio']:.1%}",
                f"{level['ratio_low']:.0%}-{level['ratio_high']:.0%}",
                *(f"{side[name]:,.0f}" for name in ("ttft_p50_ms", "ttft_p99_ms") for side in (bare, fastness)),
            )
        )
    head = ("streams", "bare tok/s", "Fastness", "ratio", "range", "TTFT p50 ms", "Fastness", "p99 ms", "Fastness")
    shorts = seen["ttft_short_ms"]
    return (
        f"{table(head, rows)}\n"
        f"answers of {seen['output_tokens']} tokens; tokens by usage; medians over turns\n"
        f"added time to first token, 1 stream: {seen['added_ttft_ms']:.2f} ms at the median of {seen['pairs']} pairs "
        f"(95%: {seen['added_ttft_low_ms']:.2f} to {seen['added_ttft_high_ms']:.2f}); short prompts: bare "
        f"{shorts['bare']:.1f} ms, Fastness {shorts['fastness']:.1f} ms"
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--seconds", type=float, default=120.0)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="fst-bench-") as folder, installation(Path(folder)) as running_site:
        print(report(measure(running_site, chosen.seconds, 100)))
