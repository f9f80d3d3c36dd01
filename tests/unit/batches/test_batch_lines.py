"""Lines of an input file, and the form that brings it: read strictly, in whatever pieces they come."""

from __future__ import annotations

import contextlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastness.batches.lines import ERRORS_MAX, BadInput, check, split
from fastness.batches.multipart import read_form
from fastness.core.error import Refusal

CHAT = "/v1/chat/completions"


def line(name: str = "a", **fields: object) -> bytes:
    body = {"model": "m", "messages": []}
    return json.dumps({"custom_id": name, "method": "POST", "url": CHAT, "body": body} | fields).encode()


def codes(content: bytes, line_bytes_max: int = 10_000, lines_max: int = 10) -> list[tuple[int | None, str]]:
    with pytest.raises(BadInput) as raised:
        check(split([content], line_bytes_max), CHAT, line_bytes_max, lines_max)
    return [(error.line, error.code) for error in raised.value.errors]


@given(st.lists(st.binary(max_size=8).map(lambda text: text.replace(b"\n", b"")), max_size=6), st.integers(1, 5))
def test_lines_are_the_same_in_whatever_pieces_they_come(texts, size):
    content = b"\n".join(texts)
    pieces = [content[at : at + size] for at in range(0, len(content), size)]
    assert list(split(pieces, 100)) == list(split([content], 100))
    assert [number for number, _ in split([content], 100)] == [at for at, one in enumerate(texts, 1) if one.strip()]


def test_a_file_of_good_lines_is_counted_with_or_without_carriage_returns_blank_lines_and_a_byte_order_mark():
    content = b"\xef\xbb\xbf" + line("a") + b"\r\n\n" + line("b") + b"\n"
    assert check(split([content], 1_000), CHAT, 1_000, 10) == 2


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (b"{", "invalid_json_line"),
        (b"\xff", "invalid_json_line"),
        (line(priority="high"), "invalid_json_line"),
        (b'{"custom_id":"a"}', "invalid_json_line"),
        (b"[" * 5_000, "invalid_json_line"),
        (line(""), "invalid_custom_id"),
        (line("a" * 513), "invalid_custom_id"),
        (line(method="GET"), "invalid_method"),
        (line(url="/v1/embeddings"), "mismatched_url"),
        (line(body=[]), "invalid_request"),
        (line(body={"messages": []}), "invalid_request"),
        (line(body={"model": "m", "stream": True}), "invalid_value"),
        (line(body={"model": "m", "text": "x" * 10_000}), "line_too_long"),
    ],
)
def test_a_line_that_cannot_be_worked_on_is_told_by_its_number_and_never_quoted(content, code):
    assert codes(line("good") + b"\n" + content) == [(2, code)]


def test_a_custom_id_twice_too_many_lines_and_an_empty_file_are_told():
    assert codes(line("a") + b"\n" + line("a")) == [(2, "duplicate_custom_id")]
    assert codes(line("a") + b"\n" + line("b"), lines_max=1) == [(None, "too_many_lines")]
    assert codes(b" \n") == [(None, "empty_file")]
    assert len(codes(b"{\n" * 1_000, lines_max=1_000)) == ERRORS_MAX


# ---- the form

TYPE = "multipart/form-data; boundary=xyz"


def part(name: str, value: bytes, filename: str | None = None) -> bytes:
    extra = b""
    if filename is not None:
        extra = b'; filename="%b"\r\nContent-Type: application/octet-stream' % filename.encode()
    return b'--xyz\r\nContent-Disposition: form-data; name="%b"%b\r\n\r\n%b\r\n' % (name.encode(), extra, value)


@given(st.binary(max_size=64).filter(lambda content: b"\r\n--xyz" not in content))
def test_a_form_gives_its_file_byte_by_byte(content):
    body = part("purpose", b"batch") + part("file", content, r"a \"b\".jsonl") + b"--xyz--\r\n"
    form = read_form(TYPE, body)
    assert (form.fields, bytes(form.content or b""), form.filename) == ({"purpose": "batch"}, content, 'a "b".jsonl')


@given(st.binary(max_size=200))
def test_any_bytes_are_a_form_or_refused(body):
    with pytest.raises(Refusal):
        read_form(TYPE, body)


@given(st.data())
def test_a_form_with_something_wrong_is_a_form_or_refused(data):
    whole = part("purpose", b"batch") + part("file", b"content", "a") + b"--xyz--\r\n"
    at = data.draw(st.integers(0, len(whole)))
    wrong = whole[:at] + data.draw(st.binary(max_size=4)) + whole[at + data.draw(st.integers(0, 4)) :]
    with contextlib.suppress(Refusal):  # and nothing else
        read_form(TYPE, wrong)


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        ("application/json", b"{}"),
        ("multipart/form-data", b""),
        ("multipart/form-data; boundary=", b"----\r\n"),
        (TYPE, part("file", b"x") + b"--xyz--"),
        (TYPE, part("file", b"x", "a") * 2 + b"--xyz--"),
        (TYPE, part("other", b"x", "a") + b"--xyz--"),
        (TYPE, part("purpose", b"x" * 2_000) + b"--xyz--"),
        (TYPE, part("purpose", b"x") * 20 + b"--xyz--"),
        (TYPE, part("file", b"x", "a")),
        (TYPE, b"preamble" + part("file", b"x", "a") + b"--xyz--"),
    ],
)
def test_a_form_that_no_client_of_ours_sends_is_refused(content_type, body):
    with pytest.raises(Refusal):
        read_form(content_type, body)
