"""What a request sets, as policies see it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chat_bodies import LIMITS, parse, tool
from fastness.core.policy import Parameters
from fastness.gateway.parameters import parameters_of
from fastness.gateway.wire.completion import parse_completion
from fastness.gateway.wire.embedding import parse_embedding

SCHEMA = {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "object"}}}


def of_chat(**fields: Any) -> Parameters:
    return parameters_of(parse(**fields))


def of_completion(**fields: Any) -> Parameters:
    return parameters_of(parse_completion(json.dumps({"model": "small", "prompt": "hi"} | fields).encode(), LIMITS))


def of_embedding(**fields: Any) -> Parameters:
    return parameters_of(parse_embedding(json.dumps({"model": "mini", "input": "hi"} | fields).encode(), LIMITS))


def test_a_plain_request_sets_nothing() -> None:
    assert of_chat() == of_chat(n=1, stream=False, user="me", metadata={"a": "b"}) == Parameters()
    assert of_completion() == Parameters(max_output_tokens=16), "what that route writes at most when nothing is said"
    assert of_embedding() == Parameters()


@pytest.mark.parametrize(
    ("fields", "uses"),
    [
        ({"temperature": 0}, ("temperature",)),
        ({"top_p": 0.5, "seed": 0}, ("seed", "top_p")),
        ({"presence_penalty": 0.0}, ("presence_penalty",)),
        ({"frequency_penalty": 1}, ("frequency_penalty",)),
        ({"stop": "x"}, ("stop",)),
        ({"logit_bias": {"1": 2}}, ("logit_bias",)),
        ({"logprobs": True}, ("logprobs",)),
        ({"max_tokens": 5}, ("max_tokens",)),
        ({"max_completion_tokens": 5}, ("max_tokens",)),
        ({"n": 2}, ("n",)),
        ({"stream": True}, ("stream",)),
        ({"stream": True, "stream_options": {"include_usage": True}}, ("stream", "stream_options")),
        ({"tools": [tool()]}, ("tools",)),
        ({"tools": [tool()], "tool_choice": "none"}, ()),
        ({"tools": [tool()], "parallel_tool_calls": False}, ("parallel_tool_calls", "tools")),
        ({"response_format": SCHEMA}, ("response_format",)),
        ({"response_format": {"type": "text"}}, ()),
    ],
)
def test_whatever_changes_an_answer_is_named(fields: dict[str, Any], uses: tuple[str, ...]) -> None:
    assert of_chat(**fields).uses == uses


def test_other_routes_name_theirs() -> None:
    assert of_completion(echo=True, max_tokens=17).uses == ("echo", "max_tokens")
    assert of_completion(logprobs=0).uses == ("logprobs",)
    assert of_embedding(dimensions=384, encoding_format="base64").uses == ("dimensions", "encoding_format")


def test_numbers_that_policies_bound_are_whole() -> None:
    asked = of_chat(n=3, max_tokens=100, temperature=0.7, top_p=0.25, tools=[tool("a"), tool("b")])
    assert (asked.choices, asked.max_output_tokens, asked.tools) == (3, 100, 2)
    assert (asked.temperature_milli, asked.top_p_milli) == (700, 250)


@given(st.floats(0, 2))
def test_no_temperature_slips_below_a_bound_by_rounding(value: float) -> None:
    milli = of_chat(temperature=value).temperature_milli
    assert milli is not None
    assert milli >= value * 1_000 - 1e-6
    assert milli < value * 1_000 + 1.001


@given(st.integers(0, 2_000))
def test_a_temperature_in_thousandths_is_exactly_that(milli: int) -> None:
    assert of_chat(temperature=milli / 1_000).temperature_milli == milli
