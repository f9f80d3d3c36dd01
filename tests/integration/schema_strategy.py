"""Schemas from the part of JSON schema that the llama.cpp dialect says it enforces, for hypothesis."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

NAMES = st.sampled_from(["name", "a", "b c", "größe", 'q"uote', "<filename>", "x/y~z", "_id", "back\\slash"])
TEXTS = st.text(st.characters(codec="utf-8", max_codepoint=0x1F6FF), max_size=12)
ATOMS = st.sampled_from(
    ["a", "é", r"\d", r"\w", r"\s", ".", "[a-f0-9]", r"[^\s,]", r"[^<>]", r"\.", r"[\w.-]", r"[^\d]", r"\-", "(?:ab|c)"]
)
TIMES = st.sampled_from(["", "", "", "?", "*", "+", "{2}", "{1,3}", "{0,2}", "{3,}", "+?"])


@st.composite
def patterns(draw: st.DrawFn) -> str:
    def sequence() -> str:
        return "".join(draw(ATOMS) + draw(TIMES) for _ in range(draw(st.integers(1, 4))))

    body = "|".join(sequence() for _ in range(draw(st.integers(1, 2))))
    grouped = f"({body}){draw(TIMES)}" if draw(st.booleans()) else body
    if "|" in grouped and not grouped.startswith("("):
        return grouped
    return f"{draw(st.sampled_from(['^', '^', '']))}{grouped}{draw(st.sampled_from(['$', '$', '']))}"


@st.composite
def strings(draw: st.DrawFn) -> dict[str, Any]:
    kind = draw(st.sampled_from(["plain", "length", "pattern", "both", "format"]))
    schema: dict[str, Any] = {"type": "string"}
    if kind in ("length", "both"):
        schema["minLength"] = draw(st.integers(0, 6))
        schema["maxLength"] = schema["minLength"] + draw(st.integers(0, 20))
    if kind in ("pattern", "both"):
        schema["pattern"] = draw(patterns())
    if kind == "format":
        names = ["date", "time", "date-time", "duration", "email", "hostname", "ipv4", "ipv6", "uuid"]
        schema["format"] = draw(st.sampled_from(names))
    return schema


@st.composite
def numeric(draw: st.DrawFn) -> dict[str, Any]:
    whole = draw(st.booleans())
    bound = (
        st.integers(-(10**6), 10**6)
        if whole or draw(st.booleans())
        else st.integers(-(10**8), 10**8).map(lambda n: n / 10_000)
    )
    schema: dict[str, Any] = {"type": "integer" if whole else "number"}
    for name in draw(st.sets(st.sampled_from(["minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"]))):
        schema[name] = draw(st.one_of(st.just(0), bound))
    if draw(st.integers(0, 4)) == 0:
        schema["multipleOf"] = draw(st.integers(1, 50))
    return schema


def values() -> st.SearchStrategy[Any]:
    plain = st.one_of(
        st.none(),
        st.booleans(),
        st.integers(-(2**53) + 1, 2**53 - 1),
        st.integers(-(10**9), 10**9).map(lambda n: n / 1_000),
        TEXTS,
        st.sampled_from(["<|im_end|>", 'say "no"', "tab\there", "\u2028", "", "true"]),
    )
    return st.recursive(
        plain, lambda x: st.one_of(st.lists(x, max_size=3), st.dictionaries(NAMES, x, max_size=3)), max_leaves=4
    )


@st.composite
def objects(draw: st.DrawFn, inner: st.SearchStrategy[Any]) -> dict[str, Any]:
    properties = draw(st.dictionaries(NAMES, inner, max_size=4))
    schema: dict[str, Any] = {"type": "object", "properties": properties}
    schema["required"] = [name for name in properties if draw(st.integers(0, 3))]
    extra = draw(st.sampled_from([False, False, None, True, "schema"]))
    if extra is not None:
        schema["additionalProperties"] = draw(inner) if extra == "schema" else extra
    return schema


@st.composite
def arrays(draw: st.DrawFn, inner: st.SearchStrategy[Any]) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "array"}
    if draw(st.booleans()):
        schema["minItems"] = draw(st.integers(0, 2))
    if draw(st.booleans()):
        schema["maxItems"] = schema.get("minItems", 0) + draw(st.integers(0, 3))
    if draw(st.integers(0, 3)) == 0:
        schema["prefixItems"] = draw(st.lists(inner, min_size=1, max_size=2))
    if draw(st.integers(0, 3)):
        schema["items"] = draw(inner)
    return schema


@st.composite
def unions(draw: st.DrawFn, inner: st.SearchStrategy[Any]) -> dict[str, Any]:
    return {"anyOf": draw(st.lists(inner, min_size=1, max_size=3))}


def leaves() -> st.SearchStrategy[dict[str, Any]]:
    nullable = strings().map(lambda schema: schema | {"type": ["string", "null"]})
    return st.one_of(
        strings(),
        numeric(),
        nullable,
        st.just({"type": "boolean"}),
        st.just({"type": "null"}),
        st.lists(values(), min_size=1, max_size=4).map(lambda v: {"enum": v}),
        values().map(lambda v: {"const": v}),
        st.just({"$ref": "#/$defs/tree"}),
    )


def schemas() -> st.SearchStrategy[dict[str, Any]]:
    """Return documents with an object at the root, and a recursive definition to refer to."""
    inner = st.recursive(leaves(), lambda x: st.one_of(objects(x), arrays(x), unions(x)), max_leaves=6)
    tree = {
        "type": "object",
        "properties": {"value": {"type": "integer"}, "next": {"anyOf": [{"$ref": "#/$defs/tree"}, {"type": "null"}]}},
        "required": ["value", "next"],
        "additionalProperties": False,
    }
    return objects(inner).map(lambda schema: schema | {"$defs": {"tree": tree}})
