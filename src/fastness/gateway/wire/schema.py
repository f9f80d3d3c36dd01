"""Bounds on JSON schemas that callers send: size, depth, nodes. What they may say is the engine's to judge."""

from __future__ import annotations

import re
from typing import Any, Final

import msgspec

from fastness.config import LimitSettings
from fastness.core.error import Refusal
from fastness.gateway.wire.reading import limit, refuse_unless

_NAME: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")


def check_schema(raw: bytes, limits: LimitSettings, param: str) -> bytes:
    """Return `raw` when it is a JSON object within the limits; raises Refusal."""
    limit(len(raw), limits.schema_bytes_max, param, "bytes")
    try:
        schema = msgspec.json.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise Refusal("invalid_json", f"`{param}` is not valid JSON, or nested too deeply.", param=param) from None
    refuse_unless(isinstance(schema, dict), param, "a JSON schema object", type(schema).__name__)
    depth, nodes, level = 0, 0, [schema]
    while level:
        depth += 1
        nodes += len(level)
        limit(depth, limits.schema_depth_max, param, "levels")
        limit(nodes, limits.schema_nodes_max, param, "objects and arrays")
        level = [child for node in level for child in _children(node)]
    return raw


def _children(node: Any) -> list[Any]:
    values = node.values() if isinstance(node, dict) else node
    return [value for value in values if isinstance(value, dict | list)]


def check_name(name: str, param: str) -> str:
    """Return `name` when it may name a tool or a schema, as OpenAI allows; raises Refusal."""
    refuse_unless(_NAME.fullmatch(name) is not None, param, "1 to 64 of a-z, A-Z, 0-9, _ and -", name[:80])
    return name
