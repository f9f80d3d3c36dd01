"""What clients set again and again is read once, and means the same each time."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastness.config import LimitSettings
from fastness.core.error import Refusal
from fastness.core.request import ChatRequest, Message, Sampling
from fastness.gateway.parameters import _of, parameters_of
from fastness.gateway.wire import chat
from fastness.gateway.wire.message import UserMessage

LIMITS = LimitSettings()
NUMBERS = st.sampled_from([None, 0.0, -0.5, 0.5, 1.0, 2.0, 3.0])
BODIES = st.builds(
    chat.ChatBody,
    st.just("small"),
    st.just([UserMessage("hi")]),
    NUMBERS,
    NUMBERS,
    NUMBERS,
    NUMBERS,
    seed=st.sampled_from([None, 7]),
    stop=st.sampled_from([None, "end", ["a", "b"]]),
    logit_bias=st.sampled_from([None, {"7": 1.0}]),
    logprobs=st.sampled_from([None, True, False]),
    top_logprobs=st.sampled_from([None, 0, 3]),
    max_tokens=st.sampled_from([None, 0, 1, 256]),
    max_completion_tokens=st.sampled_from([None, 256]),
)


@given(BODIES)
def test_a_sampling_that_is_remembered_is_the_one_that_would_be_read(body: chat.ChatBody) -> None:
    for _ in range(2):
        assert outcome(chat._remembered, body) == outcome(chat._sampling, body)


def outcome(reader: Callable[[chat.ChatBody, LimitSettings], Sampling], body: chat.ChatBody) -> Sampling | str:
    try:
        return reader(body, LIMITS)
    except Refusal as refusal:
        return refusal.message


def test_other_limits_are_other_limits() -> None:
    body = chat.ChatBody("small", [UserMessage("hi")], max_tokens=256)
    assert chat._remembered(body, LIMITS).max_output_tokens == 256
    with pytest.raises(Refusal):
        chat._remembered(body, LimitSettings(output_tokens_max=100))


def test_what_a_caller_writes_freely_is_not_kept() -> None:
    for written in ({"seed": 1_234_567}, {"stop": "a secret"}, {"logit_bias": {"7": 1.0}}):
        before = dict(chat._samplings)
        chat._remembered(chat.ChatBody("small", [UserMessage("hi")], **written), LIMITS)
        assert chat._samplings == before


def test_no_more_are_kept_than_samplings_max(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chat, "SAMPLINGS_MAX", 10)
    for tokens in range(1, 100):
        chat._remembered(chat.ChatBody("small", [UserMessage("hi")], max_tokens=tokens), LIMITS)
        assert len(chat._samplings) <= 10


@given(
    st.builds(Sampling, NUMBERS, NUMBERS, NUMBERS, NUMBERS, max_output_tokens=st.sampled_from([None, 1, 256])),
    st.integers(1, 3),
    st.booleans(),
    st.booleans(),
)
def test_parameters_are_those_of_the_request(sampling: Sampling, choices: int, stream: bool, usage: bool) -> None:
    request = ChatRequest("small", (Message("user", "hi"),), sampling, choices, stream, usage)
    assert parameters_of(request) == _of(request)
    assert parameters_of(request) is parameters_of(request)
