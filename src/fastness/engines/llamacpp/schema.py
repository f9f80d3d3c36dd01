"""JSON schemas as the engine's grammar truly enforces them.

A schema that the engine cannot compile is dropped without a word, and some that it compiles it enforces wrongly
(measured). So a caller's schema is never forwarded: it is read here keyword by keyword, refused where a keyword is not
on the list, and written anew in the part of JSON schema that holds. What is written may be narrower than what was
asked, never wider: whatever the engine then answers is valid under the caller's schema.
docs/reference/engines.md lists what is supported, and how it is narrowed.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, Final
from urllib.parse import unquote

import msgspec

from fastness.engines.llamacpp import numeric
from fastness.engines.llamacpp.strings import string

DEPTH_MAX: Final = 64
LENGTH_MAX: Final = 1_024
"""Largest `minLength` and `maxLength`, in characters."""
ITEMS_MAX: Final = 1_024
"""Largest `minItems` and `maxItems`."""
ENUM_MAX: Final = 1_000
COST_MAX: Final = 20_000
"""Sum over the schema of its bounds on lengths, its bounds on items, and the work of its patterns, so weighted."""
ITEM_COST: Final = 4
WORK_COST: Final = 8
_ANNOTATIONS: Final = frozenset(
    ("title", "description", "default", "examples", "deprecated", "readOnly", "writeOnly", "$comment", "$schema")
)
_DEFINITIONS: Final = frozenset(("$defs", "definitions"))
_TYPE_KEYWORDS: Final = {
    "object": frozenset(("properties", "required", "additionalProperties")),
    "array": frozenset(("items", "prefixItems", "minItems", "maxItems", "uniqueItems")),
    "string": frozenset(("minLength", "maxLength", "pattern", "format")),
    "number": frozenset(("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf")),
    "integer": frozenset(("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf")),
    "boolean": frozenset(),
    "null": frozenset(),
}
_CHOOSERS: Final = ("$ref", "anyOf", "allOf", "enum", "const")
KEYWORDS: Final = _ANNOTATIONS | _DEFINITIONS | {"type", *_CHOOSERS}.union(*_TYPE_KEYWORDS.values())
_KEY_PATTERN: Final = r"^[^\x{00}-\x{1F}\x{7F}]{1,64}$"
"""Names of properties that the schema does not list."""

ANY_OBJECT: Final = b'{"type":"object"}'

_Node = dict[str, Any]


class Unenforceable(ValueError):  # noqa: N818 - the fault is not the engine's alone
    """A schema that cannot be enforced: which keyword, where, why, and what to write instead."""

    def __init__(self, keyword: str, path: str, reason: str) -> None:
        super().__init__(f"`{keyword}` at `{path or '#'}` cannot be enforced: {reason}")

    @classmethod
    def of_tool(cls, name: str, error: Unenforceable) -> Unenforceable:
        """Return the same refusal, saying which tool's parameters it is about."""
        told = cls("", "", "")
        told.args = (f"Tool `{name}`: {error}",)
        return told


@lru_cache(maxsize=256)
def rewrite(schema: bytes) -> bytes:
    """Write a JSON schema (raw JSON) for the engine; raises Unenforceable."""
    try:
        return msgspec.json.encode(_Rewriter(msgspec.json.decode(schema)).document())
    except msgspec.DecodeError as error:
        raise Unenforceable("schema", "#", f"it is not JSON ({error})") from None
    except RecursionError:
        raise Unenforceable("schema", "#", "it is nested too deeply") from None


class _Rewriter:
    """Walks one document; what it returns are schemas for the engine."""

    def __init__(self, root: object) -> None:
        self._root = root
        self._names: dict[str, str] = {}
        self._definitions: dict[str, _Node] = {}
        self._cost = 0

    def document(self) -> _Node:
        """Write the whole document."""
        written = self._schema(self._root, "#", 0)
        if not _ends(written, self._ending()):
            raise Unenforceable("$ref", "#", "every value of this schema contains another one without end")
        return {"$defs": self._definitions, **written} if self._definitions else written

    def _schema(self, node: object, path: str, depth: int) -> _Node:
        if node is True:
            return {}
        if depth > DEPTH_MAX:
            raise Unenforceable("schema", path, f"schemas nested deeper than {DEPTH_MAX}")
        if not isinstance(node, dict):
            raise Unenforceable("schema", path, "an object with keywords is needed here")
        for keyword in node:
            if keyword not in KEYWORDS and (keyword != "$id" or path != "#"):
                raise Unenforceable(keyword, path, "the keyword is not supported; leave it out, or check it yourself")
        chooser = next((keyword for keyword in _CHOOSERS if keyword in node), None)
        return self._typed(node, path, depth) if chooser is None else self._chosen(node, chooser, path, depth)

    def _chosen(self, node: _Node, chooser: str, path: str, depth: int) -> _Node:
        allowed = _ANNOTATIONS | _DEFINITIONS | {"$id", chooser}
        beside = [k for k in node if k not in allowed and not (k == "type" and chooser in ("enum", "const"))]
        if beside:
            raise Unenforceable(chooser, path, f"`{beside[0]}` stands beside it; only descriptions may")
        if chooser in ("enum", "const"):
            return self._values(node, chooser, path)
        if chooser == "$ref":
            return self._reference(node["$ref"], path, depth)
        options = self._list(node, chooser, path)
        if chooser == "allOf" and len(options) != 1:
            raise Unenforceable("allOf", path, "only one schema in it is supported; merge them into one")
        written = [self._schema(option, f"{path}/{chooser}/{i}", depth + 1) for i, option in enumerate(options)]
        return written[0] if len(written) == 1 else {"anyOf": written}

    def _reference(self, pointer: object, path: str, depth: int) -> _Node:
        if not isinstance(pointer, str) or not pointer.startswith("#"):
            raise Unenforceable("$ref", path, "only references inside the schema (`#/$defs/...`) are supported")
        if pointer not in self._names:
            target = self._root
            for step in pointer[1:].split("/")[1:]:
                key = unquote(step).replace("~1", "/").replace("~0", "~")
                if isinstance(target, dict) and key in target:
                    target = target[key]
                elif isinstance(target, list) and key.isdecimal() and int(key) < len(target):
                    target = target[int(key)]
                else:
                    raise Unenforceable("$ref", path, f"the schema has nothing at `{pointer}`")
            name = self._names[pointer] = f"d{len(self._names)}"
            self._definitions[name] = self._schema(target, pointer, depth + 1)
        return {"$ref": f"#/$defs/{self._names[pointer]}"}

    def _values(self, node: _Node, chooser: str, path: str) -> _Node:
        values = [node["const"]] if chooser == "const" else self._list(node, "enum", path)
        if len(values) > ENUM_MAX:
            raise Unenforceable("enum", path, f"it has {len(values)} values; at most {ENUM_MAX} are supported")
        types = self._types(node, path)
        kept = [value for value in values if not types or any(numeric.is_of_type(value, name) for name in types)]
        if not kept:
            raise Unenforceable(chooser, path, "no value in it has the type that `type` asks for")
        try:
            for value in kept:
                numeric.check_value(value)
        except ValueError as error:
            raise Unenforceable(chooser, path, str(error)) from None
        return {"enum": kept}

    def _typed(self, node: _Node, path: str, depth: int) -> _Node:
        types = self._types(node, path)
        if not types:
            types = [name for name, keywords in _TYPE_KEYWORDS.items() if name != "integer" and keywords & node.keys()]
        if not types:
            return {}
        written = [self._of_type(name, node, path, depth) for name in dict.fromkeys(types)]
        return written[0] if len(written) == 1 else {"anyOf": written}

    def _of_type(self, name: str, node: _Node, path: str, depth: int) -> _Node:
        if name == "object":
            return self._object(node, path, depth)
        if name == "array":
            return self._array(node, path, depth)
        if name == "string":
            return self._string(node, path)
        if name not in ("integer", "number"):
            return {"type": name}
        try:
            written = numeric.integer(node) if name == "integer" else numeric.number(node)
        except ValueError as error:
            keyword = next((k for k in node if k in _TYPE_KEYWORDS["number"]), "type")
            raise Unenforceable(keyword, path, str(error)) from None
        self._spend(written.get("multipleOf", len(written.get("enum", ()))), path)
        return written

    def _object(self, node: _Node, path: str, depth: int) -> _Node:
        listed = node.get("properties", {})
        if not isinstance(listed, dict):
            raise Unenforceable("properties", path, "an object is needed")
        required = self._list(node, "required", path) if "required" in node else []
        if not all(isinstance(name, str) for name in required):
            raise Unenforceable("required", path, "a list of names is needed")
        properties = {
            name: self._schema(schema, f"{path}/properties/{_step(name)}", depth + 1) for name, schema in listed.items()
        }
        # Names that the schema leaves open are closed where it lists any: narrower, and small models invent fewer.
        extra = node.get("additionalProperties", not listed)
        unlisted = [name for name in required if name not in properties]
        if extra is False:
            if unlisted:
                raise Unenforceable("required", path, f"`{unlisted[0]}` is required, but is no property")
            return _written_object(properties, required)
        written = self._schema(extra, f"{path}/additionalProperties", depth + 1)
        properties |= dict.fromkeys(unlisted, written)
        if not properties:
            return {"type": "object", "additionalProperties": written} if written else {"type": "object"}
        # The engine lets a name be escaped (`\\u0061`), so written twice with two types; under a pattern it does not.
        return {**_written_object(properties, required), "patternProperties": {_KEY_PATTERN: written}}

    def _array(self, node: _Node, path: str, depth: int) -> _Node:
        if node.get("uniqueItems", False) is not False:
            raise Unenforceable("uniqueItems", path, "that items differ cannot be enforced; check it yourself")
        low, high = self._bounds(node, "minItems", "maxItems", ITEMS_MAX, path, ITEM_COST)
        prefix = self._list(node, "prefixItems", path) if "prefixItems" in node else []
        items = node.get("items", True)
        if isinstance(items, list):
            raise Unenforceable("items", path, "a list of schemas is written `prefixItems` today")
        if items is False:
            if low > len(prefix):
                raise Unenforceable("minItems", path, f"{low} are needed, but `prefixItems` has {len(prefix)}")
            high = len(prefix) if high is None else min(high, len(prefix))
        written: _Node = {"type": "array", "minItems": low}
        if high is not None:
            written["maxItems"] = high
        if prefix:
            written["prefixItems"] = [
                self._schema(item, f"{path}/prefixItems/{i}", depth + 1) for i, item in enumerate(prefix)
            ]
        written["items"] = items if items is False else self._schema(items, f"{path}/items", depth + 1)
        return written

    def _string(self, node: _Node, path: str) -> _Node:
        low, high = self._bounds(node, "minLength", "maxLength", LENGTH_MAX, path)
        try:
            written, work = string(node, low, high)
        except ValueError as error:
            raise Unenforceable("format" if "format" in node else "pattern", path, str(error)) from None
        self._spend(work * WORK_COST, path)
        return written

    def _bounds(
        self, node: _Node, low_name: str, high_name: str, limit: int, path: str, cost: int = 1
    ) -> tuple[int, int | None]:
        found: list[int | None] = []
        for name in (low_name, high_name):
            value = node.get(name)
            if isinstance(value, float) and value.is_integer():
                value = int(value)
            if name in node and (isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= limit):
                raise Unenforceable(name, path, f"whole numbers from 0 to {limit} are supported")
            found.append(value)
        low, high = found[0] or 0, found[1]
        if high is not None and low > high:
            raise Unenforceable(low_name, path, f"{low} is more than `{high_name}`, {high}")
        self._spend(cost * (low if high is None else high), path)
        return low, high

    def _spend(self, cost: int, path: str) -> None:
        self._cost += cost
        if self._cost > COST_MAX:
            raise Unenforceable(
                "schema", path, f"its lengths, item counts and patterns add up to more than {COST_MAX}; make it smaller"
            )

    def _types(self, node: _Node, path: str) -> list[str]:
        if "type" not in node:
            return []
        types = node["type"] if isinstance(node["type"], list) else [node["type"]]
        if not types or not all(isinstance(name, str) and name in _TYPE_KEYWORDS for name in types):
            raise Unenforceable("type", path, f"one or more of {', '.join(_TYPE_KEYWORDS)} is needed")
        return types

    def _list(self, node: _Node, keyword: str, path: str) -> list[Any]:
        value = node[keyword]
        if not isinstance(value, list) or (not value and keyword != "required"):
            raise Unenforceable(keyword, path, "a list with something in it is needed")
        return value

    def _ending(self) -> set[str]:
        """Return the definitions that have a value of finite size."""
        ending: set[str] = set()
        while True:
            more = {name for name, schema in self._definitions.items() if name not in ending and _ends(schema, ending)}
            if not more:
                return ending
            ending |= more


def _written_object(properties: _Node, required: list[str]) -> _Node:
    return {"type": "object", "properties": properties, "required": required, "additionalProperties": False}


def _ends(schema: _Node, ending: set[str]) -> bool:
    """Tell whether `schema` has a value of finite size, given the definitions known to have one."""
    if "$ref" in schema:
        return schema["$ref"].rpartition("/")[2] in ending
    if "anyOf" in schema:
        return any(_ends(option, ending) for option in schema["anyOf"])
    properties = schema.get("properties", {})
    if not all(_ends(properties[name], ending) for name in schema.get("required", ())):
        return False
    needed = schema.get("minItems", 0)
    prefix = schema.get("prefixItems", [])[:needed]
    return all(_ends(item, ending) for item in prefix) and (needed <= len(prefix) or _ends(schema["items"], ending))


def _step(name: str) -> str:
    return name.replace("~", "~0").replace("/", "~1")
