"""Constraints as LLGuidance grammars."""

from __future__ import annotations

import json

from fastness.core.request import JsonConstraint, ToolConstraint, ToolMode


def json_grammar(constraint: JsonConstraint) -> str:
    """Return the grammar of one JSON value."""
    schema = (constraint.schema or b'{"type":"object"}').decode()
    return f"%llguidance {{}}\nstart: %json {schema}\n"


def tool_grammar(constraint: ToolConstraint) -> str:
    """Return the grammar of calls, or of text or calls."""
    calls = "call" + (f' ("\\n" call){{0,{constraint.calls_max - 1}}}' if constraint.calls_max > 1 else "")
    lines = ["%llguidance {}", f"start: {calls}" if constraint.mode is ToolMode.REQUIRED else f"start: text | {calls}"]
    if constraint.mode is not ToolMode.REQUIRED:
        lines.append("text: /[^<](.|\\n)*/")
    lines.append("call: " + " | ".join(f"call_{n}" for n in range(len(constraint.tools))))
    for n, tool in enumerate(constraint.tools):
        head = json.dumps(constraint.open + '{"name": "' + tool.name + '", "arguments": ')
        lines.append(f"call_{n}: {head} args_{n} {json.dumps('}' + constraint.close)}")
        lines.append(f"args_{n}: %json {tool.parameters.decode()}")
    return "\n".join(lines) + "\n"
