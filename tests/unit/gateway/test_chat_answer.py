"""Answers of chats: whole and streamed they say the same, in the official SDK's own types."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from openai.types.chat import ChatCompletion, ChatCompletionChunk

from fastness.core.request import (
    ChatRequest,
    Delta,
    FinishReason,
    JsonConstraint,
    Message,
    Sampling,
    TokenLogprob,
    Tool,
    ToolConstraint,
    ToolMode,
    Usage,
)
from fastness.gateway.answer.chat import ChatAnswer
from fastness.gateway.answer.port import Head
from fastness.gateway.wire import out
from openai_shapes import assert_shape, events

HEAD = Head('chatcmpl-0123456789abcdef0123456789abcdef"\\', 1_700_000_000, "small", "fp_b179c9523d0e")
USAGE = Usage(11, 7, 3)
TOOLS = ToolConstraint((Tool("f", "", b"{}"),), ToolMode.AUTO, "<tool_call>", "</tool_call>", 16)
CALL = '<tool_call>{"name": "f", "arguments": {"city": "Leeds"}}</tool_call>'


def asked(**fields: Any) -> ChatRequest:
    return replace(ChatRequest("small", (Message("user", "hi"),), Sampling()), **fields)


def delta(text: str, finish: FinishReason | None = None, *, scored: bool = False) -> Delta:
    """One event of an engine; when `scored`, its text is one token with a log probability."""
    other = TokenLogprob("x", b"x", -2.0)
    logprobs = (TokenLogprob(text, text.encode(), -0.5, (other,)),) if scored and text else ()
    return Delta(text, logprobs, finish)


def deltas_of(texts: list[str], finish: FinishReason = FinishReason.STOP, *, scored: bool = False) -> list[Delta]:
    return [delta(text, scored=scored) for text in texts] + [delta("", finish)]


def streamed(
    request: ChatRequest, choices: list[list[Delta]], tools: ToolConstraint | None = None
) -> list[dict[str, Any]]:
    """Stream the choices, taking turns; return the chunks, each checked against the SDK's type."""
    answer = ChatAnswer(replace(request, stream=True, choices=len(choices)), HEAD, tools)
    sent = b""
    for turn in range(max(map(len, choices))):
        for index, deltas in enumerate(choices):
            if turn < len(deltas):
                sent += answer.take(index, deltas[turn])
    chunks = events(sent + answer.last(USAGE))
    for chunk in chunks:
        assert_shape(ChatCompletionChunk, chunk)
    return chunks


def whole(request: ChatRequest, choices: list[list[Delta]], tools: ToolConstraint | None = None) -> dict[str, Any]:
    """The same, not streamed; checked against the SDK's type."""
    answer = ChatAnswer(replace(request, choices=len(choices)), HEAD, tools)
    for index, deltas in enumerate(choices):
        assert all(answer.take(index, one) == b"" for one in deltas)
    body: dict[str, Any] = json.loads(answer.whole(USAGE))
    assert_shape(ChatCompletion, body)
    return body


def put_together(chunks: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """What a client has after a stream, choice by choice."""
    made: dict[int, dict[str, Any]] = {}
    for chunk in chunks:
        for choice in chunk["choices"]:
            one = made.setdefault(choice["index"], {"content": "", "calls": {}, "logprobs": [], "finish": None})
            assert one["finish"] is None, "nothing comes after the finish"
            one["content"] += choice["delta"].get("content") or ""
            for call in choice["delta"].get("tool_calls", ()):
                known = one["calls"].setdefault(call["index"], {"id": call.get("id"), "name": "", "arguments": ""})
                known["name"] += call["function"].get("name", "")
                known["arguments"] += call["function"]["arguments"]
            one["logprobs"] += (choice["logprobs"] or {"content": []})["content"]
            one["finish"] = choice["finish_reason"]
    return [made[index] for index in sorted(made)]


def as_put_together(body: dict[str, Any]) -> list[dict[str, Any]]:
    made = []
    for choice in body["choices"]:
        message = choice["message"]
        calls = {
            number: {"id": call["id"], "name": call["function"]["name"], "arguments": call["function"]["arguments"]}
            for number, call in enumerate(message.get("tool_calls", ()))
        }
        logprobs = (choice["logprobs"] or {"content": []})["content"]
        finish = choice["finish_reason"]
        made.append({"content": message["content"] or "", "calls": calls, "logprobs": logprobs, "finish": finish})
    return made


TEXTS = st.lists(st.text(st.characters(codec="utf-8"), max_size=6), max_size=6)
CALL_TEXTS = st.lists(
    st.sampled_from(
        [CALL, "<tool", "_call>", '{"name": "f", "arguments": {', "}}", "hello ", " ", '"', "</tool_call>"]
    ),
    max_size=6,
)
FINISHES = st.sampled_from(FinishReason)


@settings(deadline=None)
@given(st.lists(st.tuples(TEXTS | CALL_TEXTS, FINISHES), min_size=1, max_size=3), st.booleans(), st.booleans())
def test_a_stream_put_together_is_the_whole_answer(
    written: list[tuple[list[str], FinishReason]], with_tools: bool, scored: bool
) -> None:
    request = asked(sampling=Sampling(top_logprobs=1 if scored else None))
    choices = [deltas_of(texts, finish, scored=scored) for texts, finish in written]
    tools = TOOLS if with_tools else None
    assert put_together(streamed(request, choices, tools)) == as_put_together(whole(request, choices, tools))


@given(TEXTS)
def test_without_tools_the_content_is_what_the_engine_wrote(texts: list[str]) -> None:
    assert whole(asked(), [deltas_of(texts)])["choices"][0]["message"]["content"] == "".join(texts)


def test_every_chunk_repeats_who_and_when() -> None:
    for chunk in streamed(asked(include_usage=True), [deltas_of(["a", "b"])]):
        assert (chunk["id"], chunk["created"], chunk["model"]) == (HEAD.id, HEAD.created_s, HEAD.model)
        assert (chunk["object"], chunk["service_tier"]) == ("chat.completion.chunk", "default")
        assert chunk["system_fingerprint"] == HEAD.fingerprint


def test_the_first_chunk_of_a_choice_says_who_speaks_and_the_last_why_it_ends() -> None:
    first, text, last = streamed(asked(), [deltas_of(["a"], FinishReason.LENGTH)])
    assert first["choices"][0]["delta"] == {"role": "assistant", "content": "", "refusal": None}
    assert text["choices"][0]["delta"] == {"content": "a"}
    assert last["choices"][0] == {"index": 0, "delta": {}, "logprobs": None, "finish_reason": "length"}


def test_an_empty_answer_still_begins_and_ends() -> None:
    first, last = streamed(asked(), [[delta("", FinishReason.STOP)]])
    assert first["choices"][0]["delta"]["role"] == "assistant"
    assert last["choices"][0]["finish_reason"] == "stop"


def test_usage_asked_for_is_null_in_every_chunk_but_the_last_which_has_no_choices() -> None:
    *chunks, last = streamed(asked(include_usage=True), [deltas_of(["a"])])
    assert all(chunk["usage"] is None for chunk in chunks)
    assert last["choices"] == []
    assert last["usage"]["prompt_tokens"] == 11
    assert last["usage"]["completion_tokens"] == 7


def test_usage_not_asked_for_is_in_no_chunk() -> None:
    assert all("usage" not in chunk for chunk in streamed(asked(), [deltas_of(["a"])]))


def test_a_whole_answer_always_has_its_usage() -> None:
    usage = whole(asked(), [deltas_of(["a"])])["usage"]
    assert (usage["prompt_tokens"], usage["completion_tokens"], usage["total_tokens"]) == (11, 7, 18)
    assert usage["prompt_tokens_details"]["cached_tokens"] == 3


def test_logprobs_not_asked_for_are_null() -> None:
    assert whole(asked(), [deltas_of(["a"])])["choices"][0]["logprobs"] is None


def test_logprobs_carry_token_bytes_and_alternatives() -> None:
    request = asked(sampling=Sampling(top_logprobs=1))
    (one,) = whole(request, [deltas_of(["é"], scored=True)])["choices"][0]["logprobs"]["content"]
    assert (one["token"], one["bytes"], one["logprob"]) == ("é", list("é".encode()), -0.5)
    assert one["top_logprobs"] == [{"token": "x", "bytes": [120], "logprob": -2.0}]


def test_an_engine_that_gives_more_than_asked_for_is_cut_to_what_was_asked() -> None:
    choices = [deltas_of(["a"], scored=True)]
    assert whole(asked(), choices)["choices"][0]["logprobs"] is None
    assert all(choice["logprobs"] is None for chunk in streamed(asked(), choices) for choice in chunk["choices"])
    none_beside = asked(sampling=Sampling(top_logprobs=0))
    assert whole(none_beside, choices)["choices"][0]["logprobs"]["content"][0]["top_logprobs"] == []


def test_a_call_is_a_call_and_not_text() -> None:
    (choice,) = whole(asked(), [deltas_of(list(CALL))], TOOLS)["choices"]
    assert choice["finish_reason"] == "tool_calls"
    assert choice["message"]["content"] is None
    (call,) = choice["message"]["tool_calls"]
    assert (call["type"], call["function"]) == ("function", {"name": "f", "arguments": '{"city": "Leeds"}'})


def test_ids_of_calls_differ_across_calls_and_choices() -> None:
    body = whole(asked(), [deltas_of([CALL, CALL]), deltas_of([CALL])], TOOLS)
    ids = [call["id"] for choice in body["choices"] for call in choice["message"]["tool_calls"]]
    assert len(set(ids)) == 3
    assert all(one.startswith("call_") for one in ids)


def test_a_call_that_was_cut_short_says_length() -> None:
    texts = ['<tool_call>{"name": "f", "arguments": {"ci']
    (choice,) = whole(asked(), [deltas_of(texts, FinishReason.LENGTH)], TOOLS)["choices"]
    assert choice["finish_reason"] == "length"


def test_text_under_tools_that_were_not_called_is_plain_content() -> None:
    (choice,) = whole(asked(), [deltas_of(["Hello <there>"])], TOOLS)["choices"]
    assert choice["finish_reason"] == "stop"
    assert choice["message"]["content"] == "Hello <there>"
    assert "tool_calls" not in choice["message"]


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("fields", "tools", "text", "finish", "ok"),
    [
        ({"constraint": JsonConstraint(None)}, None, '{"a": 1}', "stop", True),
        ({"constraint": JsonConstraint(None)}, None, "Sure! Here is your JSON", "stop", False),
        ({"constraint": JsonConstraint(b"{}")}, None, '{"a": ', "stop", False),
        ({"constraint": JsonConstraint(None)}, None, '{"a": ', "length", True),
        ({"constraint": JsonConstraint(None), "sampling": Sampling(stop=("}",))}, None, '{"a": 1', "stop", True),
        ({"tool_mode": ToolMode.REQUIRED}, replace(TOOLS, mode=ToolMode.REQUIRED), CALL, "stop", True),
        ({"tool_mode": ToolMode.REQUIRED}, replace(TOOLS, mode=ToolMode.REQUIRED), "I will not.", "stop", False),
        ({"tool_mode": ToolMode.REQUIRED}, replace(TOOLS, mode=ToolMode.REQUIRED), "<tool_c", "length", True),
        ({"tool_mode": ToolMode.AUTO}, TOOLS, "I need no tool.", "stop", True),
        ({}, None, "anything", "stop", True),
    ],
)
def test_an_engine_that_dropped_a_constraint_does_not_pass(
    stream: bool, fields: dict[str, Any], tools: ToolConstraint | None, text: str, finish: str, ok: bool
) -> None:
    answer = ChatAnswer(asked(stream=stream, **fields), HEAD, tools)
    for one in deltas_of([text], FinishReason(finish)):
        answer.take(0, one)
    assert (answer.broken() is None) == ok


def test_how_each_choice_ended_is_known_for_the_record() -> None:
    answer = ChatAnswer(asked(choices=2), HEAD, TOOLS)
    for choice, text in enumerate((CALL, "text")):
        for one in deltas_of([text]):
            answer.take(choice, one)
    assert answer.finish_reasons() == ("tool_calls", "stop")


@given(st.text(), st.sampled_from([None, *FinishReason]), st.builds(Usage, *[st.integers(0, 2**40)] * 3))
def test_one_choice_of_text_is_written_without_a_tree_and_the_same(text, finish, usage) -> None:
    answer = ChatAnswer(asked(), HEAD, None)
    answer.take(0, Delta(text, finish=finish))
    choice = out.ChatChoice(0, out.MessageOut(text), None, (finish or FinishReason.STOP).value)
    tree = out.ChatCompletion(HEAD.id, HEAD.created_s, HEAD.model, [choice], out.usage_out(usage), HEAD.fingerprint)
    assert answer.whole(usage) == msgspec.json.encode(tree)
