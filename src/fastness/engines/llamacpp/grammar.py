"""Constraints as LLGuidance grammars, the only way by which this engine is truly bound.

Its own `response_format` and `tools` are not used: they are ignored on templates without tools. Two settings matter:
`no_forcing`, without which a text that looks like a control token (`<filename>` in an enum) ends the binding, and
whitespace fixed to that of `{"a": 1, "b": [2, 3]}`, because small models lose themselves in free whitespace.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final

import msgspec

from fastness.core.request import Constraint, JsonConstraint, Tool, ToolConstraint, ToolMode
from fastness.engines.llamacpp.schema import ANY_OBJECT, Unenforceable, rewrite

_OPTIONS: Final = '%llguidance {"no_forcing": true}'
_WHITESPACE: Final = '{"x-guidance":{"whitespace_flexible":false,"item_separator":", ","key_separator":": "}'
_NO_ARGUMENTS: Final = b'{"type":"object","properties":{},"additionalProperties":false}'


@lru_cache(maxsize=256)
def grammar(constraint: Constraint) -> str:
    """Write the grammar of `constraint`; raises Unenforceable, whose text is for the caller."""
    if isinstance(constraint, JsonConstraint):
        schema = ANY_OBJECT if constraint.schema is None else rewrite(constraint.schema)
        return f"{_OPTIONS}\nstart: {_json(schema)}\n"
    return _tools(constraint)


def _tools(constraint: ToolConstraint) -> str:
    """Bind every call, wherever in the answer it stands: its name to a tool, its arguments to that tool's schema."""
    open_mark, more = _quoted(constraint.open), constraint.calls_max - 1
    rest = f" ({_quoted(chr(10) + constraint.open)} call){{0,{more}}}" if more else ""
    lines = [_OPTIONS]
    if constraint.mode is ToolMode.REQUIRED:
        lines.append(f"start: {open_mark} call{rest}")
    else:
        # The head ends as soon as a call is opened, and from there on only a call can follow.
        lines += [f"start: TEXT | head call{rest}", f"head[lazy]: TEXT {open_mark}", "TEXT: /(.|\\n)*/"]
    lines.append(f"call: {' | '.join(f'call_{n}' for n in range(len(constraint.tools)))}")
    for n, tool in enumerate(constraint.tools):
        head = _quoted(f'{{"name": {_quoted(tool.name)}, "arguments": ')
        lines += [
            f"call_{n}: {head} arguments_{n} {_quoted('}' + constraint.close)}",
            f"arguments_{n}: {_json(_of(tool))}",
        ]
    return "\n".join(lines) + "\n"


def _of(tool: Tool) -> bytes:
    try:
        schema = rewrite(tool.parameters)
    except Unenforceable as error:
        raise Unenforceable.of_tool(tool.name, error) from None
    return _NO_ARGUMENTS if schema in (ANY_OBJECT, b"{}") else schema


def _json(schema: bytes) -> str:
    inner = schema.decode()[1:]
    return f"%json {_WHITESPACE}{'' if inner == '}' else ','}{inner}"


def _quoted(text: str) -> str:
    return msgspec.json.encode(text).decode()
