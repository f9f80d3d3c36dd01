"""Chat messages as they arrive: text only, several text parts joined."""

from __future__ import annotations

from typing import Literal

import msgspec

from fastness.config import LimitSettings
from fastness.core.error import Refusal
from fastness.core.request import Message, ToolCall
from fastness.gateway.wire.reading import limit
from fastness.gateway.wire.schema import check_name


class CacheBreakpoint(msgspec.Struct, forbid_unknown_fields=True):
    """A hint of the newer SDKs for explicit prompt caching; the engine caches prefixes by itself."""

    mode: Literal["explicit"]


class TextPart(msgspec.Struct, tag_field="type", tag="text", forbid_unknown_fields=True):
    """A text part."""

    text: str
    prompt_cache_breakpoint: CacheBreakpoint | None = None


class RefusalPart(msgspec.Struct, tag_field="type", tag="refusal", forbid_unknown_fields=True):
    """A refusal the model gave earlier; it is shown to the model as what it said."""

    refusal: str


class FunctionCall(msgspec.Struct, forbid_unknown_fields=True):
    """The function of a tool call."""

    name: str
    arguments: str


class FunctionToolCall(msgspec.Struct, forbid_unknown_fields=True):
    """A tool call the model made earlier."""

    id: str
    type: Literal["function"]
    function: FunctionCall


class SystemMessage(msgspec.Struct, tag_field="role", tag="system", forbid_unknown_fields=True):
    """Instructions."""

    content: str | list[TextPart]
    name: str | None = None


class DeveloperMessage(msgspec.Struct, tag_field="role", tag="developer", forbid_unknown_fields=True):
    """Instructions, by their newer name."""

    content: str | list[TextPart]
    name: str | None = None


class UserMessage(msgspec.Struct, tag_field="role", tag="user", forbid_unknown_fields=True):
    """What the user says."""

    content: str | list[TextPart]
    name: str | None = None


class AssistantMessage(msgspec.Struct, tag_field="role", tag="assistant", forbid_unknown_fields=True):
    """What the model said earlier. The fields after `tool_calls` are echoed back by SDKs and must be empty."""

    content: str | list[TextPart | RefusalPart] | None = None
    name: str | None = None
    refusal: str | None = None
    tool_calls: list[FunctionToolCall] | None = None
    audio: None = None
    function_call: None = None
    annotations: list[msgspec.Raw] | None = None


class ToolMessage(msgspec.Struct, tag_field="role", tag="tool", forbid_unknown_fields=True):
    """What a tool returned."""

    content: str | list[TextPart]
    tool_call_id: str


WireMessage = SystemMessage | DeveloperMessage | UserMessage | AssistantMessage | ToolMessage


def to_messages(wire: list[WireMessage], limits: LimitSettings) -> tuple[Message, ...]:
    """Translate; raises Refusal for none, too many, or a tool result that answers no call."""
    if not wire:
        raise Refusal("invalid_value", "`messages` is empty; send at least one message.", param="messages")
    limit(len(wire), limits.messages_max, "messages", "messages")
    called: set[str] = set()
    messages = []
    for index, message in enumerate(wire):
        if type(message) is UserMessage:
            content = message.content
            messages.append(Message("user", content if type(content) is str else _text(content), message.name))
        elif isinstance(message, ToolMessage):
            if message.tool_call_id not in called:
                at = f"messages[{index}].tool_call_id"
                raise Refusal("invalid_value", f"`{at}` answers no tool call made in an earlier message.", param=at)
            messages.append(Message("tool", _text(message.content), tool_call_id=message.tool_call_id))
        elif isinstance(message, AssistantMessage):
            messages.append(_assistant(message, index))
            called.update(call.id for call in message.tool_calls or ())
        else:
            messages.append(Message("system", _text(message.content), message.name))
    return tuple(messages)


def _assistant(message: AssistantMessage, index: int) -> Message:
    content = message.content if message.content is not None else message.refusal
    if content is None and not message.tool_calls:
        at = f"messages[{index}].content"
        raise Refusal("missing_field", f"`{at}` is required unless the message has tool_calls.", param=at)
    calls = tuple(
        ToolCall(
            call.id,
            check_name(call.function.name, f"messages[{index}].tool_calls[{n}].function.name"),
            call.function.arguments,
        )
        for n, call in enumerate(message.tool_calls or ())
    )
    return Message("assistant", _text(content or ""), message.name, calls)


def _text(content: str | list[TextPart] | list[TextPart | RefusalPart]) -> str:
    if isinstance(content, str):
        return content
    return "".join(part.text if isinstance(part, TextPart) else part.refusal for part in content)
