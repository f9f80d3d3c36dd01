"""A thousand simulated hours over random fleets, faults and load: no law is broken, and everything comes to be ready.

A seed that fails is played again by `fastness simulate --seed N --hours H`, with all that happened.
"""

from __future__ import annotations

import os

import pytest

from hunting import play, play_all

FIRST = int(os.environ.get("FASTNESS_FIRST_SEED", "1"))
HOURS = 5.0
SCENARIOS = int(os.environ.get("FASTNESS_SCENARIOS", "201"))


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_laws_are_kept_over_a_thousand_simulated_hours(capsys) -> None:
    played = play_all(range(FIRST, FIRST + SCENARIOS), HOURS)
    with capsys.disabled():
        print(
            f"\nseeds {FIRST} to {FIRST + SCENARIOS - 1}: {SCENARIOS * HOURS:,.0f} simulated hours, "
            f"{sum(one.events for one in played):,} events, {sum(one.requests for one in played):,} requests, "
            f"{sum(one.looks for one in played):,} looks at the laws, {sum(one.cpu_s for one in played):.0f} s of CPU"
        )
    assert [one.broken for one in played if one.broken] == []


@pytest.mark.parametrize("seed", range(3))
def test_a_few_simulated_hours_keep_the_laws(seed: int) -> None:
    assert play((seed, 1.5)).broken == ""
