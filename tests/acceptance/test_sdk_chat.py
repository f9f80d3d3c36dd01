"""The official SDK against the real engine: chats, asserted on content."""

from __future__ import annotations

import json
import math

import openai
import pytest
from jsonschema import validate
from openai import AsyncOpenAI, OpenAI

from installation import CHAT

pytestmark = pytest.mark.slow
ASK = [{"role": "user", "content": "Name three colours."}]


def chat(client: OpenAI, **more):
    return client.chat.completions.create(
        **({"model": CHAT, "messages": ASK, "max_tokens": 24, "temperature": 0} | more)
    )


def test_an_answer_is_text_with_every_required_field(client):
    answer = chat(client)
    choice = answer.choices[0]
    assert answer.object == "chat.completion"
    assert answer.model == CHAT
    assert answer.id.startswith("chatcmpl-")
    assert answer.created > 1_700_000_000
    assert choice.message.role == "assistant"
    assert choice.message.content.strip()
    assert choice.finish_reason in ("stop", "length")
    raw = client.chat.completions.with_raw_response.create(model=CHAT, messages=ASK, max_tokens=4)
    body = json.loads(raw.text)
    assert {"id", "object", "created", "model", "choices", "usage", "system_fingerprint"} <= body.keys()
    assert {"index", "message", "logprobs", "finish_reason"} <= body["choices"][0].keys()
    assert {"role", "content", "refusal"} <= body["choices"][0]["message"].keys()
    assert raw.headers["x-request-id"].startswith("req_")


def test_usage_is_what_the_engine_counted(client):
    answer = chat(client, logprobs=True)
    assert answer.usage.completion_tokens == len(answer.choices[0].logprobs.content)
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens
    longer = chat(client, messages=[{"role": "user", "content": "Name three colours. Name three colours."}])
    assert longer.usage.prompt_tokens > answer.usage.prompt_tokens


def test_max_tokens_ends_an_answer_with_length(client):
    for name in ("max_tokens", "max_completion_tokens"):
        answer = chat(client, **{"max_tokens": openai.NOT_GIVEN, name: 5})
        assert answer.usage.completion_tokens == 5
        assert answer.choices[0].finish_reason == "length"


def test_a_stream_says_the_same_as_the_whole_answer(client):
    whole = chat(client)
    chunks = list(chat(client, stream=True, stream_options={"include_usage": True}))
    assert "".join(c.choices[0].delta.content or "" for c in chunks if c.choices) == whole.choices[0].message.content
    assert chunks[0].choices[0].delta.role == "assistant"
    assert {c.id for c in chunks} == {chunks[0].id}
    assert {c.model for c in chunks} == {CHAT}
    assert [c.choices[0].finish_reason for c in chunks if c.choices][-1] == whole.choices[0].finish_reason
    assert chunks[-1].choices == []
    assert chunks[-1].usage.completion_tokens == whole.usage.completion_tokens
    assert all(c.usage is None for c in chunks[:-1])


def test_a_stream_without_usage_asked_has_none(client):
    chunks = list(chat(client, stream=True))
    assert all(c.choices for c in chunks)
    assert all(c.usage is None for c in chunks)


def test_log_probabilities_are_those_of_the_tokens(client):
    answer = chat(client, logprobs=True, top_logprobs=3)
    tokens = answer.choices[0].logprobs.content
    assert (
        b"".join(bytes(token.bytes) for token in tokens)
        .decode(errors="replace")
        .startswith(answer.choices[0].message.content[:20])
    )
    for token in tokens:
        assert len(token.top_logprobs) == 3
        assert token.logprob <= 0
        best = max(token.top_logprobs, key=lambda top: top.logprob)
        assert best.token == token.token, "greedy decoding takes the likeliest token"
        assert math.isclose(best.logprob, token.logprob, abs_tol=1e-6)
    streamed = [
        token for chunk in chat(client, logprobs=True, top_logprobs=3, stream=True)
        for token in ((chunk.choices[0].logprobs and chunk.choices[0].logprobs.content) or [])
    ]  # fmt: skip
    assert [token.token for token in streamed] == [token.token for token in tokens]


def test_n_gives_that_many_choices_and_usage_adds_up(client):
    answer = chat(client, n=3, seed=7, temperature=1, logprobs=True)
    assert [choice.index for choice in answer.choices] == [0, 1, 2]
    assert len({choice.message.content for choice in answer.choices}) > 1
    assert answer.usage.completion_tokens == sum(len(choice.logprobs.content) for choice in answer.choices)
    assert answer.usage.prompt_tokens == chat(client).usage.prompt_tokens
    chunks = list(chat(client, n=2, stream=True))
    assert {choice.index for chunk in chunks for choice in chunk.choices} == {0, 1}


def test_a_seed_makes_an_answer_repeatable(client):
    texts = {chat(client, temperature=1, seed=11).choices[0].message.content for _ in range(2)}
    others = {chat(client, temperature=1, seed=seed).choices[0].message.content for seed in range(20, 24)}
    assert len(texts) == 1
    assert len(others) > 1


def test_stop_ends_an_answer_before_the_sequence(client):
    whole = chat(client).choices[0].message.content
    stop = whole.split()[2]
    cut = chat(client, stop=[stop])
    assert stop not in cut.choices[0].message.content
    assert whole.startswith(cut.choices[0].message.content.rstrip())
    assert cut.choices[0].finish_reason == "stop"


def test_penalties_and_logit_bias_change_the_answer(client, installation):
    plain = chat(client, max_tokens=60).choices[0].message.content
    assert chat(client, max_tokens=60, presence_penalty=2, frequency_penalty=2).choices[0].message.content != plain
    token = chat(client, logprobs=True).choices[0].logprobs.content[0].token
    with installation.engine() as engine:
        (token_id,) = engine.post("/tokenize", json={"content": token}).json()["tokens"]
    banned = chat(client, logprobs=True, logit_bias={str(token_id): -100})
    assert banned.choices[0].logprobs.content[0].token != token


SCHEMA = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 20},
        "age": {"type": "integer", "minimum": 0, "maximum": 120},
        "tags": {"type": "array", "items": {"enum": ["a", "b", "c"]}, "maxItems": 3},
    },
    "required": ["name", "age", "tags"],
    "additionalProperties": False,
}


@pytest.mark.parametrize("stream", [False, True])
def test_a_json_schema_is_kept(client, stream):
    form = {"type": "json_schema", "json_schema": {"name": "person", "schema": SCHEMA, "strict": True}}
    answer = chat(
        client,
        messages=[{"role": "user", "content": "Describe a person."}],
        response_format=form,
        max_tokens=200,
        stream=stream,
    )
    text = "".join(c.choices[0].delta.content or "" for c in answer) if stream else answer.choices[0].message.content
    validate(json.loads(text), SCHEMA)


def test_json_object_gives_an_object(client):
    messages = [{"role": "user", "content": 'Write {"ok": true} as JSON.'}]
    for seed in range(5):
        answer = chat(client, messages=messages, response_format={"type": "json_object"}, max_tokens=300, seed=seed)
        if answer.choices[0].finish_reason == "stop":
            assert isinstance(json.loads(answer.choices[0].message.content), dict)
            return
    pytest.fail("no answer of five ended by itself")


def test_a_pydantic_model_is_parsed_by_the_sdk(client):
    from pydantic import BaseModel

    class Colour(BaseModel):
        red: int
        green: int

    answer = client.chat.completions.parse(
        model=CHAT, messages=ASK, response_format=Colour, max_tokens=100, temperature=0
    )
    assert isinstance(answer.choices[0].message.parsed, Colour)


WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Weather of a city",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string", "maxLength": 30}, "unit": {"enum": ["c", "f"]}},
            "required": ["city", "unit"],
            "additionalProperties": False,
        },
    },
}
CLOCK = {
    "type": "function",
    "function": {"name": "get_time", "parameters": {"type": "object", "properties": {}, "additionalProperties": False}},
}
ASK_WEATHER = [{"role": "user", "content": "What is the weather in Paris in celsius?"}]


@pytest.mark.parametrize("choice", ["required", {"type": "function", "function": {"name": "get_weather"}}])
def test_a_forced_tool_is_called_with_arguments_that_fit(client, choice):
    answer = chat(
        client,
        messages=ASK_WEATHER,
        tools=[WEATHER, CLOCK] if choice != "required" else [WEATHER],
        tool_choice=choice,
        max_tokens=120,
    )
    call = answer.choices[0].message.tool_calls[0]
    assert call.type == "function"
    assert call.function.name == "get_weather"
    validate(json.loads(call.function.arguments), WEATHER["function"]["parameters"])
    assert answer.choices[0].finish_reason == "tool_calls"


def test_a_streamed_tool_call_is_the_same_call(client):
    options = {
        "messages": ASK_WEATHER,
        "tools": [WEATHER],
        "tool_choice": "required",
        "max_tokens": 120,
        "parallel_tool_calls": False,
    }
    whole = chat(client, **options).choices[0].message.tool_calls
    name, arguments, ids = "", "", set()
    for chunk in chat(client, **options, stream=True):
        for call in chunk.choices[0].delta.tool_calls or []:
            assert call.index == 0
            name += call.function.name or ""
            arguments += call.function.arguments or ""
            ids |= {call.id} - {None}
    assert len(whole) == 1
    assert (name, arguments) == (whole[0].function.name, whole[0].function.arguments)
    assert len(ids) == 1


def test_a_tool_result_is_read_and_answered(client):
    call = {
        "id": "call_1",
        "type": "function",
        "function": {"name": "get_weather", "arguments": '{"city":"Paris","unit":"c"}'},
    }
    messages = [
        *ASK_WEATHER,
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "call_1", "content": "31 degrees and sunny"},
    ]
    answer = chat(client, messages=messages, tools=[WEATHER], tool_choice="none", max_tokens=40)
    assert answer.choices[0].message.content.strip()
    assert answer.choices[0].message.tool_calls is None


def test_auto_gives_text_or_a_call_never_a_mixture_of_marks(client):
    answer = chat(client, messages=ASK_WEATHER, tools=[WEATHER], max_tokens=120)
    message = answer.choices[0].message
    assert bool(message.content) != bool(message.tool_calls)
    assert "<tool_call>" not in (message.content or "")


async def ask_async(installation):
    async with AsyncOpenAI(base_url=installation.base_url, api_key=installation.admin_key, max_retries=0) as client:
        answer = await client.chat.completions.create(model=CHAT, messages=ASK, max_tokens=8, temperature=0)
        stream = await client.chat.completions.create(
            model=CHAT, messages=ASK, max_tokens=8, temperature=0, stream=True
        )
        text = "".join([chunk.choices[0].delta.content or "" async for chunk in stream])
        return answer.choices[0].message.content, text


def test_the_async_client_gets_the_same(installation):
    import asyncio

    whole, streamed = asyncio.run(ask_async(installation))
    assert whole == streamed
