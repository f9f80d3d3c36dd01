from __future__ import annotations

import httptools
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastness.core.error import Refusal
from fastness.gateway.http import chunked
from fastness.gateway.http.chunked import ChunkedBody


def feed_bytewise(data: bytes, bytes_max: int = 10_000) -> tuple[bytes, bytes] | None:
    body = ChunkedBody(bytes_max)
    for at in range(len(data)):
        after = body.feed(data[at : at + 1])
        if after is not None:
            assert after == b""
            return bytes(body.body), data[at + 1 :]
    return None


def code(data: bytes, bytes_max: int = 10_000) -> str:
    with pytest.raises(Refusal) as at_once:
        assert ChunkedBody(bytes_max).feed(data) is not None, "incomplete"
    with pytest.raises(Refusal) as bytewise:
        assert feed_bytewise(data, bytes_max) is not None, "incomplete"
    assert at_once.value.code == bytewise.value.code
    return at_once.value.code


def framed(pieces: list[bytes], trailers: bytes = b"") -> bytes:
    return b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n" + trailers + b"\r\n"


def test_chunks_become_a_body_and_what_follows_is_returned():
    body = ChunkedBody(100)
    assert body.feed(b'3\r\nabc\r\n0A;ext="1;\\"";a;b=c\r\n0123456789\r\n000\r\nX: y\r\nZ:\r\n\r\nGET /') == b"GET /"
    assert bytes(body.body) == b"abc0123456789"


@given(st.lists(st.binary(min_size=1, max_size=300), max_size=8), st.data())
def test_it_does_not_matter_where_reads_are_cut(pieces, data):
    wire = framed(pieces) + b"NEXT"
    cuts = sorted(data.draw(st.lists(st.integers(0, len(wire)), max_size=12)))
    body = ChunkedBody(10_000)
    after = None
    for begin, end in zip([0, *cuts], [*cuts, len(wire)], strict=True):
        after = body.feed(wire[begin:end]) if after is None else after + wire[begin:end]
    assert (bytes(body.body), after) == (b"".join(pieces), b"NEXT")


@pytest.mark.parametrize(
    "wire",
    [
        b"\r\nabc\r\n0\r\n\r\n",
        b"x\r\n",
        b"0x3\r\nabc\r\n0\r\n\r\n",
        b"+3\r\nabc\r\n0\r\n\r\n",
        b"-3\r\nabc\r\n0\r\n\r\n",
        b" 3\r\nabc\r\n0\r\n\r\n",
        b"3 \r\nabc\r\n0\r\n\r\n",
        b"3\t\r\nabc\r\n0\r\n\r\n",
        b"3_0\r\nabc\r\n0\r\n\r\n",
        b"3\nabc\r\n0\r\n\r\n",
        b"3\rabc\r\n0\r\n\r\n",
        b"3\r\r\nabc\r\n0\r\n\r\n",
        b"3\r\nabcd\r\n0\r\n\r\n",
        b"3\r\nabc0\r\n\r\n",
        b"3\r\nabc\n0\r\n\r\n",
        b"3\r\nabc\rX0\r\n\r\n",
        b"3;\r\nabc\r\n0\r\n\r\n",
        b"3;a=\r\nabc\r\n0\r\n\r\n",
        b"3; a\r\nabc\r\n0\r\n\r\n",
        b'3;a="b\r\nabc\r\n0\r\n\r\n',
        b"3;a\x00b\r\nabc\r\n0\r\n\r\n",
        b"3;a\nb\r\nabc\r\n0\r\n\r\n",
        b"fffffffff\r\n",
        b"000000003\r\nabc\r\n0\r\n\r\n",
        b"0\r\nX : y\r\n\r\n",
        b"0\r\n folded\r\n\r\n",
        b"0\r\nno colon\r\n\r\n",
        b"0\r\nX: y\n\r\n",
        b"0\r\nX: a\x00\r\n\r\n",
        b"0\r\n\n",
        b"0\n\r\n",
        b"GET / HTTP/1.1\r\n\r\n",
    ],
)
def test_bad_framing_is_refused_whether_it_comes_at_once_or_in_bytes(wire):
    assert code(wire) == "malformed_http"


def test_extensions_are_bounded():
    room = chunked.CHUNK_LINE_BYTES_MAX - len(b"3;\r\n")
    assert feed_bytewise(b"3;" + b"e" * room + b"\r\nabc\r\n0\r\n\r\n") == (b"abc", b"")
    assert code(b"3;" + b"e" * (room + 1) + b"\r\nabc\r\n0\r\n\r\n") == "malformed_http"
    assert code(b"3;" + b"e" * 10_000) == "malformed_http"


def test_trailers_are_bounded():
    assert feed_bytewise(b"0\r\nX: " + b"y" * 4_000 + b"\r\n\r\n") == (b"", b"")
    assert code(b"0\r\nX: " + b"y" * 5_000 + b"\r\n\r\n") == "headers_too_large"
    assert code(b"0\r\n" + b"X: y\r\n" * 1_000 + b"\r\n") == "headers_too_large"


def test_the_body_is_bounded_as_soon_as_a_chunk_announces_too_much():
    assert code(b"64\r\n", bytes_max=99) == "body_too_large"
    assert code(framed([b"a" * 60, b"b" * 40]), bytes_max=99) == "body_too_large"
    assert feed_bytewise(framed([b"a" * 60, b"b" * 39]), bytes_max=99) == (b"a" * 60 + b"b" * 39, b"")


def test_a_million_tiny_chunks_are_refused():
    body = ChunkedBody(10_000_000)
    for _ in range(13):
        assert body.feed(b"1\r\nx\r\n" * 1_000) is None
    with pytest.raises(Refusal) as caught:
        body.feed(b"1\r\nx\r\n" * 10_000)
    assert caught.value.code == "malformed_http"
    assert body.held_bytes < 100_000


@given(
    st.binary(max_size=40)
    | st.lists(st.sampled_from([b"0", b"3", b"a", b"\r", b"\n", b"\r\n", b";", b" ", b"X:"]), max_size=16).map(b"".join)
)
def test_whatever_is_taken_llhttp_takes_too_and_reads_the_same(wire):
    ours = ChunkedBody(10_000)
    try:
        after = ours.feed(wire)
    except Refusal:
        return
    if after is not None:
        seen: list[bytes] = []
        ends: list[int] = []

        class Reader:
            def on_body(self, data: bytes) -> None:
                seen.append(data)

            def on_message_complete(self) -> None:
                ends.append(1)

        parser = httptools.HttpRequestParser(Reader())
        parser.feed_data(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
        parser.feed_data(wire[: len(wire) - len(after)])
        assert b"".join(seen) == bytes(ours.body)
        assert ends == [1]
