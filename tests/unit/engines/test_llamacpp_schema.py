"""Which schemas are enforced, how they are written for the engine, and how the others are refused."""

from __future__ import annotations

import json
import re
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastness.engines.llamacpp import pattern
from fastness.engines.llamacpp.automaton import measure
from fastness.engines.llamacpp.formats import FORMATS
from fastness.engines.llamacpp.schema import Unenforceable, rewrite


def written(schema: Any) -> Any:
    return json.loads(rewrite(json.dumps(schema).encode()))


def refusal(schema: Any) -> str:
    with pytest.raises(Unenforceable) as caught:
        written(schema)
    return str(caught.value)


def test_a_strict_schema_stays_what_it_is_without_its_descriptions() -> None:
    schema = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "T",
        "type": "object",
        "properties": {"a": {"type": "string", "description": "d"}, "b": {"type": ["boolean", "null"]}},
        "required": ["a", "b"],
        "additionalProperties": False,
    }
    assert written(schema) == {
        "type": "object",
        "properties": {"a": {"type": "string"}, "b": {"anyOf": [{"type": "boolean"}, {"type": "null"}]}},
        "required": ["a", "b"],
        "additionalProperties": False,
    }


def test_the_order_of_properties_is_kept() -> None:
    names = ["z", "a", "m", "b"]
    assert list(written({"properties": {name: {} for name in names}})["properties"]) == names


def test_what_is_left_open_becomes_narrower_never_wider() -> None:
    assert written({"type": "object"}) == {"type": "object"}
    assert written({"properties": {"a": {}}})["additionalProperties"] is False
    opened = written({"type": "object", "properties": {"a": {}}, "additionalProperties": {"type": "null"}})
    assert opened["additionalProperties"] is False
    assert list(opened["patternProperties"].values()) == [{"type": "null"}]
    assert written({"type": "integer"}) == {"type": "integer", "minimum": -(2**53) + 1, "maximum": 2**53 - 1}
    assert written({"type": "number", "exclusiveMinimum": 0, "maximum": 0.5})["minimum"] == 1e-6
    assert written({"type": "number", "multipleOf": 5, "minimum": -7, "maximum": 7}) == {"enum": [-5, 0, 5]}


def test_references_are_followed_also_in_circles() -> None:
    tree = {
        "type": "object",
        "properties": {"next": {"anyOf": [{"$ref": "#"}, {"type": "null"}]}},
        "required": ["next"],
    }
    assert written(tree)["properties"]["next"]["anyOf"][0] == {"$ref": "#/$defs/d0"}
    odd = {"$ref": "#/definitions/a~1b%20c", "definitions": {"a/b c": {"type": "null"}}}
    assert written(odd) == {"$ref": "#/$defs/d0", "$defs": {"d0": {"type": "null"}}}
    assert "nothing at `#/$defs/x`" in refusal({"$ref": "#/$defs/x"})
    assert "inside the schema" in refusal({"$ref": "https://example.org/schema"})


@pytest.mark.parametrize(
    "schema",
    [
        {"$ref": "#"},
        {"type": "object", "properties": {"a": {"$ref": "#"}}, "required": ["a"]},
        {"type": "array", "items": {"$ref": "#"}, "minItems": 1},
        {"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}},
    ],
)
def test_a_schema_without_an_end_is_refused(schema: Any) -> None:
    assert "without end" in refusal(schema)


@pytest.mark.parametrize(
    ("schema", "named"),
    [
        ({"oneOf": [{"type": "null"}]}, "`oneOf` at `#`"),
        ({"type": "array", "uniqueItems": True}, "`uniqueItems` at `#`"),
        ({"type": "array", "contains": {}}, "`contains` at `#`"),
        ({"properties": {"a": {"not": {}}}}, "`not` at `#/properties/a`"),
        ({"properties": {"a/b": {"if": {}}}}, "`if` at `#/properties/a~1b`"),
        ({"type": "object", "minProperties": 1}, "`minProperties`"),
        ({"type": "object", "patternProperties": {}}, "`patternProperties`"),
        ({"type": "object", "propertyNames": {}}, "`propertyNames`"),
        ({"type": "object", "dependentRequired": {}}, "`dependentRequired`"),
        ({"anyOf": [{}], "type": "object"}, "`anyOf` at `#`"),
        ({"allOf": [{}, {}]}, "`allOf` at `#`"),
        ({"enum": []}, "`enum` at `#`"),
        ({"enum": ["a"], "type": "integer"}, "`enum` at `#`"),
        ({"const": 1e300}, "`const` at `#`"),
        ({"type": "text"}, "`type` at `#`"),
        ({"type": []}, "`type` at `#`"),
        ({"type": "string", "format": "uri"}, "`format` at `#`"),
        ({"type": "string", "format": "date", "maxLength": 3}, "`format` at `#`"),
        ({"type": "string", "minLength": 2, "maxLength": 1}, "`minLength` at `#`"),
        ({"type": "string", "maxLength": 100_000}, "`maxLength` at `#`"),
        ({"type": "string", "maxLength": -1}, "`maxLength` at `#`"),
        ({"type": "string", "maxLength": True}, "`maxLength` at `#`"),
        ({"type": "string", "pattern": 7}, "`pattern` at `#`"),
        ({"type": "string", "pattern": "a", "minLength": 2}, "`pattern` at `#`"),
        ({"type": "string", "pattern": "^(aa)+$", "minLength": 3, "maxLength": 3}, "`pattern` at `#`"),
        ({"type": "array", "minItems": 3, "prefixItems": [{}], "items": False}, "`minItems` at `#`"),
        ({"type": "array", "items": [{}]}, "`items` at `#`"),
        ({"type": "integer", "minimum": 0.2, "maximum": 0.8}, "`minimum` at `#`"),
        ({"type": "integer", "multipleOf": 3}, "`multipleOf` at `#`"),
        ({"type": "number", "multipleOf": 0.01}, "`multipleOf` at `#`"),
        ({"type": "number", "minimum": "0"}, "`minimum` at `#`"),
        ({"type": "number", "minimum": 1e-9}, "`minimum` at `#`"),
        ({"type": "object", "required": ["a"], "additionalProperties": False}, "`required` at `#`"),
        ({"type": "object", "required": "a"}, "`required` at `#`"),
        ({"properties": []}, "`properties` at `#`"),
        ({"properties": {"a": False}}, "`schema` at `#/properties/a`"),
        ({"properties": {"a": {"$id": "x"}}}, "`$id` at `#/properties/a`"),
        ([], "`schema` at `#`"),
    ],
)
def test_a_refusal_names_the_keyword_and_its_place(schema: Any, named: str) -> None:
    assert refusal(schema).startswith(f"{named} cannot be enforced: ") or refusal(schema).startswith(named)


def test_what_is_not_json_is_refused() -> None:
    for raw in (b"", b"{", b'"' + b"a" * 10, b"[" * 100_000):
        with pytest.raises(Unenforceable):
            rewrite(raw)


def test_a_large_schema_is_refused_before_it_costs_anything() -> None:
    deep: dict[str, Any] = {}
    for _ in range(80):
        deep = {"type": "array", "items": deep}
    assert "deeper than" in refusal(deep)
    wide = {"properties": {f"p{n}": {"type": "string", "maxLength": 1_000} for n in range(30)}}
    assert "add up to more than" in refusal(wide)
    assert "at most" in refusal({"enum": list(range(2_000))})


@pytest.mark.parametrize("name", FORMATS)
def test_formats_are_supported(name: str) -> None:
    assert written({"type": "string", "format": name}) == {"type": "string", **FORMATS[name]}


@pytest.mark.parametrize(
    ("text", "fits"),
    [("2024-02-29", True), ("2023-02-29", False), ("1900-02-29", False), ("2000-02-29", True), ("0000-01-01", False)],
)
def test_dates_are_those_of_the_calendar(text: str, fits: bool) -> None:
    assert (re.fullmatch(FORMATS["date"]["pattern"], text) is not None) is fits


def test_a_length_is_written_into_a_pattern() -> None:
    def within(source: str, low: int, high: int) -> str:
        return str(written({"type": "string", "pattern": source, "minLength": low, "maxLength": high})["pattern"])

    assert within("^[a-z]+$", 2, 20) == "^(?:[a-z]){2,20}$"
    assert within("^[a-z][a-z0-9]*$", 0, 20) == "^[a-z](?:[0-9a-z]){0,19}$"
    assert within("^(?:[a-z0-9]+)$", 0, 64) == "^(?:[0-9a-z]){1,64}$"
    assert within("^[0-9]{3}$", 1, 10) == "^(?:(?:[0-9]){3,3})$"


def in_python(source: str) -> str:
    """Write our pattern so that Python's `re` reads it."""
    return re.sub(r"\\x\{([0-9A-F]+)\}", lambda found: re.escape(chr(int(found[1], 16))), source)


@pytest.mark.parametrize(
    ("source", "matching", "other"),
    [
        ("^a|b$", ["ax", "xb", "a"], ["xa", "bx", ""]),
        (r"^\d{2,3}$", ["12", "123"], ["1", "1234", "١٢"]),
        (r"^[\w.-]+@[^\s@]+$", ["a.b@c", "a@."], ["@c", "a@b c"]),
        ("^(?:ab|c)*?$", ["", "abc", "cab"], ["a", "b"]),
        (r"^\u0041\x42\/\-\.$", ["AB/-."], ["ABx-."]),
        ("^[^a-z]$", ["A", "é", "\n"], ["b", "AB"]),
        (r"^[^\d,]$", ["a", " "], ["1", ",", "é"]),
        ("a{2}", ["xaay", "aa"], ["a", "axa"]),
        (r"^[a\]\-]+$", ["a]-"], ["b"]),
        (r"^[]a]?$", None, None),
    ],
)
def test_patterns_mean_what_they_meant(source: str, matching: list[str] | None, other: list[str] | None) -> None:
    if matching is None or other is None:
        with pytest.raises(ValueError, match="set"):
            pattern.parse(source)
        return
    ours = re.compile(in_python(pattern.text(pattern.parse(source))), re.DOTALL)
    assert all(ours.fullmatch(text) for text in matching)
    assert not any(ours.fullmatch(text) for text in other)


UNENFORCEABLE = (
    "(?=a)b", "(?<!a)b", "(?P<n>a)", r"(a)\1", r"\bword\b", r"\p{L}", "a{2,1}", "a**", "(a", "a)", "[a", "[z-a]", "a^b",
    "a$b", "x" * 600, "(a{50}){50}", "a{100000}", "^(a|b)*a(a|b){15}$", ".{120}a.{120}", "[]", "\\", r"\u12", "{", "*",
    "(a?){3}", "(.|.*){0,120}", ".{0,60}.{0,60}x",
)  # fmt: skip


@pytest.mark.parametrize("source", UNENFORCEABLE)
def test_patterns_that_cannot_be_enforced_are_refused(source: str) -> None:
    assert refusal({"type": "string", "pattern": source}).startswith("`pattern` at `#` cannot be enforced: ")


ATOMS = st.sampled_from(["a", "b", r"\d", r"\w", ".", "[a-f0-9]", r"[^a]", r"\.", "(?:ab|c)", "(a|b)"])
TIMES = st.sampled_from(["", "?", "*", "+", "{2}", "{1,3}", "{2,}"])


@given(st.lists(st.tuples(ATOMS, TIMES), min_size=1, max_size=4), st.text("ab1.cf ", max_size=8))
def test_ours_matches_no_more_than_pythons(parts: list[tuple[str, str]], text: str) -> None:
    source = "^" + "".join(atom + times for atom, times in parts) + "$"
    try:
        parsed = pattern.parse(source)
        measure(parsed)
    except ValueError:
        return
    if re.fullmatch(in_python(pattern.text(parsed)), text, re.DOTALL):
        assert re.search(source, text)
    elif text.isascii() and "\n" not in text and " " not in text:
        assert not re.fullmatch(source, text)


def test_the_worst_schema_is_refused_or_written_quickly() -> None:
    sets = "[" + "".join(chr(200 + 2 * n) for n in range(200)) + "]"
    worst = {f"p{n}": {"type": "string", "pattern": f"^{sets}{{1,200}}{n}$"} for n in range(40)}
    begun = time.process_time()
    assert "add up" in refusal({"properties": worst})
    assert time.process_time() - begun < 2
