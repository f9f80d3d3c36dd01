from hypothesis import given
from hypothesis import strategies as st

from fastness.fleet.backoff import Backoff

BACKOFF = Backoff(first_s=0.2, max_s=30.0, forgiven_after_s=60.0)


def test_the_wait_doubles_up_to_its_bound():
    assert [BACKOFF.delay_s(failures) for failures in range(1, 10)] == [0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 12.8, 25.6, 30.0]


@given(st.integers(1, 10**9))
def test_the_wait_never_shrinks_nor_exceeds_its_bound_however_many_failures(failures):
    assert BACKOFF.first_s <= BACKOFF.delay_s(failures) <= BACKOFF.delay_s(failures + 1) <= BACKOFF.max_s


def test_failures_add_up_while_runs_are_short():
    assert BACKOFF.failures_after(0, 0.0) == 1
    assert BACKOFF.failures_after(4, 59.0) == 5


def test_a_long_run_is_forgiven():
    assert BACKOFF.failures_after(4, 61.0) == 1
