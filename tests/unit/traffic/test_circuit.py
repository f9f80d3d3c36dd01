"""A circuit: what failed too often is left alone for a while, and nothing is left alone for ever."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from fastness.traffic.circuit import FAILED_RUNS_MAX, Circuit, CircuitBounds, Circuits, CircuitState

BOUNDS = CircuitBounds(3, 1.0, 8.0)
CLOSED, OPEN, HALF_OPEN = CircuitState.CLOSED, CircuitState.OPEN, CircuitState.HALF_OPEN


def test_it_opens_after_so_many_failures_in_a_row_and_not_before() -> None:
    one = Circuit(BOUNDS)
    for _ in range(2):
        one.failed(0.0)
    one.succeeded(0.0)
    for _ in range(2):
        one.failed(0.0)
    assert one.state(0.0) is CLOSED
    one.failed(0.0)
    assert one.state(0.0) is OPEN


def test_it_opens_when_half_of_the_latest_runs_failed() -> None:
    one = Circuit(BOUNDS)
    for _ in range(FAILED_RUNS_MAX - 1):
        one.failed(0.0)
        one.succeeded(0.0)
    assert one.state(0.0) is CLOSED
    one.failed(0.0)
    assert one.state(0.0) is OPEN


def test_it_opens_at_once_when_nobody_listens() -> None:
    one = Circuit(BOUNDS)
    one.failed(5.0, gone=True)
    assert one.state(5.9) is OPEN
    assert one.state(6.0) is HALF_OPEN


def test_one_success_closes_a_half_open_one_and_one_failure_opens_it_for_twice_as_long() -> None:
    one = Circuit(BOUNDS)
    now_s = 0.0
    one.failed(now_s, gone=True)
    for wait_s in (1.0, 2.0, 4.0, 8.0, 8.0):
        assert one.state(now_s + wait_s - 0.001) is OPEN
        now_s += wait_s
        assert one.state(now_s) is HALF_OPEN
        one.failed(now_s)
    now_s += 8.0
    one.succeeded(now_s)
    assert one.state(now_s) is CLOSED
    assert one.spotless
    one.failed(now_s, gone=True)
    assert one.state(now_s + 1.0) is HALF_OPEN


def test_many_runs_that_fail_together_open_it_once() -> None:
    one = Circuit(BOUNDS)
    for _ in range(100):
        one.failed(0.0, gone=True)
    assert one.openings == 1
    one.succeeded(0.5)
    assert one.state(0.5) is OPEN, "a run from before tells nothing new"


@given(st.lists(st.tuples(st.booleans(), st.booleans(), st.floats(0, 20))))
def test_it_is_never_open_for_longer_than_its_bound(steps: list[tuple[bool, bool, float]]) -> None:
    one, now_s = Circuit(BOUNDS), 0.0
    for fails, gone, wait_s in steps:
        now_s += wait_s
        one.failed(now_s, gone=gone) if fails else one.succeeded(now_s)
        assert one.open_until_s is None or one.open_until_s <= now_s + BOUNDS.open_max_s
        assert one.state(now_s + BOUNDS.open_max_s) is not OPEN
        assert one.in_a_row < BOUNDS.failures_max


def test_a_new_start_of_an_engine_has_a_clean_slate_and_old_failures_do_not_stain_it() -> None:
    all_ = Circuits(BOUNDS)
    assert all_.failed("a", 1, 0.0, gone=True) is OPEN
    assert all_.state("a", 2, 0.0) is CLOSED
    assert all_.failed("a", 2, 0.0) is CLOSED
    all_.failed("a", 1, 0.0, gone=True)
    assert all_.state("a", 2, 0.0) is CLOSED


def test_only_what_is_held_against_somebody_is_kept() -> None:
    all_ = Circuits(BOUNDS)
    all_.failed("a", 1, 0.0)
    all_.failed("b", 1, 0.0, gone=True)
    all_.keep({"a": 2, "b": 1})
    assert len(all_) == 1
    all_.succeeded("b", 1, 1.0)
    all_.keep({"a": 2, "b": 1})
    assert len(all_) == 0
