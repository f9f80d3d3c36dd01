"""Retries are a part of what succeeds and a little more: never a storm."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from fastness.traffic.retry_budget import RetryBudget


def test_what_was_saved_up_may_be_spent_at_once() -> None:
    budget = RetryBudget(0.2, 0.0, 16, 0.0)
    assert [budget.take(0.0) for _ in range(17)] == [True] * 16 + [False]


def test_successes_and_time_bring_more_and_never_more_than_the_burst() -> None:
    budget = RetryBudget(0.25, 1.0, 2, 0.0)
    assert [budget.take(0.0) for _ in range(3)] == [True, True, False]
    for _ in range(4):
        budget.succeeded()
    assert [budget.take(0.0) for _ in range(2)] == [True, False]
    assert budget.take(1.0)
    assert [budget.take(1_000.0) for _ in range(3)] == [True, True, False]


def test_retries_that_came_to_a_good_end_are_given_back_however_often_an_engine_dies() -> None:
    budget = RetryBudget(0.0, 0.0, 32, 0.0)
    for _death in range(100):
        assert all(budget.take(0.0) for _ in range(32))
        for _ in range(32):
            budget.succeeded(1)


@given(st.lists(st.one_of(st.none(), st.floats(0, 3)), max_size=200), st.integers(0, 20))
def test_no_order_of_things_gives_more_retries_than_the_share_the_floor_and_the_burst(
    steps: list[float | None], burst: int
) -> None:
    budget, now_s, successes, taken = RetryBudget(0.2, 2.0, burst, 0.0), 0.0, 0, 0
    for step in steps:
        if step is None:
            budget.succeeded()
            successes += 1
        else:
            now_s += step
            taken += budget.take(now_s)
    assert taken <= burst + 0.2 * successes + 2.0 * now_s + 1e-6


def test_a_clock_that_stands_still_or_goes_back_brings_nothing() -> None:
    budget = RetryBudget(0.0, 5.0, 1, 10.0)
    assert [budget.take(now_s) for now_s in (10.0, 10.0, 3.0, 10.0)] == [True, False, False, False]
