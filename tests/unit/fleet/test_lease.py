"""The lease of a node: it never outlives what the head can reckon with."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from fastness.fleet.lease import REPORTS_MAX, Lease


def test_nobody_has_a_lease_before_the_head_has_answered() -> None:
    lease = Lease(4.0)
    assert lease.left_s(0.0) == 0.0
    lease.wrote(1, 10.0)
    assert lease.left_s(10.0) == 0.0
    assert not lease.answered(2), "that is no report of ours"
    assert lease.answered(1) and lease.left_s(11.0) == 3.0


def test_an_old_answer_and_the_same_answer_again_renew_nothing() -> None:
    lease = Lease(4.0)
    lease.wrote(1, 10.0)
    lease.wrote(2, 11.0)
    assert lease.answered(2) and not lease.answered(2) and not lease.answered(1)
    assert lease.left_s(12.0) == 3.0


def test_an_answer_that_comes_late_gives_only_what_is_left() -> None:
    lease = Lease(4.0)
    lease.wrote(1, 10.0)
    assert lease.answered(1) and lease.left_s(13.5) == 0.5
    lease.wrote(2, 20.0)
    assert lease.answered(2) and lease.left_s(24.5) == 0.0, "it had lapsed before it came"


def test_only_so_many_reports_are_remembered() -> None:
    lease = Lease(4.0)
    for number in range(REPORTS_MAX + 1):
        lease.wrote(number, float(number))
    assert not lease.answered(0) and lease.answered(1)


@given(st.lists(st.tuples(st.floats(0.0, 3.0), st.floats(0.0, 9.0), st.floats(0.0, 9.0)), max_size=30))
def test_however_long_letters_take_it_has_lapsed_before_the_head_may_take_the_node_for_lost(
    exchanges: list[tuple[float, float, float]],
) -> None:
    """Each: seconds until the next report, of its way, and of the answer's. The clocks have one speed, and no more."""
    lease, now, heard, answers = Lease(4.0), 0.0, 0.0, []
    for number, (pause, there, back) in enumerate(exchanges):
        now += pause
        lease.wrote(number, now)
        heard = max(heard, now + there)
        answers.append((now + there + back, number))
    for _, number in sorted(answers):
        lease.answered(number)
    if exchanges:
        assert lease.left_s(heard + 4.0) == 0.0
