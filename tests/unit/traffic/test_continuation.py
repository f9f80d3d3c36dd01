"""Where an answer was cut, and what follows: nothing twice, nothing missing, and the sums are right."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastness.core.request import Delta, FinishReason, Generation, Message, Sampling, TokenLogprob, Usage
from fastness.traffic.continuation import TOGETHER, Diverged, Replay, Written, continuation, usage_at_end, usage_of

TEXTS = st.lists(st.text(min_size=1, max_size=6), max_size=20)
MANY = st.lists(st.text(min_size=1, max_size=2), max_size=3 * TOGETHER)
WORK = Generation(Sampling(max_output_tokens=10, seed=7, stop=("x",)), (Message("user", "hi"),), slot=3)


@given(MANY)
def test_what_was_written_is_kept_event_by_event_whatever_its_characters(texts: list[str]) -> None:
    written = Written()
    for text in texts:
        written.add(Delta(text))
    assert written.texts == texts
    assert written.count == len(texts)
    assert written.text == "".join(texts)
    assert written.begun == bool(texts)
    written.forget()
    assert not written.begun


def test_a_continuation_is_the_same_work_with_what_was_said_behind_its_input_and_fewer_tokens_to_write() -> None:
    rest = continuation(WORK, (1, 2, 3), (4, 5), 100)
    assert rest
    assert rest.prompt == (1, 2, 3, 4, 5)
    assert rest.messages == ()
    assert rest.slot == 3
    assert rest.sampling == Sampling(max_output_tokens=8, seed=7, stop=("x",))


def test_nothing_follows_where_all_tokens_were_written_or_the_context_is_full() -> None:
    assert continuation(WORK, (1,), tuple(range(10)), 100) is None
    assert continuation(WORK, tuple(range(98)), (1, 2), 100) is None
    assert continuation(Generation(Sampling(), prompt="a"), (1,), tuple(range(50)), 100)


@given(st.integers(0, 50), st.integers(0, 50), st.integers(0, 50), st.integers(0, 90))
def test_an_answer_in_parts_takes_what_it_would_have_taken_whole(
    prompt: int, said: int, rest: int, cached: int
) -> None:
    usage = usage_of(tuple(range(prompt)), tuple(range(said)), Usage(prompt + said, rest, cached))
    assert (usage.input_tokens, usage.output_tokens) == (prompt, said + rest)
    assert usage.cached_tokens <= usage.input_tokens


def test_an_answer_that_had_ended_took_one_more_token_for_a_stop_and_none_for_its_limit() -> None:
    assert usage_at_end((1,), (2, 3), FinishReason.STOP) == Usage(1, 3)
    assert usage_at_end((1,), (2, 3), FinishReason.LENGTH) == Usage(1, 2)


@given(TEXTS, st.data())
def test_an_answer_made_again_gives_exactly_what_had_not_been_sent(texts: list[str], data: st.DataObject) -> None:
    whole = "".join(texts)
    cut = data.draw(st.integers(0, len(whole)))
    replay = Replay(whole[:cut])
    new = [replay.take(Delta(text)) for text in texts]
    assert "".join(one.text for one in new if one) == whole[cut:]


def test_an_answer_made_again_that_begins_otherwise_or_ends_too_early_is_found_out() -> None:
    with pytest.raises(Diverged):
        Replay("abc").take(Delta("abd"))
    with pytest.raises(Diverged):
        Replay("abc").take(Delta("ab", finish=FinishReason.STOP))
    assert Replay("abc").take(Delta("abc", finish=FinishReason.STOP)) == Delta("", finish=FinishReason.STOP)


def test_tokens_that_had_been_sent_are_not_scored_twice() -> None:
    tokens = tuple(TokenLogprob(text, text.encode(), -1.0) for text in ("ab", "cd", "ef"))
    new = Replay("abcd").take(Delta("abcdef", tokens))
    assert new
    assert new.text == "ef"
    assert [one.token for one in new.logprobs] == ["ef"]
