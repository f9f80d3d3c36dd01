"""What is guessed before it is known: tokens of a request, and how fast a queue drains."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastness.traffic.drain import WINDOW_S, Drain
from fastness.traffic.estimate import BYTES_PER_TOKEN_MIN, Estimate


def test_a_model_that_nothing_is_known_of_is_given_four_bytes_a_token() -> None:
    assert Estimate().of(4_000, 10) == (1_001, 10)


def test_output_is_a_little_above_the_average_and_never_above_what_was_asked_for() -> None:
    estimate = Estimate()
    for _ in range(500):
        estimate.learn(400, 100, 80)
    assert estimate.of(400, None) == (101, 101)
    assert estimate.of(400, 1_000_000)[1] == 101
    assert estimate.of(400, 7)[1] == 7


@given(st.lists(st.tuples(st.integers(0, 10**9), st.integers(0, 10**6), st.integers(0, 10**6)), max_size=200))
def test_whatever_it_learns_an_estimate_stays_within_bounds(seen: list[tuple[int, int, int]]) -> None:
    estimate = Estimate()
    for one in seen:
        estimate.learn(*one)
    tokens, output = estimate.of(10**6, None)
    assert 1 <= tokens <= 10**6 / BYTES_PER_TOKEN_MIN + 1
    assert 1 <= output <= 2 * 10**6


def test_the_rate_is_that_of_real_departures_once_there_are_some() -> None:
    drain = Drain()
    drain.begin(0.0)
    assert drain.rate(0.0, 8) == 8.0, "nothing is known: a slot is held for a second"
    for number in range(1, 101):
        drain.note(number / 10, 100.0, busy=True)
    assert drain.rate(10.0, 8) == pytest.approx(10.0)
    for number in range(101, 1_001):
        drain.note(number / 10, 100.0, busy=True)
    assert drain.rate(100.0, 8) == pytest.approx(10.0, rel=0.05)


def test_old_departures_are_forgotten() -> None:
    drain = Drain()
    drain.begin(0.0)
    for _ in range(1_000):
        drain.note(1.0, 2.0, busy=True)
    assert drain.rate(1.0 + 3 * WINDOW_S, 4) == pytest.approx(2.0, rel=0.01), "four slots, held for two seconds"


@given(
    st.lists(st.tuples(st.floats(0, 100), st.floats(0, 1_000), st.booleans()), max_size=60),
    st.integers(0, 1_000),
    st.floats(0, 1_000),
)
def test_a_rate_is_above_nothing_and_finite(
    departures: list[tuple[float, float, bool]], slots: int, later_s: float
) -> None:
    drain, now_s = Drain(), 0.0
    drain.begin(now_s)
    for passed_s, held_s, busy in departures:
        now_s += passed_s
        drain.note(now_s, held_s, busy)
    assert 0 < drain.rate(now_s + later_s, slots) < float("inf")
