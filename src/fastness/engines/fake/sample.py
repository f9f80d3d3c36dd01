"""A text that follows one of our grammars (engines/llamacpp/grammar.py), without a model."""

from __future__ import annotations

import json
import re
from typing import Any, Final

import msgspec

DEPTH_MAX: Final = 64
_JSON: Final = re.compile(r"^(start|arguments_(\d+)): %json (.*)$", re.MULTILINE)
_CALL: Final = re.compile(r'^call_(\d+): ("(?:[^"\\]|\\.)*") arguments_\d+ ("(?:[^"\\]|\\.)*")$', re.MULTILINE)
_OPEN: Final = re.compile(r'^(?:start|head\[lazy\]): (?:TEXT )?("(?:[^"\\]|\\.)*")', re.MULTILINE)


def constrained(grammar: str, said: str) -> str | None:
    """Return a text that follows `grammar`; None: any text does.

    Where calls are optional, a tool is called when `said` has its name. Raises ValueError for a schema that needs
    more than the fake engine knows.
    """
    schemas = {name: msgspec.json.decode(text) for name, _, text in _JSON.findall(grammar)}
    if "start" in schemas:
        return _write(schemas["start"])
    opened = _OPEN.search(grammar)
    if opened is None:
        raise ValueError("the fake engine cannot read this grammar")
    calls = [(int(n), _text(head), _text(tail)) for n, head, tail in _CALL.findall(grammar)]
    named = [call for call in calls if msgspec.json.decode(call[1][9:].split(",", 1)[0]) in said]
    if not named and "TEXT" in grammar:
        return None
    number, head, tail = (named or calls)[0]
    return f"{_text(opened[1])}{head}{_write(schemas[f'arguments_{number}'])}{tail}"


def _text(quoted: str) -> str:
    return str(msgspec.json.decode(quoted))


def _write(schema: dict[str, Any]) -> str:
    return json.dumps(_Sampler(schema.get("$defs", {})).value(schema, 0), ensure_ascii=False)


class _Sampler:
    """Makes the smallest value of a schema, more or less."""

    def __init__(self, definitions: dict[str, Any]) -> None:
        self._definitions = definitions

    def value(self, schema: dict[str, Any], depth: int) -> Any:
        if depth > DEPTH_MAX:
            raise ValueError("the fake engine found no end to this schema")
        if "$ref" in schema:
            return self.value(self._definitions[schema["$ref"].rpartition("/")[2]], depth + 1)
        if "anyOf" in schema:
            return self._first(schema["anyOf"], depth)
        if "enum" in schema:
            return schema["enum"][0]
        write = {"string": self._string, "integer": self._number, "number": self._number, "array": self._array}
        plain = {"boolean": True, "null": None}
        kind = schema.get("type", "object")
        return plain[kind] if kind in plain else write.get(kind, self._object)(schema, depth)

    def _first(self, options: list[dict[str, Any]], depth: int) -> Any:
        for option in sorted(options, key=lambda option: "$ref" in option):
            try:
                return self.value(option, depth + 1)
            except ValueError:
                continue
        raise ValueError("the fake engine can write none of the schemas of an `anyOf`")

    def _string(self, schema: dict[str, Any], _depth: int) -> str:
        if "pattern" in schema or "format" in schema:
            raise ValueError("the fake engine can write no `pattern` and no `format`")
        low, word = int(schema.get("minLength", 0)), "lantern"
        length: int = max(low, min(len(word), schema.get("maxLength", len(word))))
        return (word * (low // len(word) + 1))[:length]

    def _number(self, schema: dict[str, Any], _depth: int) -> int | float:
        low, high, step = schema.get("minimum", 0), schema.get("maximum", 0), schema.get("multipleOf", 1)
        nearest: int | float = max(low, min(0, high)) if step == 1 else -(-low // step) * step
        return nearest

    def _array(self, schema: dict[str, Any], depth: int) -> list[Any]:
        prefix, needed = schema.get("prefixItems", []), schema.get("minItems", 0)
        items = [prefix[at] if at < len(prefix) else schema["items"] for at in range(needed)]
        return [self.value(item, depth + 1) for item in items]

    def _object(self, schema: dict[str, Any], depth: int) -> dict[str, Any]:
        return {name: self.value(schema["properties"][name], depth + 1) for name in schema.get("required", ())}
