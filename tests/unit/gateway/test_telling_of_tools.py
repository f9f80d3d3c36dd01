"""How a model without a template for tools is told of them: by its card's instruction, in plain text."""

from __future__ import annotations

import json
from dataclasses import replace

from fastness.core.model import ToolFormat
from fastness.core.request import ChatRequest, Message, Sampling, Tool, ToolCall, ToolMode
from fastness.gateway.tools import ToolCallReader, joined, tell_of_tools, tool_constraint

FORMAT = ToolFormat(
    instruction="You may call:\n{tools}\nLike this.",
    open="<tool_call>",
    close="</tool_call>",
    result="<result>{content}</result>",
    result_role="user",
)
WEATHER = Tool("weather", 'Says "how" it is.', b'{"type":"object","properties":{"city":{"type":"string"}}}')
TIME = Tool("time", "", b'{"type":"object"}')


def request(*messages: Message, tools: tuple[Tool, ...] = (WEATHER,), mode: ToolMode = ToolMode.AUTO) -> ChatRequest:
    return ChatRequest("small", messages, Sampling(), tools=tools, tool_mode=mode)


def test_tools_are_described_one_json_object_a_line_in_a_system_message() -> None:
    told = tell_of_tools(request(Message("user", "hi"), tools=(WEATHER, TIME)), FORMAT)
    assert [message.role for message in told] == ["system", "user"]
    before, one, other, after = told[0].content.splitlines()
    assert (before, after) == ("You may call:", "Like this.")
    assert json.loads(one) == {
        "name": "weather",
        "description": 'Says "how" it is.',
        "parameters": json.loads(WEATHER.parameters),
    }
    assert json.loads(other)["name"] == "time"


def test_the_callers_own_instructions_stay_and_come_first() -> None:
    told = tell_of_tools(request(Message("system", "Be kind."), Message("user", "hi")), FORMAT)
    assert [message.role for message in told] == ["system", "user"]
    assert told[0].content.startswith("Be kind.\n\nYou may call:")


def test_braces_in_the_callers_text_are_left_alone() -> None:
    told = tell_of_tools(request(Message("system", "Say {tools} and {content}."), Message("user", "{tools}")), FORMAT)
    assert told[0].content.startswith("Say {tools} and {content}.")
    assert told[1].content == "{tools}"


def test_with_tool_choice_none_the_model_is_not_told_of_tools() -> None:
    asked = request(Message("user", "hi"), mode=ToolMode.NONE)
    assert tell_of_tools(asked, FORMAT) == asked.messages


def test_without_a_tool_format_messages_stay_as_they_are() -> None:
    asked = request(Message("user", "hi"))
    assert tell_of_tools(asked, None) is asked.messages


def test_a_result_is_shown_in_the_cards_words_and_role() -> None:
    told = tell_of_tools(request(Message("user", "hi"), Message("tool", "rain", tool_call_id="c1")), FORMAT)
    assert told[-1] == Message("user", "<result>rain</result>")


def test_an_earlier_call_is_shown_as_the_model_would_have_written_it() -> None:
    calls = (ToolCall("c1", "weather", '{"city": "Leeds"}'), ToolCall("c2", "time", "{}"))
    told = tell_of_tools(request(Message("assistant", "Let me see.", tool_calls=calls)), FORMAT)
    text, read = joined(ToolCallReader(FORMAT.open, FORMAT.close).feed(told[-1].content.partition("\n")[2]))
    assert told[-1].content.startswith("Let me see.\n<tool_call>")
    assert (text, read) == ("", [("weather", '{"city": "Leeds"}'), ("time", "{}")])


def test_an_earlier_call_without_words_has_no_empty_line() -> None:
    calls = (ToolCall("c1", "time", "{}"),)
    told = tell_of_tools(request(Message("assistant", "", tool_calls=calls)), FORMAT)
    assert told[-1].content == '<tool_call>{"name": "time", "arguments": {}}</tool_call>'


def test_the_request_itself_is_not_changed() -> None:
    asked = request(Message("system", "Be kind."), Message("user", "hi"))
    before = replace(asked)
    tell_of_tools(asked, FORMAT)
    assert asked == before


def test_the_constraint_carries_tools_mode_and_marks() -> None:
    bound = tool_constraint(request(Message("user", "hi"), mode=ToolMode.REQUIRED), FORMAT, 16)
    assert (bound.tools, bound.mode, bound.open, bound.close) == (
        (WEATHER,),
        ToolMode.REQUIRED,
        FORMAT.open,
        FORMAT.close,
    )
    assert bound.calls_max == 16


def test_without_parallel_calls_one_is_the_most() -> None:
    asked = replace(request(Message("user", "hi")), parallel_tool_calls=False)
    assert tool_constraint(asked, FORMAT, 16).calls_max == 1


def test_no_more_calls_are_allowed_than_the_model_can_end_by_itself() -> None:
    asked = request(Message("user", "hi"))
    assert tool_constraint(asked, replace(FORMAT, calls_max=2), 16).calls_max == 2
    assert tool_constraint(asked, replace(FORMAT, calls_max=32), 16).calls_max == 16
