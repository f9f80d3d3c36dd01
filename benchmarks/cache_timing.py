"""Can the time to the first token tell what somebody else asked? `python -m benchmarks.cache_timing [--seconds N]`.

One real engine behind the gateway, two tenants, a key of each. In each round the victim asks a prompt that nobody asked
before; then the attacker asks the same prompt (a *hit*, if anything were shared) or another one, as new and as long (a
*miss*). Rounds come in pairs of both kinds in random order, so that whatever drifts is the same for both. The attacker
listens to nothing but its own time to the first token. The same is done for one tenant under two labels.

The control shows that the instrument sees a hit where there is one: a tenant that asks its own prompt again.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

import uvloop

from benchmarks.figures import median, table, told_apart
from benchmarks.installation import Running, installation, tenant_key
from benchmarks.machine import Watch, describe, machine, warnings
from benchmarks.voice import Voice

SEED = 8
DIGITS = 20
"""Of a prompt. The starter model has a token for each, so all prompts are equally long; that they are is checked."""
PROFILE = """
name = "two"
title = "Two markings"
default = "INSIDE"
marking = [{ name = "OPEN", meaning = "Anybody." }, { name = "INSIDE", meaning = "Us.", above = ["OPEN"] }]
jurisdictions = { GB = "Here" }
"""
WARM_UP = 24
"""Prompts asked before the first round: more than there are slots, so that every slot has changed hands."""


@dataclass(slots=True)
class Trial:
    """One question: whether `listener` can tell what `before` asked; in one of so many rounds."""

    before: Voice
    listener: Voice
    every: int
    first_s: dict[bool, list[float]] = field(default_factory=lambda: {True: [], False: []})
    cached: dict[bool, list[float]] = field(default_factory=lambda: {True: [], False: []})


async def measure(site: Running, home: Path, seconds: float) -> dict[str, Trial]:
    """Play rounds until the time is over."""
    victim = Voice(site, tenant_key(home, "victim"))
    key = tenant_key(home, "attacker")
    attacker, marked = Voice(site, key), Voice(site, key, "fastness-marking: OPEN\r\n")
    trials = {
        "another tenant": Trial(victim, attacker, 1),
        "itself, under another label": Trial(marked, attacker, 2),
        "itself (the control)": Trial(attacker, attacker, 8),
    }
    dice, lengths, ends, number = Random(SEED), set[int](), time.monotonic() + seconds, 0

    def fresh() -> str:
        return "".join(dice.choice("0123456789") for _ in range(DIGITS))

    for turn in range(WARM_UP):
        await (victim, attacker, marked)[turn % 3].ask(fresh())
    while time.monotonic() < ends:
        due = [(one, hit) for one in trials.values() if number % one.every == 0 for hit in (True, False)]
        dice.shuffle(due)
        for one, hit in due:
            asked = fresh()
            await one.before.ask(asked)
            first_s, tokens, cached = await one.listener.ask(asked if hit else fresh())
            one.first_s[hit].append(first_s)
            one.cached[hit].append(cached)
            lengths.add(tokens)
        number += 1
    if len(lengths) != 1:
        raise RuntimeError(f"prompts were not equally long: {sorted(lengths)} tokens")
    return trials


def report(trials: dict[str, Trial]) -> str:
    """Lay the results out as text."""
    rows = []
    for name, one in trials.items():
        hits, misses = one.first_s[True], one.first_s[False]
        area, low, high = told_apart(hits, misses)
        rows.append(
            (
                name,
                f"{len(hits)}",
                *(f"{sum(one.cached[hit]) / len(hits):.1f}" for hit in (True, False)),
                *(f"{median(times) * 1e3:.1f}" for times in (hits, misses)),
                f"{area:.3f}",
                f"{low:.3f}-{high:.3f}",
            )
        )
    head = ("asked before by", "pairs", "cached, hit", "miss", "TTFT p50 ms, hit", "miss", "AUC", "95%")
    return table(head, rows)


def main() -> None:
    """Read the command line, measure, and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seconds", type=float, default=180.0)
    chosen = parser.parse_args()
    start, watch = machine(), Watch()
    watch.calibrate()
    with tempfile.TemporaryDirectory(prefix="fst-bench-") as folder:
        home, settings = Path(folder), {"FASTNESS__POLICY__PROFILE": f"{folder}/profile.toml"}
        settings |= dict.fromkeys(("FASTNESS__ENGINE__CEILING", "FASTNESS__NODE__CEILING"), "INSIDE")
        (home / "profile.toml").write_text(PROFILE)
        with installation(home, settings=settings) as site:
            trials = uvloop.run(measure(site, home, chosen.seconds))
    watch.calibrate()
    print(describe(start))
    print(report(trials))
    for line in warnings(start, watch.busyness()):
        print(f"WARNING: {line}")


if __name__ == "__main__":
    main()
