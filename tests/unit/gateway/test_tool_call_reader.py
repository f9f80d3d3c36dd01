"""Reading calls as a model writes them: whatever the pieces, the same calls, and nothing lost."""

from __future__ import annotations

import json
import string
from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from fastness.gateway.tools import ArgumentsPiece, CallPiece, Piece, TextPiece, ToolCallReader, joined

OPEN, CLOSE = "<tool_call>", "</tool_call>"
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(st.characters(codec="utf-8"), max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
OBJECTS = st.dictionaries(st.text(st.characters(codec="utf-8"), max_size=5), VALUES, max_size=4)
NAMES = st.text(string.ascii_letters + string.digits + "_-", min_size=1, max_size=64)
SPACES = st.text(" \n\t\r", max_size=3)


def read(text: str, cuts: list[int] | None = None) -> list[Piece]:
    """Feed `text` cut at the given places; return all pieces."""
    reader = ToolCallReader(OPEN, CLOSE)
    places = sorted({0, len(text), *(cut % (len(text) + 1) for cut in cuts or [])})
    pieces = [piece for begin, end in pairwise(places) for piece in reader.feed(text[begin:end])]
    return pieces + reader.finish()


@st.composite
def written_calls(draw: st.DrawFn) -> tuple[str, list[tuple[str, str]]]:
    """Calls as a model may write them, with white space wherever JSON allows it; and what they say."""
    text, calls = "", []
    for _ in range(draw(st.integers(1, 3))):
        name = draw(NAMES)
        arguments = json.dumps(
            draw(OBJECTS),
            ensure_ascii=draw(st.booleans()),
            separators=draw(st.sampled_from([(",", ":"), (" , ", " : ")])),
        )
        s = [draw(SPACES) for _ in range(9)]
        text += (
            f'{s[0]}{OPEN}{s[1]}{{{s[2]}"name"{s[3]}:{s[4]}"{name}"{s[5]},{s[6]}"arguments"{s[7]}:{s[8]}{arguments}'
            f"{draw(SPACES)}}}{draw(SPACES)}{CLOSE}"
        )
        calls.append((name, arguments))
    return text + draw(SPACES), calls


@st.composite
def odd_text(draw: st.DrawFn) -> str:
    """Text made of what calls are made of, in any order: what an engine writes that lost its grammar."""
    parts = [
        OPEN,
        CLOSE,
        "<tool",
        "_call>",
        '{"name": "f"',
        '{"name": "f", "arguments": {',
        '"arguments":',
        "}",
        "}}",
        "{",
    ]
    parts += ['"', "\\", "\n", " ", "hello", "[", "]", ",", "5", '"x"']
    return "".join(draw(st.lists(st.sampled_from(parts) | st.text(max_size=3), max_size=12)))


CUTS = st.lists(st.integers(min_value=0), max_size=12)


@given(written_calls(), CUTS)
def test_calls_are_read_exactly_however_they_arrive(
    written: tuple[str, list[tuple[str, str]]], cuts: list[int]
) -> None:
    text, calls = written
    assert joined(read(text, cuts)) == ("", calls)


@given(odd_text(), CUTS)
@example(f'{OPEN}{{"name": "f", "arguments": {{}}}}{CLOSE}abc{OPEN}{{"name": "g", "arguments": {{}}}}{CLOSE}', [42])
def test_whatever_is_written_the_cuts_change_nothing(text: str, cuts: list[int]) -> None:
    assert joined(read(text, cuts)) == joined(read(text))


@given(odd_text(), CUTS)
def test_an_answer_in_which_no_call_begins_is_given_out_as_it_was_written(text: str, cuts: list[int]) -> None:
    given_out, calls = joined(read(text, cuts))
    if not calls:
        assert given_out == text


@given(st.text().filter(lambda text: not text.lstrip().startswith("<")), CUTS)
def test_plain_text_passes_unchanged(text: str, cuts: list[int]) -> None:
    assert joined(read(text, cuts)) == (text, [])


@given(written_calls(), st.integers(min_value=0))
def test_a_cut_short_answer_gives_the_calls_that_had_begun(
    written: tuple[str, list[tuple[str, str]]], length: int
) -> None:
    text, calls = written
    _, got = joined(read(text[: length % (len(text) + 1)]))
    for (name, arguments), (whole_name, whole_arguments) in zip(got, calls, strict=False):
        assert name == whole_name
        assert whole_arguments.startswith(arguments)
    assert len(got) <= len(calls)


def test_text_is_given_out_as_soon_as_it_cannot_be_a_call() -> None:
    reader = ToolCallReader(OPEN, CLOSE)
    assert reader.feed("  <tool") == []
    assert reader.feed("box>") == [TextPiece("  <toolbox>")]
    assert reader.feed(" and <tool_call> in a sentence") == [TextPiece(" and <tool_call> in a sentence")]
    assert reader.calls == 0


def test_arguments_are_given_out_as_they_grow() -> None:
    reader = ToolCallReader(OPEN, CLOSE)
    assert reader.feed(OPEN + '{"name": "weather", "argu') == []
    assert reader.feed('ments": {"city') == [CallPiece(0, "weather"), ArgumentsPiece(0, '{"city')]
    assert reader.feed('": "Leeds"') == [ArgumentsPiece(0, '": "Leeds"')]
    assert reader.feed("}}") == [ArgumentsPiece(0, "}")]
    assert reader.feed(CLOSE) == []
    assert reader.finish() == []
    assert reader.calls == 1


def test_braces_quotes_and_close_marks_inside_strings_are_text_of_the_arguments() -> None:
    arguments = json.dumps({"a": '}}{"', "b": CLOSE, "c": "\\", "d": '\\"}', "e": [{"}": "{"}]})
    text = f'{OPEN}{{"name": "f", "arguments": {arguments}}}{CLOSE}'
    for cut in range(len(text)):
        assert joined(read(text, [cut])) == ("", [("f", arguments)])


@pytest.mark.parametrize("value", ['"text with } and \\" in it"', "5", "-1.5e3", "true", "null", "[]", "[[1], {}]"])
def test_arguments_that_are_no_object_still_end_where_they_end(value: str) -> None:
    text = f'{OPEN}{{"name": "f", "arguments": {value}}}{CLOSE}{OPEN}{{"name": "g", "arguments": {{}}}}{CLOSE}'
    for cut in range(len(text)):
        assert joined(read(text, [cut])) == ("", [("f", value), ("g", "{}")])


def test_an_open_mark_without_a_call_is_text() -> None:
    text = f"{OPEN}I would rather say this in words. " + "x" * 300
    assert joined(read(text)) == (text, [])
    assert joined(read(text[:40])) == (text[:40], []), "also when it is too short to be sure before the end"


def test_a_name_that_no_tool_can_have_is_text() -> None:
    text = f'{OPEN}{{"name": "rm -rf", "arguments": {{}}}}{CLOSE}'
    assert joined(read(text)) == (text, [])


def test_words_after_a_call_are_kept() -> None:
    text = f'{OPEN}{{"name": "f", "arguments": {{}}}}{CLOSE}\nDone.'
    assert joined(read(text)) == ("\nDone.", [("f", "{}")])


def test_white_space_around_calls_is_not_text() -> None:
    one = f'{OPEN}{{"name": "f", "arguments": {{}}}}{CLOSE}'
    assert joined(read(f"\n {one}\n\n{one} \n")) == ("", [("f", "{}"), ("f", "{}")])


def test_other_marks_work_as_well() -> None:
    reader = ToolCallReader("[[", "]]")
    pieces = reader.feed('[[{"name":"f","arguments":{"a":[[1]]}}]]')
    assert joined(pieces + reader.finish()) == ("", [("f", '{"a":[[1]]}')])
