"""How many lines are under way: halved by a refusal, regained line by line, paused for as long as it was asked."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from fastness.batches.pace import PAUSE_S_MAX, PAUSE_S_MIN, Pace


def test_room_is_halved_once_for_each_pause_and_regained_slowly():
    pace = Pace(8)
    pace.refused(0.0, 2.0)
    pace.refused(1.0, None)  # of the same lack of room
    assert (pace.room, pace.wait_s(1.0)) == (4, 1.0)
    pace.refused(2.0, None)
    assert (pace.room, pace.wait_s(2.0)) == (2, PAUSE_S_MIN)
    for _ in range(100):
        pace.answered()
    assert pace.room == 8


def test_no_more_are_under_way_than_there_is_room_for():
    pace = Pace(2)
    pace.go()
    assert pace.wait_s(0.0) == 0
    pace.go()
    assert pace.wait_s(0.0) is None
    pace.back()
    assert pace.wait_s(0.0) == 0


@given(st.lists(st.tuples(st.floats(0, 10), st.one_of(st.none(), st.floats(0, 1e6)), st.booleans())))
def test_whatever_comes_one_line_goes_on_within_the_longest_pause(happened):
    pace, now = Pace(5), 0.0
    for passed_s, retry_after_s, ok in happened:
        now += passed_s
        if ok:
            pace.answered()
        else:
            pace.refused(now, retry_after_s)
        assert 1 <= pace.room <= 5
        wait_s = pace.wait_s(now)
        assert wait_s is not None
        assert wait_s <= PAUSE_S_MAX + 1e-9
