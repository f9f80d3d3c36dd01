"""Each law notices when it is broken: a planted violation is found within a bounded number of seeds."""

from __future__ import annotations

from dataclasses import replace

import pytest

from fastness.simulator.drawing import draw
from fastness.simulator.laws import LAWS, Broken
from fastness.simulator.world import World
from mutants import MUTANTS, Mutant

HOURS = 3.0


def hunt(mutant: Mutant) -> Broken | None:
    """Play seed after seed until the law that should notice does."""
    for seed in range(mutant.seeds_max):
        try:
            drawn = draw(seed, HOURS)
            World(replace(drawn, faults=(*drawn.faults, *mutant.faults)), mutant.rules).run()
        except Broken as found:
            if found.rule == mutant.rule:
                return found
    return None


@pytest.mark.slow
@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda one: one.name)
def test_a_planted_violation_is_found(mutant: Mutant, capsys) -> None:
    found = hunt(mutant)
    assert found, f"{mutant.rule}: not found within {mutant.seeds_max} seeds of {HOURS} h"
    with capsys.disabled():
        law = f"law {found.law}" if found.law else "convergence"
        print(f"\n{mutant.name:<46} {law:<12} seed {found.seed:<4} t={found.at_s:.1f} s  {found.rule} on {found.where}")


def test_every_way_to_break_a_law_has_a_mutant_that_does() -> None:
    assert {one.rule for one in MUTANTS} == LAWS.keys()
