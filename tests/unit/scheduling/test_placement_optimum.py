"""Placement beside the best that can be done, and what it costs; the figures are those of benchmarks/placement.py."""

from __future__ import annotations

from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
CASES = 300


@pytest.fixture(autouse=True)
def benchmarks_can_be_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT))


def test_at_least_97_percent_of_the_optimum_is_put_to_work_on_small_fleets() -> None:
    from benchmarks.placement_optimum import case, optimum, placed

    pairs = [(placed(one), optimum(one)) for one in map(case, range(CASES))]
    assert all(ours <= best for ours, best in pairs), "the optimum is one"
    assert sum(ours for ours, _ in pairs) >= 0.97 * sum(best for _, best in pairs)
    assert sum(ours / best if best else 1.0 for ours, best in pairs) >= 0.97 * CASES


def test_the_optimum_of_a_case_that_can_be_followed_by_hand() -> None:
    from benchmarks.placement_optimum import GB, OFFICIAL, Case, case, optimum
    from fastness.core.desired import Needs
    from fastness.scheduling.wishes import Wish

    one = next(made for made in map(case, range(99)) if max(len(n.devices) for n in made.nodes) == 4)
    four = next(node for node in one.nodes if len(node.devices) == 4)
    wishes = tuple(Wish(f"d{width}", "health", Needs(OFFICIAL, GB, width), "") for width in (3, 2, 2))
    assert optimum(Case((four,), wishes)) == 4


def test_a_thousand_nodes_take_two_hundred_deployments_in_less_than_a_second_of_cpu() -> None:
    from benchmarks.placement import DEPLOYMENTS, cost, fleet, wishes

    wanted = wishes(2_400)
    assert len({one.deployment for one in wanted}) == DEPLOYMENTS
    assert len(wanted) > 1_000
    done = cost(fleet(1_000), wanted)
    assert done.placed == len(wanted)
    assert done.cpu_s < 1.0
