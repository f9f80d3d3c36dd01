"""A gateway's side of limits: headers that are true, windows that roll, and numbers written as OpenAI writes them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastness.core.limit import Limit, Metric, Scope
from fastness.traffic.limit_headers import duration, head_lines
from fastness.traffic.limits import IDLE_S, LEASE_S, Limits, Reservation
from fastness.traffic.meter import Meter
from fastness.traffic.quota import Grant

NOON_S = 1_800_057_600 + 43_200


def leased(limits: Limits, now_s: float, others: int = 0) -> None:
    """Grant every wish, as far as there is any."""
    for meter, wish in limits.wishes(now_s):
        limits.granted(meter, wish, Grant(min(wish.hold, meter.bound - others), others), now_s)


def taken(limits: Limits, tokens: int, now_s: float, others: int = 0) -> Reservation:
    """Take it, with one question to control at most."""
    meters = limits.of("health", "key_1", "small")
    found = limits.take(meters, tokens, now_s)
    if isinstance(found, Meter):
        for meter, need in limits.lacking(meters, tokens, now_s):
            meter.asked += need
        leased(limits, now_s, others)
        for meter in meters:
            meter.asked = 0
        found = limits.take(meters, tokens, now_s)
    assert isinstance(found, Reservation)
    return found


@pytest.mark.parametrize(
    ("seconds", "written"),
    [(0, "0ms"), (0.02, "20ms"), (0.0201, "21ms"), (0.9991, "1s"), (1, "1s"), (1.2, "2s"), (59.5, "1m0s"),
     (60, "1m0s"), (360, "6m0s"), (3_600, "1h0m0s"), (86_399.2, "24h0m0s"), (-3, "0ms")],
)  # fmt: skip
def test_durations_are_written_as_openai_does_and_never_shorter_than_they_are(seconds: float, written: str) -> None:
    assert duration(seconds).decode() == written


@pytest.mark.parametrize(
    ("scope", "name", "words"),
    [(Scope("health"), "tenant:health", "tenant health"), (Scope(key="key_1"), "key:key_1", "key key_1"),
     (Scope("health", model="small"), "tenant:health,model:small", "tenant health, model small")],
)  # fmt: skip
def test_a_scope_has_one_name(scope: Scope, name: str, words: str) -> None:
    assert (scope.id, str(scope)) == (name, words)


def test_who_has_no_limit_pays_one_look() -> None:
    limits = Limits()
    assert limits.of("health", "key_1", "small") == ()
    limits.replace((Limit(Scope("works"), requests_per_day=1),), NOON_S)
    assert limits.of("health", "key_1", "small") == ()
    assert len(limits.of("works", "key_2", "small")) == 1


def test_the_tightest_of_several_is_told_for_requests_and_for_tokens() -> None:
    limits = Limits()
    day = Limit(Scope("health"), requests_per_day=100, tokens_per_day=1_000)
    limits.replace(
        (
            day,
            Limit(Scope(model="small"), requests_per_minute=10, tokens_per_minute=5_000),
        ),
        NOON_S,
    )
    taken(limits, 40, NOON_S + 59.98)
    assert head_lines(limits.of("health", "key_1", "small"), NOON_S + 59.98).decode().split("\r\n") == [
        "x-ratelimit-limit-requests: 10",
        "x-ratelimit-remaining-requests: 9",
        "x-ratelimit-reset-requests: 20ms",
        "x-ratelimit-limit-tokens: 1000",
        "x-ratelimit-remaining-tokens: 960",
        "x-ratelimit-reset-tokens: 11h59m1s",
        "",
    ]


def test_what_others_hold_is_not_told_as_left() -> None:
    limits = Limits()
    limits.replace((Limit(Scope("health"), requests_per_day=100),), NOON_S)
    taken(limits, 0, NOON_S, others=70)
    assert b"x-ratelimit-remaining-requests: 29\r\n" in head_lines(limits.of("health", "k", "m"), NOON_S)


def test_a_request_counts_in_the_window_in_which_it_was_admitted() -> None:
    limits = Limits()
    limits.replace((Limit(Scope("health"), tokens_per_minute=100, tokens_per_day=1_000),), NOON_S)
    before = taken(limits, 80, NOON_S + 59)
    after = taken(limits, 50, NOON_S + 61)
    limits.settle(before, 90)
    minute, day = limits.of("health", "key_1", "small")
    assert (minute.taken, day.taken) == (50, 140), "the old minute is past; the day is not"
    limits.settle(after, 20)
    assert (minute.taken, day.taken) == (20, 110)


def test_what_lies_idle_goes_back_and_a_share_of_what_runs_is_renewed() -> None:
    limits = Limits()
    limits.replace((Limit(Scope("health"), requests_per_day=160, concurrent=16),), NOON_S)
    running = taken(limits, 0, NOON_S)
    requests, concurrent = limits.of("health", "key_1", "small")
    assert (requests.held, concurrent.held) == (11, 2)
    leased(limits, NOON_S + IDLE_S + 1)
    assert (requests.held, concurrent.held) == (1, 1)
    leased(limits, NOON_S + 20)
    assert concurrent.until_s == NOON_S + 20 + LEASE_S
    assert isinstance(limits.take((concurrent,), 0, NOON_S + 21), Meter)
    limits.settle(running, 5)
    assert isinstance(limits.take((concurrent,), 0, NOON_S + 21), Reservation)
    assert isinstance(limits.take((concurrent,), 0, NOON_S + 20 + LEASE_S), Meter), "not renewed: not to be used"


def test_what_is_given_back_cannot_be_used_while_it_is_on_its_way() -> None:
    limits = Limits()
    limits.replace((Limit(Scope("health"), requests_per_day=160),), NOON_S)
    taken(limits, 0, NOON_S)
    ((meter, wish),) = limits.wishes(NOON_S + IDLE_S + 1)
    assert wish.hold == 1
    assert limits.take((meter,), 0, NOON_S + IDLE_S + 1) is meter


def test_what_somebody_waits_for_is_asked_before_what_only_runs_low() -> None:
    limits = Limits()
    limits.replace((Limit(Scope("health"), requests_per_day=160, tokens_per_day=16_000),), NOON_S)
    requests, tokens = limits.of("health", "key_1", "small")
    limits.watch([requests, tokens])
    tokens.asked = 50
    assert [meter for meter, _ in limits.wishes(NOON_S)] == [tokens, requests]


def test_an_answer_that_comes_after_its_window_gives_nothing_in_the_next() -> None:
    limits = Limits()
    limits.replace((Limit(Scope("health"), requests_per_minute=160),), NOON_S)
    meters = limits.of("health", "key_1", "small")
    assert limits.take(meters, 0, NOON_S + 59) is meters[0]
    limits.lacking(meters, 0, NOON_S + 59)
    meters[0].asked = 1
    ((meter, wish),) = limits.wishes(NOON_S + 59)
    assert limits.take(meters, 0, NOON_S + 60) is meter
    limits.granted(meter, wish, Grant(wish.hold, 0), NOON_S + 59)
    assert limits.take(meters, 0, NOON_S + 60) is meter


def test_what_is_held_for_a_request_is_not_given_back_while_it_waits_for_the_rest() -> None:
    limits = Limits()
    limits.replace((Limit(Scope("health"), requests_per_minute=160, tokens_per_minute=16_000),), NOON_S)
    limits.settle(taken(limits, 50, NOON_S), 40)
    requests, tokens = meters = limits.of("health", "key_1", "small")
    later_s = NOON_S + IDLE_S + 1
    tokens.held = tokens.taken  # of requests there are enough, of tokens none
    limits.lacking(meters, 50, later_s)
    tokens.asked = 50
    assert [wish.metric for _, wish in limits.wishes(later_s)] == [Metric.TOKENS_PER_MINUTE]
    assert requests.held > requests.taken


@given(
    st.lists(
        st.tuples(st.sampled_from([0.0, 0.5, 2.0, 3.5, 7.0, 45.0]), st.booleans(), st.sampled_from([None, 0, 30, 90])),
        max_size=20,
    )
)
def test_one_question_is_enough_while_there_is_some_of_everything(
    steps: list[tuple[float, bool, int | None]],
) -> None:
    limits, now_s = Limits(), NOON_S + 43_200 - 61.5
    limits.replace(
        (Limit(Scope("health"), 10**6, 10**9, 10**6, 10**9, 10**6), Limit(Scope(model="small"), 10**6, 10**9)), now_s
    )
    for idle_s, look, used in steps:
        now_s += idle_s
        if look:
            leased(limits, now_s)
        limits.settle(taken(limits, 50, now_s), used)


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(0, 60)), max_size=30))
def test_after_all_have_ended_what_is_taken_is_what_was_used(requests: list[tuple[int, int]]) -> None:
    limits = Limits()
    limits.replace((Limit(Scope("health"), tokens_per_day=10_000, requests_per_day=1_000, concurrent=99),), NOON_S)
    running = [taken(limits, estimate, NOON_S) for estimate, _ in requests]
    for reservation, (_, used) in zip(running, requests, strict=True):
        limits.settle(reservation, None if used > 50 else used)
    by = {meter.metric: meter.taken for meter in limits.of("health", "key_1", "small")}
    ended = [used for _, used in requests if used <= 50]
    assert by == {
        Metric.TOKENS_PER_DAY: sum(ended), Metric.REQUESTS_PER_DAY: len(ended), Metric.CONCURRENT: 0,
    }  # fmt: skip
