"""A thousand simulated hours over random fleets, faults and load: no law is broken, and everything comes to be ready.

A seed that fails is played again by `fastness simulate --seed N --hours H`, with all that happened.
"""

from __future__ import annotations

import os
import time

import pytest

from fastness.simulator.drawing import draw
from fastness.simulator.laws import Broken
from fastness.simulator.world import World

FIRST = int(os.environ.get("FASTNESS_FIRST_SEED", "1"))
HOURS = 5.0
SCENARIOS = 201


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_laws_are_kept_over_a_thousand_simulated_hours() -> None:
    began_s, broken, events, requests, looks = time.process_time(), [], 0, 0, 0
    for seed in range(FIRST, FIRST + SCENARIOS):
        world = World(draw(seed, HOURS))
        try:
            world.run()
        except Broken as found:
            broken.append(f"{found}\n  replay: fastness simulate --seed {seed} --hours {HOURS:g}")
        events, requests, looks = events + world.events, requests + world.requests, looks + world.laws.checks
    took_s = time.process_time() - began_s
    print(
        f"seeds {FIRST} to {FIRST + SCENARIOS - 1}, {SCENARIOS * HOURS:,.0f} simulated hours in {took_s:.0f} s of CPU: "
        f"{events:,} events, {requests:,} requests, {looks:,} looks at the laws"
    )
    assert not broken, "\n".join(broken)


def test_a_few_simulated_hours_keep_the_laws() -> None:
    for seed in range(3):
        World(draw(seed, 1.5)).run()
