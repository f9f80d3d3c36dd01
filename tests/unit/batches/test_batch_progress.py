"""What a batch goes through: every order of events leads along the same few ways."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastness.batches.progress import ENDED, Answered, Counted, Event, Progress, State, Turn, Unusable, Validated, apply
from fastness.core.batch import LineError
from fastness.core.error import Refusal

BROKEN = Unusable((LineError("invalid_json_line", "no", 1),))
EVENTS = st.sampled_from(
    [Validated(3), BROKEN, Answered(True), Answered(False), Counted(1, 1), Turn.CANCEL, Turn.WINDOW_OVER,
     Turn.WORKED_OFF, Turn.FILED]
)  # fmt: skip
WAYS = {
    State.VALIDATING: {State.IN_PROGRESS, State.CANCELLING, State.FINALIZING, State.FAILED},
    State.IN_PROGRESS: {State.FINALIZING, State.CANCELLING, State.FAILED},
    State.FINALIZING: {State.COMPLETED, State.EXPIRED, State.FAILED},
    State.CANCELLING: {State.CANCELLED, State.FAILED},
}
STAMP = {
    State.IN_PROGRESS: "in_progress_s", State.FINALIZING: "finalizing_s", State.COMPLETED: "completed_s",
    State.EXPIRED: "expired_s", State.FAILED: "failed_s", State.CANCELLING: "cancelling_s",
    State.CANCELLED: "cancelled_s",
}  # fmt: skip


def after(*events: Event) -> Progress:
    progress = Progress()
    for now_s, event in enumerate(events, 1):
        progress = apply(progress, event, now_s)
    return progress


@given(st.lists(EVENTS, max_size=12))
def test_no_order_of_events_leaves_the_ways_there_are(events):
    progress, refused = Progress(), []
    for now_s, event in enumerate(events, 1):
        try:
            then = apply(progress, event, now_s)
        except Refusal:
            refused.append(event)
            continue
        if then.status is not progress.status:
            assert then.status in WAYS[progress.status]
            assert getattr(then, STAMP[then.status]) == now_s, "the time of each state is told"
        progress = then
        assert set(refused) <= {Turn.CANCEL}
        assert progress.ended == (progress.ended_s is not None) == (progress.status in ENDED)


def test_a_batch_that_goes_well_is_completed():
    done = after(Validated(2), Answered(True), Answered(False), Turn.WORKED_OFF, Turn.FILED)
    assert (done.status, done.total, done.completed, done.failed) == (State.COMPLETED, 2, 1, 1)
    assert (done.in_progress_s, done.finalizing_s, done.completed_s) == (1, 4, 5)


def test_a_window_that_is_over_ends_as_expired_and_a_cancelled_one_as_cancelled():
    assert after(Validated(2), Turn.WINDOW_OVER, Turn.FILED).status is State.EXPIRED
    assert after(Validated(2), Turn.CANCEL, Turn.FILED).status is State.CANCELLED
    assert after(Turn.CANCEL, Validated(2)).status is State.CANCELLING, "what is cancelled does not begin any more"


@pytest.mark.parametrize("events", [(Turn.WINDOW_OVER,), (BROKEN,), (Validated(1), Turn.WORKED_OFF, Turn.FILED)])
def test_what_ends_or_has_ended_cannot_be_cancelled(events):
    with pytest.raises(Refusal, match="only one that is validating or in_progress"):
        after(*events, Turn.CANCEL)


def test_to_cancel_twice_is_to_cancel():
    assert after(Validated(1), Turn.CANCEL, Turn.CANCEL) == after(Validated(1), Turn.CANCEL)
