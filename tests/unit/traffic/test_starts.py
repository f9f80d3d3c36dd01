"""How long a first replica takes: measured and bounded, so that who asks is neither kept in vain nor sent away."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from fastness.traffic.starts import RETRY_AFTER_S_MAX, TOOK_S_MAX, UNKNOWN_RETRY_S, Starts

ONE, AGAIN = ("r", 1), ("r", 2)


def woken(*times_s: float) -> Starts:
    """A deployment that was asked for and then took so long, several times, a thousand seconds apart."""
    starts = Starts()
    for number, took_s in enumerate(times_s):
        at_s = 1_000.0 * number
        starts.asked(at_s)
        starts.saw({("r", number)}, [], at_s + took_s / 2)
        starts.saw(set(), [("r", number)], at_s + took_s)
    return starts


def test_before_anything_was_seen_nobody_is_told_that_it_is_in_vain() -> None:
    starts = Starts()
    starts.asked(10.0)
    assert not starts.is_vain(10.0, 10.001)
    assert starts.retry_after_s(10.0) == UNKNOWN_RETRY_S[0]
    assert starts.retry_after_s(30.0) == 10
    assert starts.retry_after_s(500.0) == UNKNOWN_RETRY_S[1]


def test_it_counts_from_the_asking_until_the_replica_is_ready() -> None:
    assert woken(8.0).took_s() == (8.0, 8.0)
    assert woken(8.0, 12.0, 10.0).took_s() == (8.0, 12.0)
    assert woken(8.0, 12.0, 10.0, 11.0).took_s() == (10.0, 12.0), "the last three count"


def test_who_cannot_be_served_in_time_by_the_quickest_start_waits_in_vain() -> None:
    starts = woken(8.0, 12.0)
    starts.asked(5_000.0)
    assert starts.is_vain(5_000.0, 5_007.0)
    assert not starts.is_vain(5_000.0, 5_009.0)
    assert not starts.is_vain(5_004.0, 5_009.0), "it has been asked for already"


def test_when_to_come_back_is_told_by_the_slowest() -> None:
    starts = woken(8.0, 12.0)
    starts.asked(5_000.0)
    assert starts.retry_after_s(5_000.0) == 12
    assert starts.retry_after_s(5_004.5) == 8
    assert starts.retry_after_s(5_014.0) == 7, "overdue: half of what has passed"


def test_where_nobody_ever_asked_the_starts_of_engines_tell() -> None:
    starts = Starts()
    starts.saw({ONE}, [], 10.0)
    starts.saw({ONE}, [], 12.0)
    starts.saw(set(), [ONE], 15.0)
    assert starts.took_s() == (5.0, 6.0)
    starts.saw({AGAIN}, [], 20.0)
    assert starts.elapsed_s(23.0) == 3.0, "it is starting already, though nobody asked"
    assert not starts.is_vain(23.0, 25.5)


def test_a_start_that_was_given_up_is_forgotten() -> None:
    starts = Starts()
    starts.saw({ONE}, [], 10.0)
    starts.saw(set(), [], 11.0)
    starts.saw(set(), [ONE], 500.0)
    assert starts.took_s() is None


def test_who_asks_after_a_long_silence_is_the_first_again() -> None:
    starts = woken(8.0)
    starts.asked(5_000.0)
    starts.asked(5_050.0)
    assert starts.asked_s == 5_000.0
    starts.asked(5_200.0)
    assert starts.asked_s == 5_200.0


@given(st.lists(st.tuples(st.sampled_from(("ask", "start", "ready", "lose")), st.floats(0, 900)), max_size=30))
def test_whatever_happens_times_stay_within_their_bounds(steps: list[tuple[str, float]]) -> None:
    starts, now_s, epoch = Starts(), 0.0, 0
    for what, later_s in steps:
        now_s += later_s
        if what == "ask":
            starts.asked(now_s)
        elif what == "start":
            epoch += 1
            starts.saw({("r", epoch)}, [], now_s)
        else:
            starts.saw(set(), [("r", epoch)] if what == "ready" else [], now_s)
        assert 1 <= starts.retry_after_s(now_s) <= RETRY_AFTER_S_MAX
        assert starts.elapsed_s(now_s) >= 0.0
        if took := starts.took_s():
            assert 0.0 <= took[0] <= took[1] <= TOOK_S_MAX + 1.0
