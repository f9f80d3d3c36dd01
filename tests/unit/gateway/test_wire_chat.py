"""POST /v1/chat/completions: what the official SDK sends becomes core values."""

from __future__ import annotations

import json
from typing import Any, get_type_hints

import pytest
from openai.types.chat import completion_create_params

from chat_bodies import USER, parse, tool
from fastness.core.request import ChatRequest, JsonConstraint, Message, Sampling, Tool, ToolCall, ToolMode
from fastness.gateway.wire.chat import ChatBody


def test_the_body_has_every_field_of_the_official_sdk_and_stream() -> None:
    official = set(get_type_hints(completion_create_params.CompletionCreateParamsBase))
    assert set(ChatBody.__struct_fields__) == official | {"stream"}


def test_the_least_request_is_a_model_and_one_message() -> None:
    assert parse() == ChatRequest("small", (Message("user", "hi"),), Sampling())


# --- each field that is supported ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sent", "kept"),
    [
        ({"temperature": 0.2}, Sampling(temperature=0.2)),
        ({"temperature": 0}, Sampling(temperature=0)),
        ({"top_p": 1}, Sampling(top_p=1)),
        ({"presence_penalty": -2, "frequency_penalty": 2}, Sampling(presence_penalty=-2, frequency_penalty=2)),
        ({"seed": -(2**63)}, Sampling(seed=-(2**63))),
        ({"seed": 2**63 - 1}, Sampling(seed=2**63 - 1)),
        ({"stop": "END"}, Sampling(stop=("END",))),
        ({"stop": ["a", "b"]}, Sampling(stop=("a", "b"))),
        ({"stop": []}, Sampling()),
        ({"max_tokens": 7}, Sampling(max_output_tokens=7)),
        ({"max_completion_tokens": 7}, Sampling(max_output_tokens=7)),
        ({"logit_bias": {"15": -100, "7": 1.5}}, Sampling(logit_bias=((15, -100), (7, 1.5)))),
        ({"logprobs": True}, Sampling(top_logprobs=0)),
        ({"logprobs": True, "top_logprobs": 20}, Sampling(top_logprobs=20)),
        ({"logprobs": False}, Sampling()),
    ],
)
def test_sampling_is_kept_as_sent(sent: dict[str, Any], kept: Sampling) -> None:
    assert parse(**sent).sampling == kept


def test_a_stream_is_asked_for_with_or_without_usage() -> None:
    assert not parse().stream
    assert parse(stream=True).stream
    assert not parse(stream=True).include_usage
    assert parse(stream=True, stream_options={"include_usage": True}).include_usage
    assert not parse(stream=True, stream_options={"include_usage": False, "include_obfuscation": False}).include_usage


def test_n_is_the_number_of_choices() -> None:
    assert parse(n=3).choices == 3


def test_every_optional_field_may_be_null() -> None:
    nulls = dict.fromkeys(set(ChatBody.__struct_fields__) - {"model", "messages"})
    assert parse(**nulls) == parse()


@pytest.mark.parametrize(
    "fields",
    [
        {"user": "u-1"},
        {"safety_identifier": "s-1"},
        {"metadata": {"case": "7"}},
        {"prompt_cache_key": "k"},
        {"store": False},
        {"modalities": ["text"]},
        {"service_tier": "auto"},
        {"service_tier": "default"},
        {"verbosity": "medium"},
        {"prompt_cache_retention": "in_memory"},
        {"prompt_cache_retention": "in-memory"},
        {"reasoning_effort": "none"},
        {"response_format": {"type": "text"}},
    ],
)
def test_a_field_that_changes_no_answer_changes_no_request(fields: dict[str, Any]) -> None:
    assert parse(**fields) == parse()


# --- messages -----------------------------------------------------------------------------------------------------


def test_roles_become_messages_and_developer_is_system() -> None:
    sent = [
        {"role": "developer", "content": "Be brief."},
        {"role": "system", "content": "Be kind.", "name": "ops"},
        {"role": "user", "content": "hi", "name": "ann"},
        {"role": "assistant", "content": "hello", "name": "bot"},
    ]
    assert parse(messages=sent).messages == (
        Message("system", "Be brief."),
        Message("system", "Be kind.", "ops"),
        Message("user", "hi", "ann"),
        Message("assistant", "hello", "bot"),
    )


def test_text_parts_are_joined() -> None:
    parts = [
        {"type": "text", "text": "one "},
        {"type": "text", "text": "two", "prompt_cache_breakpoint": {"mode": "explicit"}},
    ]
    assert parse(messages=[{"role": "user", "content": parts}]).messages == (Message("user", "one two"),)


def test_what_the_model_refused_earlier_is_shown_as_what_it_said() -> None:
    sent = [USER, {"role": "assistant", "content": [{"type": "refusal", "refusal": "I will not."}]}]
    assert parse(messages=sent).messages[1].content == "I will not."
    assert parse(messages=[USER, {"role": "assistant", "refusal": "No."}]).messages[1].content == "No."


def test_a_call_and_its_result_go_together() -> None:
    call = {"id": "c1", "type": "function", "function": {"name": "weather", "arguments": '{"city":"Leeds"}'}}
    sent = [
        USER,
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c1", "content": "rain"},
    ]
    _, assistant, result = parse(messages=sent).messages
    assert assistant.tool_calls == (ToolCall("c1", "weather", '{"city":"Leeds"}'),)
    assert result == Message("tool", "rain", tool_call_id="c1")


def test_an_answer_can_be_sent_back_as_the_sdk_dumps_it() -> None:
    from openai.types.chat import ChatCompletionMessage

    call = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    answered = ChatCompletionMessage.model_validate(
        {"role": "assistant", "content": "x", "refusal": None, "annotations": [], "tool_calls": [call]}
    )
    sent = [USER, answered.model_dump(), {"role": "tool", "tool_call_id": "c1", "content": ""}]
    assert parse(messages=sent).messages[1].tool_calls[0].name == "f"


# --- tools and formats --------------------------------------------------------------------------------------------


def test_tools_are_kept_with_their_schemas_as_sent() -> None:
    schema = {"type": "object", "properties": {"city": {"type": "string"}}}
    asked = parse(tools=[tool(description="How it is.", parameters=schema, strict=True), tool("time")])
    assert asked.tool_mode is ToolMode.AUTO
    assert asked.tools[0] == Tool("weather", "How it is.", json.dumps(schema).encode())
    assert json.loads(asked.tools[1].parameters) == {"type": "object", "properties": {}, "additionalProperties": False}


@pytest.mark.parametrize(
    ("choice", "mode", "names"),
    [
        (None, ToolMode.AUTO, ["weather", "time"]),
        ("auto", ToolMode.AUTO, ["weather", "time"]),
        ("required", ToolMode.REQUIRED, ["weather", "time"]),
        ("none", ToolMode.NONE, ["weather", "time"]),
        ({"type": "function", "function": {"name": "time"}}, ToolMode.REQUIRED, ["time"]),
    ],
)
def test_tool_choice_is_a_mode_and_a_named_tool_is_the_only_one(choice: Any, mode: ToolMode, names: list[str]) -> None:
    asked = parse(tools=[tool(), tool("time")], tool_choice=choice)
    assert (asked.tool_mode, [one.name for one in asked.tools]) == (mode, names)


def test_parallel_calls_are_allowed_unless_told_otherwise() -> None:
    assert parse(tools=[tool()]).parallel_tool_calls
    assert not parse(tools=[tool()], parallel_tool_calls=False).parallel_tool_calls


def test_json_formats_become_a_constraint() -> None:
    schema = {"type": "object", "properties": {"a": {"type": "integer"}}}
    assert parse(response_format={"type": "json_object"}).constraint == JsonConstraint(None)
    wire = {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema, "strict": True}}
    assert parse(response_format=wire).constraint == JsonConstraint(json.dumps(schema).encode())
    bare = {"type": "json_schema", "json_schema": {"name": "answer", "description": "x"}}
    assert parse(response_format=bare).constraint == JsonConstraint(None)


def test_tools_and_a_format_go_together_when_no_tool_may_be_called() -> None:
    asked = parse(tools=[tool()], tool_choice="none", response_format={"type": "json_object"})
    assert asked.constraint == JsonConstraint(None)
