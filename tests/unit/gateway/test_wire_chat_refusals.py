"""POST /v1/chat/completions: what cannot be honoured is refused, never ignored, and the refusal names the field."""

from __future__ import annotations

import json
from typing import Any

import pytest

from chat_bodies import LIMITS, USER, nested, parse, refused, tool
from fastness.config import LimitSettings
from fastness.core.error import Refusal
from fastness.gateway.wire.chat import parse_chat


@pytest.mark.parametrize(
    ("messages", "code", "param"),
    [
        ([], "invalid_value", "messages"),
        ([{"role": "assistant"}], "missing_field", "messages[0].content"),
        ([{"role": "assistant", "content": None}], "missing_field", "messages[0].content"),
        ([{"role": "user"}], "missing_field", "messages[0].content"),
        ([{"content": "hi"}], "missing_field", "messages[0].role"),
        ([{"role": "robot", "content": "hi"}], "invalid_value", "messages[0].role"),
        ([{"role": "function", "name": "f", "content": "x"}], "invalid_value", "messages[0].role"),
        ([{"role": "user", "content": "hi", "mood": "good"}], "unknown_field", "messages[0].mood"),
        ([{"role": "user", "content": 5}], "invalid_type", "messages[0].content"),
        ([{"role": "tool", "tool_call_id": "c9", "content": "x"}], "invalid_value", "messages[0].tool_call_id"),
        (
            [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "https://x"}}]}],
            "unsupported_parameter",
            "messages[0].content[0].type",
        ),
        (
            [{"role": "user", "content": [{"type": "input_audio", "input_audio": {}}]}],
            "unsupported_parameter",
            "messages[0].content[0].type",
        ),
        ([{"role": "assistant", "content": "x", "audio": {"id": "a"}}], "invalid_type", "messages[0].audio"),
        (
            [
                {
                    "role": "assistant",
                    "tool_calls": [{"id": "c", "type": "function", "function": {"name": "", "arguments": ""}}],
                }
            ],
            "invalid_value",
            "messages[0].tool_calls[0].function.name",
        ),
    ],
)
def test_a_message_that_cannot_be_taken_is_refused_by_its_place(messages: Any, code: str, param: str) -> None:
    assert refused(messages=messages) == (code, param)


@pytest.mark.parametrize(
    ("fields", "code", "param"),
    [
        ({"tools": [tool("bad name")]}, "invalid_value", "tools[0].function.name"),
        ({"tools": [tool("a" * 65)]}, "invalid_value", "tools[0].function.name"),
        ({"tools": [tool(), tool()]}, "invalid_value", "tools[1].function.name"),
        ({"tools": [tool(parameters=[1])]}, "invalid_value", "tools[0].function.parameters"),
        ({"tools": [{"type": "custom", "custom": {}}]}, "invalid_value", "tools[0].type"),
        ({"tools": [{"type": "web_search"}]}, "invalid_value", "tools[0].type"),
        ({"tools": [tool()], "tool_choice": "maybe"}, "invalid_value", "tool_choice"),
        ({"tool_choice": "auto"}, "invalid_value", "tool_choice"),
        ({"tool_choice": "required"}, "invalid_value", "tool_choice"),
        (
            {"tools": [tool()], "tool_choice": {"type": "function", "function": {"name": "other"}}},
            "invalid_value",
            "tool_choice",
        ),
        ({"tools": [tool()], "response_format": {"type": "json_object"}}, "unsupported_parameter", "response_format"),
        ({"response_format": {"type": "xml"}}, "invalid_value", "response_format.type"),
        ({"response_format": {"type": "json_schema"}}, "missing_field", "response_format.json_schema"),
        (
            {"response_format": {"type": "json_schema", "json_schema": {"name": "no spaces"}}},
            "invalid_value",
            "response_format.json_schema.name",
        ),
        (
            {"response_format": {"type": "json_schema", "json_schema": {"name": "a", "schema": "x"}}},
            "invalid_value",
            "response_format.json_schema.schema",
        ),
    ],
)
def test_tools_and_formats_that_cannot_be_honoured_are_refused(fields: dict[str, Any], code: str, param: str) -> None:
    assert refused(**fields) == (code, param)


# --- what is out of range, unknown or unsupported -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"temperature": 2.1}, "temperature"),
        ({"temperature": -0.1}, "temperature"),
        ({"top_p": 1.01}, "top_p"),
        ({"presence_penalty": 2.5}, "presence_penalty"),
        ({"frequency_penalty": -2.5}, "frequency_penalty"),
        ({"n": 0}, "n"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"max_completion_tokens": -1}, "max_completion_tokens"),
        ({"max_tokens": 1, "max_completion_tokens": 1}, "max_tokens"),
        ({"stop": ""}, "stop"),
        ({"stop": ["a", ""]}, "stop"),
        ({"logit_bias": {"15": 101}}, "logit_bias.15"),
        ({"logit_bias": {"word": 1}}, "logit_bias"),
        ({"logit_bias": {"-1": 1}}, "logit_bias"),
        ({"logit_bias": {"٣": 1}}, "logit_bias"),
        ({"top_logprobs": 5}, "top_logprobs"),
        ({"logprobs": True, "top_logprobs": 21}, "top_logprobs"),
        ({"logprobs": True, "top_logprobs": -1}, "top_logprobs"),
        ({"stream_options": {}}, "stream_options"),
    ],
)
def test_a_value_out_of_range_is_refused_by_name(fields: dict[str, Any], param: str) -> None:
    assert refused(**fields) == ("invalid_value", param)


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"temperature": "hot"}, "temperature"),
        ({"n": 1.5}, "n"),
        ({"seed": 2**64}, "seed"),
        ({"stream": "yes"}, "stream"),
        ({"stop": [1]}, "stop[0]"),
        ({"messages": "hi"}, "messages"),
        ({"model": 7}, "model"),
        ({"metadata": {"a": 1}}, "metadata[]"),
        ({"tools": {}}, "tools"),
        ({"user": 5}, "user"),
    ],
)
def test_a_value_of_the_wrong_type_is_refused_by_name(fields: dict[str, Any], param: str) -> None:
    code, named = refused(**fields)
    assert code in ("invalid_type", "invalid_value")
    assert named == param


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"store": True}, "store"),
        ({"modalities": ["text", "audio"]}, "modalities"),
        ({"modalities": []}, "modalities"),
        ({"service_tier": "scale"}, "service_tier"),
        ({"verbosity": "low"}, "verbosity"),
        ({"prompt_cache_retention": "24h"}, "prompt_cache_retention"),
        ({"reasoning_effort": "high"}, "reasoning_effort"),
        ({"audio": {"format": "mp3", "voice": "x"}}, "audio"),
        ({"prediction": {"type": "content", "content": "x"}}, "prediction"),
        ({"web_search_options": {}}, "web_search_options"),
        ({"functions": []}, "functions"),
        ({"function_call": "auto"}, "function_call"),
        ({"moderation": {}}, "moderation"),
        ({"prompt_cache_options": {}}, "prompt_cache_options"),
        ({"stream": True, "stream_options": {"include_obfuscation": True}}, "stream_options.include_obfuscation"),
    ],
)
def test_what_the_engine_cannot_do_is_refused_and_not_ignored(fields: dict[str, Any], param: str) -> None:
    assert refused(**fields) == ("unsupported_parameter", param)


def test_an_unknown_field_is_refused_by_name() -> None:
    assert refused(top_k=40) == ("unknown_field", "top_k")
    assert refused(stream=True, stream_options={"more": 1}) == ("unknown_field", "stream_options.more")


@pytest.mark.parametrize("field", ["model", "messages"])
def test_a_required_field_is_asked_for_by_name(field: str) -> None:
    body = {"model": "small", "messages": [USER]}
    del body[field]
    with pytest.raises(Refusal) as raised:
        parse_chat(json.dumps(body).encode(), LIMITS)
    assert (raised.value.code, raised.value.param) == ("missing_field", field)


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"{",
        b"nonsense",
        b"\xff\xfe",
        b'{"model": "a", "messages": [], "messages": NaN}',
        b'{"model": "\xff"}',
        b'{"model": "\\ud800", "messages": []}',
        b"[" * 100_000,
        b'{"model":' * 50_000,
    ],
)
def test_a_body_that_is_not_json_is_refused_as_such(raw: bytes) -> None:
    with pytest.raises(Refusal) as raised:
        parse_chat(raw, LIMITS)
    assert raised.value.code in ("invalid_json", "invalid_type")
    assert raised.value.status == 400


@pytest.mark.parametrize("raw", [b"[]", b"5", b"null", b'"text"'])
def test_a_body_that_is_no_object_is_refused(raw: bytes) -> None:
    with pytest.raises(Refusal) as raised:
        parse_chat(raw, LIMITS)
    assert raised.value.code == "invalid_type"


# --- limits: at the bound it passes, one more is refused with both numbers ----------------------------------------


@pytest.mark.parametrize(
    ("limits", "ok", "too_much", "param"),
    [
        ({"messages_max": 2}, {"messages": [USER] * 2}, {"messages": [USER] * 3}, "messages"),
        ({"choices_max": 2}, {"n": 2}, {"n": 3}, "n"),
        ({"stop_max": 1}, {"stop": ["a"]}, {"stop": ["a", "b"]}, "stop"),
        ({"stop_bytes_max": 4}, {"stop": "éé"}, {"stop": "ééé"}, "stop"),
        ({"output_tokens_max": 9}, {"max_tokens": 9}, {"max_tokens": 10}, "max_tokens"),
        ({"tools_max": 1}, {"tools": [tool()]}, {"tools": [tool(), tool("b")]}, "tools"),
        ({"logit_bias_max": 1}, {"logit_bias": {"1": 1}}, {"logit_bias": {"1": 1, "2": 1}}, "logit_bias"),
        ({"metadata_max": 1}, {"metadata": {"a": "1"}}, {"metadata": {"a": "1", "b": "2"}}, "metadata"),
        (
            {"schema_depth_max": 3},
            {"tools": [tool(parameters=nested(3))]},
            {"tools": [tool(parameters=nested(4))]},
            "tools[0].function.parameters",
        ),
        (
            {"schema_nodes_max": 3},
            {"tools": [tool(parameters={"a": [{}]})]},
            {"tools": [tool(parameters={"a": [{}, {}]})]},
            "tools[0].function.parameters",
        ),
        (
            {"schema_bytes_max": 64},
            {"tools": [tool(parameters={"title": "x" * (64 - 13)})]},
            {"tools": [tool(parameters={"title": "x" * (65 - 13)})]},
            "tools[0].function.parameters",
        ),
    ],
)
def test_every_limit_holds_exactly(limits: dict[str, int], ok: Any, too_much: Any, param: str) -> None:
    bound = LimitSettings(**limits)
    parse(bound, **ok)
    with pytest.raises(Refusal) as raised:
        parse(bound, **too_much)
    assert (raised.value.code, raised.value.param) == ("limit_exceeded", param)
    assert f"the limit is {next(iter(limits.values()))}" in raised.value.message
