"""Can the time to the first token tell what somebody else asked? `python -m benchmarks.cache_timing [--seconds N]`.

One real engine behind the gateway, two tenants, a key of each. In each round the victim asks a prompt that nobody asked
before; then the attacker asks the same prompt (a *hit*, if anything were shared) or another one, as new and as long (a
*miss*). Rounds come in pairs of both kinds in random order, so that whatever drifts is the same for both. The attacker
listens to nothing but its own time to the first token. The same is done for one tenant under two labels.

Beside it stands what gateway and engine worked, by their CPU clocks. No attacker sees that; but others on the machine
blur it far less than they blur times, so a difference that a quiet machine would let through shows here.

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

from benchmarks.bodies import MODEL
from benchmarks.figures import median, table, told_apart
from benchmarks.installation import Running, installation, tenant_key, verb
from benchmarks.machine import Watch, describe, machine, warnings
from benchmarks.processes import cpu_s
from benchmarks.voice import Voice

SEED = 8
DIGITS = 10
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
    work_s: dict[bool, list[float]] = field(default_factory=lambda: {True: [], False: []})
    cached: dict[bool, list[float]] = field(default_factory=lambda: {True: [], False: []})


async def measure(site: Running, home: Path, seconds: float, seed: int) -> dict[str, Trial]:
    """Play rounds until the time is over."""
    victim = Voice(site, tenant_key(home, "victim"))
    key = tenant_key(home, "attacker")
    attacker, marked = Voice(site, key), Voice(site, key, "fastness-marking: OPEN\r\n")
    trials = {
        "another tenant": Trial(victim, attacker, 1),
        "itself, under another label": Trial(marked, attacker, 2),
        "itself (the control)": Trial(attacker, attacker, 8),
    }
    engine = next(one for one in verb(home, "ps")["replicas"] if one["model"] == MODEL)
    pids = site.gateway_pid, int(engine["pid"])
    dice, lengths, ends, number = Random(seed), set[int](), time.monotonic() + seconds, 0

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
            before_s = sum(map(cpu_s, pids))
            first_s, tokens, cached = await one.listener.ask(asked if hit else fresh())
            one.work_s[hit].append(sum(map(cpu_s, pids)) - before_s)
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
        cells = []
        for seen in (one.first_s, one.work_s):
            area, low, high = told_apart(seen[True], seen[False])
            cells += [f"{median(seen[hit]) * 1e3:.1f}" for hit in (True, False)]
            cells += [f"{area:.3f}", f"{low:.3f}-{high:.3f}"]
        cached = (f"{sum(one.cached[hit]) / len(one.cached[hit]):.1f}" for hit in (True, False))
        rows.append((name, f"{len(one.first_s[True])}", *cached, *cells))
    head = ("asked before by", "pairs", "cached, hit", "miss", "TTFT p50 ms, hit", "miss", "AUC", "95%")
    head += ("CPU p50 ms, hit", "miss", "AUC", "95%")
    return table(head, rows)


def main() -> None:
    """Read the command line, measure, and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seconds", type=float, default=180.0)
    parser.add_argument("--seed", type=int, default=SEED)
    chosen = parser.parse_args()
    start, watch = machine(), Watch()
    watch.calibrate()
    with tempfile.TemporaryDirectory(prefix="fst-bench-") as folder:
        home, settings = Path(folder), {"FASTNESS__POLICY__PROFILE": f"{folder}/profile.toml"}
        settings |= dict.fromkeys(("FASTNESS__ENGINE__CEILING", "FASTNESS__NODE__CEILING"), "INSIDE")
        (home / "profile.toml").write_text(PROFILE)
        with installation(home, settings=settings) as site:
            trials = uvloop.run(measure(site, home, chosen.seconds, chosen.seed))
    watch.calibrate()
    print(describe(start))
    print(report(trials))
    for line in warnings(start, watch.busyness()):
        print(f"WARNING: {line}")


if __name__ == "__main__":
    main()
