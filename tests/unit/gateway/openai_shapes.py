"""Answers as the official SDK reads them: every field it requires must be there, and none that it does not know."""

from __future__ import annotations

import json
from typing import Any

from pydantic import BaseModel


def events(stream: bytes) -> list[dict[str, Any]]:
    """Read a whole event stream; it must end with the end mark."""
    *chunks, end = stream.decode().split("\n\n")[:-1]
    assert end == "data: [DONE]"
    assert all(chunk.startswith("data: {") for chunk in chunks)
    return [json.loads(chunk.removeprefix("data: ")) for chunk in chunks]


def assert_shape(model: type[BaseModel], body: dict[str, Any]) -> None:
    """`body` validates, has all required fields at every depth, and nothing that the SDK's type does not have."""
    _assert_complete(model.model_validate(body), model.__name__)


def _assert_complete(value: Any, path: str) -> None:
    if isinstance(value, BaseModel):
        missing = {n for n, f in type(value).model_fields.items() if f.is_required()} - value.model_fields_set
        assert not missing, f"{path} lacks {missing}"
        assert not value.model_extra, f"{path} has more than the SDK knows: {value.model_extra}"
        for name in value.model_fields_set:
            _assert_complete(getattr(value, name), f"{path}.{name}")
    elif isinstance(value, list):
        for index, one in enumerate(value):
            _assert_complete(one, f"{path}[{index}]")
