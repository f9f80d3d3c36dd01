"""Every answer has the id of its receipt, and its entry binds what was asked and said: alike for streams and wholes."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chat_bodies import LIMITS, parse, tool
from fastness.core.request import (
    CompletionRequest,
    Delta,
    EmbeddingRequest,
    FinishReason,
    Sampling,
    Tool,
    ToolConstraint,
    ToolMode,
    Usage,
)
from fastness.gateway.answer.chat import ChatAnswer
from fastness.gateway.answer.completion import CompletionAnswer
from fastness.gateway.answer.port import Head
from fastness.gateway.binding import Binding
from fastness.gateway.canonical import answer_bytes, parameters_bytes, prompt_bytes
from fastness.gateway.wire.chat import parse_chat
from fastness.ledger.commitment import ANSWER, PARAMETERS, PROMPT, REQUEST, commit, salts_of
from fastness.ledger.events import EVENTS
from fastness.ledger.receipts.salt_secrets import DayKey, DaySalting
from fastness.ledger.verify_alone import readings
from policed import ANN, Door, opened, run

SECRET = b"k" * 32
HEAD = Head("chatcmpl-1", 1, "small", "fp")
TEXTS = st.text(st.characters(codec="utf-8"), max_size=40)


def bind(door: Door) -> None:
    door.gateway.binding = Binding("gateway-7", DaySalting(DayKey(99_999, SECRET, 0)), "c0" * 32)


def matches(fields: dict[str, Any], name: str, content: bytes) -> bool:
    """As an auditor's program looks at it."""
    salts = salts_of(SECRET, fields["request_id"])
    labels = {"request": REQUEST, "prompt": PROMPT, "parameters": PARAMETERS, "answer": ANSWER}
    salt = salts.answer if name == "answer" else salts.request
    return fields[f"{name}_commitment"] in [commit(labels[name], salt, one) for one in readings(name, content)]


def test_every_answer_has_the_id_of_its_receipt_and_so_has_every_refusal_of_one_who_is_known(tmp_path) -> None:
    async def test() -> None:
        async with opened(tmp_path, ANN) as door:
            bind(door)
            said = [await door.chat(), await door.chat(stream=True), await door.chat("SECRET"), await door.chat(n="x")]
            said.append(await door.send("/v1/embeddings", {"model": "mini", "input": "a"}))
            assert [one.status for one in said] == [200, 200, 403, 400, 200]
            assert {one.headers["fastness-receipt"] for one in said} == {"gateway-7.1"}  # the door's ids are all req_1
            assert "fastness-receipt" not in (await door.chat(key="nobody")).headers
            assert b": fastness-receipt gateway-7.1 entry 1\n\ndata: " in said[1].body

    run(test)


def test_what_was_asked_and_said_is_bound_whichever_way_it_was_asked_for(tmp_path) -> None:
    async def test() -> None:
        async with opened(tmp_path, ANN) as door:
            bind(door)
            whole = await door.chat(temperature=0, max_tokens=9)
            await door.chat(temperature=0, max_tokens=9, stream=True)
            first, second = door.entries()
            names = ("prompt_commitment", "parameters_commitment", "answer_commitment")
            assert [first[name] for name in names] == [second[name] for name in names]
            assert first["request_commitment"] != second["request_commitment"]
            for one in (first, second):
                assert matches(one, "prompt", b"hi") and matches(one, "answer", b"hi\n")
                assert matches(one, "answer", whole.body)
                assert matches(one, "parameters", b'{"max_tokens": 9, "temperature": 0}')
                assert not matches(one, "answer", b"ho") and not matches(one, "prompt", b"Hi")
            assert (first["node"], first["jurisdiction"], first["engine"]) == ("low", "GB", "llamacpp")
            assert first["configuration"] == "c0" * 32

    run(test)


def test_an_embedding_is_bound_to_the_byte(tmp_path) -> None:
    async def test() -> None:
        async with opened(tmp_path, ANN) as door:
            bind(door)
            said = await door.send("/v1/embeddings", {"model": "mini", "input": ["a", "b"]})
            (entry,) = door.entries()
            assert matches(entry, "answer", said.body)
            assert matches(entry, "prompt", b'{"model": "x", "input": ["a", "b"]}')

    run(test)


def test_refusals_are_recorded_without_commitments(tmp_path) -> None:
    async def test() -> None:
        async with opened(tmp_path, ANN) as door:
            bind(door)
            await door.chat("SECRET")
            (entry,) = door.entries()
            assert not [name for name in entry if name.endswith("_commitment")]

    run(test)


def test_no_field_that_binds_is_missing_from_the_table() -> None:
    fields = EVENTS[next(kind for kind in EVENTS if kind == "inference.completed")].fields
    assert {f"{name}_commitment" for name in ("request", "prompt", "parameters", "answer")} <= set(fields)


@settings(max_examples=200, deadline=None)
@given(texts=st.lists(TEXTS, min_size=1, max_size=6))
def test_a_stream_says_what_the_whole_says_however_it_was_cut(texts) -> None:
    usage, said = Usage(1, 1), []
    for stream in (False, True):
        answer = ChatAnswer(parse(stream=stream), HEAD, None)
        answer.take(0, Delta(texts[0]))
        answer.texts(0, [text for text in texts[1:] if text])
        answer.take(0, Delta("", finish=FinishReason.STOP))
        answer.last(usage) if stream else answer.whole(usage)
        said.append(answer.said())
    assert said[0] == said[1] == answer_bytes([("".join(texts), ())])
    assert said[0] in list(readings("answer", "".join(texts).encode()))


@settings(max_examples=100, deadline=None)
@given(texts=st.lists(TEXTS.filter(bool), min_size=1, max_size=4), echo=st.booleans())
def test_completions_are_bound_with_what_they_echo(texts, echo) -> None:
    said = []
    for stream in (False, True):
        request = CompletionRequest("small", ("once ",), Sampling(), stream=stream, echo=echo)
        answer = CompletionAnswer(request, HEAD)
        answer.texts(0, texts)
        said.append(answer.said())
    assert said[0] == said[1] == answer_bytes([(("once " if echo else "") + "".join(texts), ())])


CALLS = [{"id": "call_1", "type": "function", "function": {"name": "weather", "arguments": '{"in":"Bath"}'}}]


@pytest.mark.parametrize(
    "messages",
    [
        [{"role": "user", "content": 'caf\u00e9 "\\ \u2028\x01\n'}],
        [{"role": "developer", "content": "Be brief."}, {"role": "user", "content": "hi", "name": "ann"}],
        [{"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]}],
        [
            {"role": "user", "content": "Rain?"},
            {"role": "assistant", "content": None, "tool_calls": CALLS},
            {"role": "tool", "tool_call_id": "call_1", "content": "yes"},
            {"role": "assistant", "content": "It rains.", "refusal": None},
        ],
        [{"role": "user", "content": "x"}, {"role": "assistant", "content": [{"type": "refusal", "refusal": "no"}]}],
        [{"role": "user", "content": "x"}, {"role": "assistant", "content": None, "refusal": "No."}],
        [{"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": ""}]}],
    ],
)
def test_a_caller_reads_the_same_prompt_out_of_the_same_messages(messages) -> None:
    body = json.dumps({"model": "small", "messages": messages, "tools": [tool()]}).encode()
    asked = prompt_bytes(parse_chat(body, LIMITS))
    assert asked in list(readings("prompt", body))
    assert asked in list(readings("prompt", json.dumps(messages).encode()))


@pytest.mark.parametrize(
    ("request_", "file"),
    [
        (CompletionRequest("small", ("one",), Sampling()), b"one"),
        (CompletionRequest("small", ("one", "two"), Sampling()), b'["one", "two"]'),
        (CompletionRequest("small", ((1, 2),), Sampling()), b'{"prompt": [1, 2]}'),
        (EmbeddingRequest("mini", ("a", "b")), b'{"input": ["a", "b"], "model": "mini"}'),
        (EmbeddingRequest("mini", ("a",)), b"a\n"),
    ],
)
def test_prompts_and_inputs_are_lists_of_one_or_many(request_, file) -> None:
    assert prompt_bytes(request_) in list(readings("prompt", file))


@pytest.mark.parametrize("name", ["answer", "prompt", "request", "parameters"])
def test_a_file_that_is_no_text_is_what_it_is_and_nothing_else(name) -> None:
    for raw in (b"a\xff", b"\xed\xb3\xbf"):
        assert set(readings(name, raw)) == {raw}
        assert set(readings(name, raw + b"\n")) == {raw, raw + b"\n"}


def test_the_answer_to_a_completion_is_read_as_it_came() -> None:
    whole = json.dumps({"choices": [{"index": 0, "text": "one"}, {"index": 1, "text": ""}]}).encode()
    assert answer_bytes([("one", ()), ("", ())]) in list(readings("answer", whole))


@settings(max_examples=300, deadline=None)
@given(
    number=st.floats(0, 2, allow_nan=False) | st.integers(0, 2) | st.sampled_from([1e-7, 1e-5, 0.1, 2.0]),
    bias=st.dictionaries(st.integers(0, 99), st.floats(-100, 100), max_size=3),
    stop=st.lists(st.text(min_size=1, max_size=3), max_size=2),
)
def test_parameters_are_written_as_python_writes_them(number, bias, stop) -> None:
    set_ = Sampling(temperature=float(number), logit_bias=tuple(bias.items()), stop=tuple(stop), max_output_tokens=5)
    written = parameters_bytes(CompletionRequest("small", ("a",), set_, choices=2))
    plain = {
        "temperature": int(number) if float(number).is_integer() else number,
        "logit_bias": {str(k): int(v) if v.is_integer() else v for k, v in bias.items()},
        "stop": stop, "max_tokens": 5, "n": 2,
    }  # fmt: skip
    kept = {name: value for name, value in plain.items() if value not in ({}, [])}
    assert written == json.dumps(kept, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def test_an_answer_with_calls_of_tools_is_bound_with_their_names_and_arguments() -> None:
    constraint = ToolConstraint((Tool("weather", "", b"{}"),), ToolMode.AUTO, "<tool_call>", "</tool_call>", 16)
    said, text = [], '<tool_call>{"name": "weather", "arguments": {"in": "Bath"}}</tool_call>'
    for stream in (False, True):
        answer = ChatAnswer(parse(stream=stream, tools=[tool()]), HEAD, constraint)
        for at in range(0, len(text), 7):
            answer.take(0, Delta(text[at : at + 7]))
        answer.take(0, Delta("", finish=FinishReason.STOP))
        said.append(answer.said())
        if not stream:
            whole = answer.whole(Usage(1, 1))
    assert said[0] == said[1] and json.loads(said[0])[0]["tool_calls"][0]["name"] == "weather"
    assert said[0] in list(readings("answer", whole))
