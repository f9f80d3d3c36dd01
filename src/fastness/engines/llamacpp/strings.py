"""Strings of a JSON schema as the engine's grammar enforces them: formats, patterns, and lengths beside a pattern."""

from __future__ import annotations

from typing import Any, Final

from fastness.engines.llamacpp import pattern
from fastness.engines.llamacpp.automaton import measure
from fastness.engines.llamacpp.formats import FORMATS
from fastness.engines.llamacpp.pattern import Choice, Node, Repeat, Sequence

FORMAT_WORK: Final = 32


def string(node: dict[str, Any], low: int, high: int | None) -> tuple[dict[str, Any], int]:
    """Write a `string` of `low` to `high` characters; return it and the work of its pattern (automaton.py).

    Raises ValueError with a sentence.
    """
    written: dict[str, Any] = {"type": "string"}
    bounds = ({"minLength": low} if low else {}) | ({} if high is None else {"maxLength": high})
    if "format" in node:
        known = FORMATS.get(node["format"]) if isinstance(node["format"], str) else None
        if known is None:
            raise ValueError(f"supported are {', '.join(FORMATS)}")
        if bounds or "pattern" in node:
            raise ValueError("a length or pattern stands beside it; keep one of them")
        return written | known, FORMAT_WORK
    if "pattern" not in node:
        return written | bounds, 0
    if not isinstance(node["pattern"], str):
        raise ValueError("a regular expression is needed")  # noqa: TRY004 - every refusal is a ValueError
    parsed = pattern.parse(node["pattern"])
    if bounds:
        parsed = _within(parsed, low, high)
    return written | {"pattern": f"^{pattern.text(parsed)}$"}, measure(parsed)


def _within(node: Node, low: int, high: int | None) -> Node:
    """Write a length into a pattern: the engine drops a string whose pattern and length are too hard to bring together.

    Where one repetition alone makes the length vary, its counts are set; raises ValueError for any other pattern.
    """
    shortest, longest = _span(node)
    if shortest >= low and (high is None or (longest is not None and longest <= high)):
        return node
    items = node.items if isinstance(node, Sequence) else (node,)
    while len(items) == 1 and isinstance(items[0], Sequence | Choice):
        inner = items[0]
        items = inner.items if isinstance(inner, Sequence) else inner.options
        if isinstance(inner, Choice) and len(items) > 1:
            break
    varying = [index for index, item in enumerate(items) if len(set(_span(item))) > 1]
    at = varying[0] if varying else 0
    repeat = items[at]
    step = _span(repeat.item) if isinstance(repeat, Repeat) else (0, 1)
    if len(varying) != 1 or not isinstance(repeat, Repeat) or step[0] != step[1] or not step[0]:
        raise ValueError("a length stands beside it; write the length into the pattern, as in `^[a-z]{1,20}$`")
    fixed = sum(_span(item)[0] for item in items) - _span(repeat)[0]
    least = max(repeat.low, -(-(low - fixed) // step[0]))
    most = repeat.high if high is None else (high - fixed) // step[0]
    most = most if repeat.high is None or most is None else min(most, repeat.high)
    if most is not None and most < least:
        raise ValueError("no string matches it and has the length that is asked for")
    bound = Sequence((*items[:at], Repeat(repeat.item, least, most), *items[at + 1 :]))
    pattern.check_copies(bound)
    return bound


def _span(node: Node) -> tuple[int, int | None]:
    """Return the lengths of the shortest and the longest string that matches; None: there is no longest."""
    match node:
        case pattern.Chars():
            return 1, 1
        case Sequence(items):
            spans = [_span(item) for item in items]
            longest = [high for _, high in spans if high is not None]
            return sum(low for low, _ in spans), sum(longest) if len(longest) == len(spans) else None
        case Choice(options):
            spans = [_span(option) for option in options]
            longest = [high for _, high in spans if high is not None]
            return min(low for low, _ in spans), max(longest) if len(longest) == len(spans) else None
        case Repeat(item, low, high):
            shortest, most = _span(item)
            return shortest * low, None if high is None or most is None else most * high
