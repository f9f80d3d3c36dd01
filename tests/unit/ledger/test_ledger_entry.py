import hashlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastness.core.event import EventType
from fastness.core.tenant import Role
from fastness.ledger.entry import (
    ENTRY_BYTES_MAX,
    INTEGER_MAX,
    STRING_CHARS_MAX,
    Head,
    draft,
    genesis,
    parse,
    parse_head,
    seal,
    write_head,
)

KEYS = st.from_regex(r"[a-z][a-z0-9_]{0,20}", fullmatch=True)
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=80)
VALUES = TEXTS | st.integers(-INTEGER_MAX, INTEGER_MAX) | st.booleans() | st.none()
FIELDS = st.dictionaries(KEYS, VALUES, max_size=12)


@given(FIELDS, st.integers(0, INTEGER_MAX), st.integers(0, INTEGER_MAX), st.binary(min_size=32, max_size=32))
def test_an_entry_is_sorted_compact_json_and_can_be_read_back(fields, time_ms, index, chain):
    line, after = seal(draft("boot", time_ms, fields), index, chain)

    plain = {"fields": fields, "index": index, "prev": chain.hex(), "time_ms": time_ms, "type": "boot", "v": 1}
    expected = json.dumps(plain, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode() + b"\n"
    assert line == expected
    assert after == hashlib.sha256(chain + line).digest()
    entry = parse(line)
    assert (entry.index, entry.time_ms, entry.type, entry.fields) == (index, time_ms, "boot", fields)
    assert (entry.prev, entry.chain) == (chain.hex(), after.hex())


def test_the_format_does_not_change_by_accident():
    line, chain = seal(draft("boot", 7, {"pid": 1, "process": "é\n", "sealed": True, "by": None}), 0, genesis("node"))

    assert genesis("node") == hashlib.sha256(b"fastness ledger v1\nnode").digest()
    assert line.decode() == (
        '{"fields":{"by":null,"pid":1,"process":"é\\n","sealed":true},"index":0,'
        '"prev":"175b6096f443dadbf46aacc672ac2a058907a37e28d3d14ea7b1d683d450ec99","time_ms":7,"type":"boot","v":1}\n'
    )
    assert chain.hex() == "61ae2ba3d7108e27245d9f962bd1993117d7bf59ad96a0991d94a9c4b34b34e5"  # computed with sha256sum


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"a": 1.5}, "a value is a float"),
        ({"a": float("nan")}, "a value is a float"),
        ({"a": ["b"]}, "a value is a list"),
        ({"a": {"b": 1}}, "a value is a dict"),
        ({"a": b"b"}, "a value is a bytes"),
        ({"a": INTEGER_MAX + 1}, "an integer is beyond"),
        ({"a": -INTEGER_MAX - 1}, "an integer is beyond"),
        ({"a": "x" * (STRING_CHARS_MAX + 1)}, "a has 1025 characters of at most 1024"),
        ({"a": "\ud800"}, "surrogates not allowed"),
        ({"A": 1}, "'A' cannot be the name of a field"),
        ({"é": 1}, "cannot be the name of a field"),
        ({"": 1}, "cannot be the name of a field"),
        ({"a" * 65: 1}, "cannot be the name of a field"),
        ({1: 1}, "1 cannot be the name of a field"),
        ({f"key_{n}": "x" * STRING_CHARS_MAX for n in range(64)}, "longer than 65536 bytes"),
        ({f"key_{n}": "\x01" * STRING_CHARS_MAX for n in range(11)}, "longer than 65536 bytes"),
        ({f"key_{n}": "é" * STRING_CHARS_MAX for n in range(32)}, "longer than 65536 bytes"),
    ],
)
def test_what_the_format_does_not_hold_is_refused(fields, reason):
    with pytest.raises(ValueError, match=reason):
        draft("boot", 0, fields)


@pytest.mark.parametrize("time_ms", [-1, 1.0, True, None, INTEGER_MAX + 1])
def test_a_time_that_is_no_time_is_refused(time_ms):
    with pytest.raises(ValueError, match="time_ms"):
        draft("boot", time_ms, {})


@pytest.mark.parametrize("kind", ["", "Boot", "boot!", 'boot"', "b" * 65])
def test_a_type_that_is_no_type_is_refused(kind):
    with pytest.raises(ValueError, match="cannot be the type"):
        draft(kind, 0, {})


def test_a_string_enum_is_written_as_its_value():
    line, _ = seal(draft(EventType.KEY_ISSUED, 0, {"role": Role.ADMIN}), 0, genesis("control"))

    assert b'"role":"admin"' in line
    assert b'"type":"key.issued"' in line


def test_the_longest_entry_fits():
    fields = {f"key_{n:02}": "x" * STRING_CHARS_MAX for n in range(63)}
    line, _ = seal(draft("boot", INTEGER_MAX, fields), INTEGER_MAX, genesis("node"))

    assert ENTRY_BYTES_MAX - 1_500 < len(line) <= ENTRY_BYTES_MAX
    assert parse(line).fields == fields


LINE = seal(draft("boot", 7, {"pid": 1, "process": "gateway"}), 3, genesis("node"))[0]


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        (LINE[:-1], "does not end in a newline"),
        (LINE.replace(b":1,", b": 1,"), "not canonical"),
        (LINE.replace(b'"pid":1', b'"pid":1,"pid":1'), "not canonical"),
        (LINE.replace(b'"pid":1', b'"pid":-0'), "not canonical"),
        (LINE.replace(b'"pid":1', b'"pid":1.0'), "a value is a float"),
        (LINE.replace(b'"pid":1', b'"pid":NaN'), "a value is a float"),
        (LINE.replace(b'"pid":1', b'"pid":' + b"9" * 5_000), "not JSON"),
        (LINE.replace(b'"pid":1', b'"pid":' + b"[" * 30_000), "not JSON"),
        (LINE.replace(b'"gateway"', b'"gatew\\u0061y"'), "not canonical"),
        (LINE.replace(b'"gateway"', b'"gatew\xff"'), "not JSON in UTF-8"),
        (LINE.replace(b'"v":1', b'"v":2'), "version 2; this program knows version 1"),
        (LINE.replace(b'"v":1', b'"v":true'), "version True"),
        (LINE.replace(b'"v":1', b'"v":1,"w":1'), "not an object of fields, index, prev, time_ms, type, v"),
        (LINE.replace(b'"index":3', b'"index":-3'), "index is not a number"),
        (LINE.replace(b'"index":3', b'"index":true'), "index is not a number"),
        (LINE.replace(b'"index":3', b'"index":"3"'), "index is not a number"),
        (LINE.replace(genesis("node").hex().encode(), b"00"), "not 64 hex digits"),
        (LINE.replace(genesis("node").hex().encode(), b"zz" * 32), "not 64 hex digits"),
        (LINE.replace(genesis("node").hex().encode(), genesis("node").hex().upper().encode()), "not canonical"),
        (LINE.replace(b'"boot"', b"null"), "its fields or its type"),
        (b"[]\n", "not an object"),
        (b"\n", "not JSON"),
        (b"\0" * 100 + b"\n", "not JSON"),
        (b"x" * (ENTRY_BYTES_MAX + 1), "longer than the 65536 bytes"),
    ],
)
def test_a_line_that_is_not_exactly_an_entry_is_refused(changed, reason):
    assert parse(LINE).index == 3
    with pytest.raises(ValueError, match=reason):
        parse(changed)


@given(st.binary(max_size=200))
def test_reading_nonsense_raises_value_error_and_nothing_else(content):
    for read in (parse, parse_head):
        with pytest.raises(ValueError, match="it"):
            read(content)


def test_a_head_can_be_read_back_and_a_changed_one_is_refused():
    head = Head("gateway-0", 7, "ab" * 32)
    text = write_head(head)

    assert parse_head(text) == head
    for changed in (text.replace(b"7", b"-7"), text.replace(b"7", b"7.0"), text.replace(b":", b": "), text[:-9]):
        with pytest.raises(ValueError, match="it"):
            parse_head(changed)
