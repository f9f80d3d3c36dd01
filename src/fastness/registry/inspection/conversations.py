"""The standard conversations: what any chat template may meet, and what an approver sees rendered."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

_TOOL: Final = {
    "type": "function",
    "function": {
        "name": "find_office",
        "description": "Find the nearest office.",
        "parameters": {"type": "object", "properties": {"town": {"type": "string"}}, "required": ["town"]},
    },
}


def conversations(question: str, answer: str, system: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield the standard conversations with their names: what any chat template may meet."""
    user, reply = {"role": "user", "content": question}, {"role": "assistant", "content": answer}
    rule = {"role": "system", "content": system}
    call = {"id": "abcdefghi", "type": "function", "function": {"name": "find_office", "arguments": {"town": "Leeds"}}}
    called = {"role": "assistant", "content": "", "tool_calls": [call]}
    result = {"role": "tool", "name": "find_office", "tool_call_id": "abcdefghi", "content": "12 High Street"}
    yield "one question", _given([user])
    yield "system and question", _given([rule, user])
    yield "three turns", _given([user, reply, user])
    yield "several turns", _given([rule, user, reply, user]) | {"tools": None, "documents": None}
    yield "many turns", _given([*[user, reply] * 60, user])
    yield "without prompt", _given([user, reply], prompt=False)
    yield "tools", _given([user], tools=[_TOOL])
    yield "tool call", _given([user, called, result], tools=[_TOOL])
    yield "parts", _given([{"role": "user", "content": [{"type": "text", "text": question}]}])


def _given(messages: list[dict[str, Any]], tools: list[Any] | None = None, *, prompt: bool = True) -> dict[str, Any]:
    """Return what a template is given; some renderers name tools that are not there, and some do not."""
    words = {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>", "unk_token": "<unk>"}
    told = {"messages": messages, "add_generation_prompt": prompt, **words}
    return told if tools is None else told | {"tools": tools}
