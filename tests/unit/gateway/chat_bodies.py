"""Bodies of chat requests, for the tests of this room."""

from __future__ import annotations

import json
from typing import Any

import pytest

from fastness.config import LimitSettings
from fastness.core.error import Refusal
from fastness.core.request import ChatRequest
from fastness.gateway.wire.chat import parse_chat

USER = {"role": "user", "content": "hi"}
LIMITS = LimitSettings()


def parse(limits: LimitSettings = LIMITS, **fields: Any) -> ChatRequest:
    return parse_chat(json.dumps({"model": "small", "messages": [USER]} | fields).encode(), limits)


def refused(limits: LimitSettings = LIMITS, **fields: Any) -> tuple[str, str | None]:
    with pytest.raises(Refusal) as raised:
        parse(limits, **fields)
    assert len(raised.value.message) > 20, "a refusal says what to do"
    return raised.value.code, raised.value.param


def tool(name: str = "weather", **function: Any) -> dict[str, Any]:
    return {"type": "function", "function": {"name": name} | function}


def nested(depth: int) -> dict[str, Any]:
    return {} if depth == 1 else {"properties": nested(depth - 1)}
