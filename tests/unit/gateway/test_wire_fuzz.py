"""Whatever arrives as a body: it is taken, or refused with a code of the table; nothing else is ever raised."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from fastness.config import LimitSettings
from fastness.core.error import ERROR_CODES, Refusal
from fastness.gateway.openapi import openapi_document
from fastness.gateway.wire.chat import ChatBody, parse_chat
from fastness.gateway.wire.completion import CompletionBody, parse_completion
from fastness.gateway.wire.embedding import EmbeddingBody, parse_embedding
from fastness.gateway.wire.errors import error_body, error_headers

ROUTES = [(ChatBody, parse_chat), (CompletionBody, parse_completion), (EmbeddingBody, parse_embedding)]
LIMITS = LimitSettings(messages_max=5, tools_max=3, schema_depth_max=4, choices_max=4, inputs_max=5)
TEXT = st.text(max_size=8)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=6,
)
WORDS = st.sampled_from(["user", "assistant", "tool", "system", "text", "function", "required", "json_schema", "auto"])
KEYS = st.sampled_from(
    ["role", "content", "type", "text", "function", "name", "arguments", "tool_calls", "id", "schema", "json_schema"]
)
NEAR_JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 30) | st.floats(-3, 3) | TEXT | WORDS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS | TEXT, inner, max_size=5),
    max_leaves=8,
)


def bodies(body: type[msgspec.Struct]) -> st.SearchStrategy[dict[str, Any]]:
    """Objects with this route's field names and anything as values."""
    names = st.sampled_from(body.__struct_fields__) | TEXT
    return st.dictionaries(names, JSON | NEAR_JSON, max_size=5)


def refusal_of(parse: Any, raw: bytes) -> Refusal | None:
    """Parse: a refusal is returned, anything else that is raised fails the test."""
    try:
        request = parse(raw, LIMITS)
    except Refusal as refusal:
        return refusal
    hash(request)  # a core value: frozen all the way down
    return None


def judged(parse: Any, raw: bytes) -> None:
    refusal = refusal_of(parse, raw)
    if refusal is not None:
        assert refusal.status == 400
        assert refusal.code in ERROR_CODES
        error = json.loads(error_body(refusal))["error"]
        assert set(error) == {"message", "type", "param", "code"}
        assert error["message"]


@pytest.mark.parametrize(("body", "parse"), ROUTES)
def test_any_bytes_are_taken_or_refused(body: Any, parse: Any) -> None:
    @given(st.binary(max_size=200))
    def any_bytes(raw: bytes) -> None:
        judged(parse, raw)

    any_bytes()


@pytest.mark.parametrize(("body", "parse"), ROUTES)
def test_any_json_is_taken_or_refused(body: Any, parse: Any) -> None:
    @settings(max_examples=100, deadline=None)
    @given(JSON | bodies(body))
    @example({"model": "\ud800"})
    @example({"model": "small", "messages": [{"role": "user", "content": "\udfff"}], "stop": "\ud800"})
    def any_json(value: Any) -> None:
        judged(parse, json.dumps(value).encode())

    any_json()


@settings(max_examples=100, deadline=None)
@given(bodies(ChatBody))
def test_a_whole_request_with_some_fields_odd_is_taken_or_refused(odd: dict[str, Any]) -> None:
    body = {"model": "small", "messages": [{"role": "user", "content": "hi"}]} | odd
    judged(parse_chat, json.dumps(body).encode())


@settings(max_examples=100, deadline=None)
@given(st.lists(NEAR_JSON | st.fixed_dictionaries({"role": WORDS, "content": NEAR_JSON}), max_size=6))
def test_any_messages_are_taken_or_refused(messages: list[Any]) -> None:
    judged(parse_chat, json.dumps({"model": "small", "messages": messages}).encode())


@pytest.mark.parametrize(("body", "parse"), ROUTES)
def test_what_is_taken_fits_our_own_openapi_document(body: Any, parse: Any) -> None:
    document = json.loads(openapi_document())
    schema = {"$ref": f"#/components/schemas/{body.__name__}", "components": document["components"]}
    validator = Draft202012Validator(schema)

    @settings(max_examples=60, deadline=None)
    @given(bodies(body))
    def taken_fits(value: dict[str, Any]) -> None:
        raw = json.dumps(value).encode()
        assert refusal_of(parse, raw) or validator.is_valid(json.loads(raw))

    taken_fits()


def test_an_error_of_authentication_says_how_to_authenticate() -> None:
    assert b"www-authenticate: Bearer\r\n" in error_headers(Refusal("missing_api_key", "Send a key."))


def test_an_error_that_passes_says_when_to_come_back() -> None:
    assert b"retry-after: 7\r\n" in error_headers(Refusal("queue_full", "Full.", retry_after_s=7))


def test_a_wrong_method_says_which_are_right() -> None:
    assert b"allow: GET, HEAD\r\n" in error_headers(Refusal("method_not_allowed", "No.", param="GET, HEAD"))
