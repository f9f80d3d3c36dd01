from __future__ import annotations

from dataclasses import replace

import h11
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastness.config import GatewaySettings
from fastness.core.error import Refusal
from fastness.gateway.http.reading import RequestReader

LIMITS = replace(GatewaySettings(), header_bytes_max=1_024, headers_max=16, body_bytes_max=5_000)
Request = tuple[str, str, str, dict[str, str], bytes]


def read_all(wire: bytes, cuts: list[int] | None = None) -> list[Request]:
    """Feed `wire` cut at `cuts`; return the requests, and check that nothing is kept of them."""
    reader = RequestReader(LIMITS)
    found: list[Request] = []
    edges = sorted(cuts or [])
    for begin, end in zip([0, *edges], [*edges, len(wire)], strict=True):
        whole = reader.feed(wire[begin:end])
        while whole:
            head = reader.head
            assert head is not None
            found.append((head.method, head.path, head.query, dict(head.headers), reader.body))
            reader.next()
            whole = reader.feed(b"") if reader.waiting else False
    assert reader.held_bytes <= len(wire)
    reader.clear()
    assert reader.held_bytes == 0
    return found


NAMES = st.sampled_from(["X-A", "x-b", "Accept", "User-Agent", "X_C", "Authorization"])
VALUES = st.text(st.characters(min_codepoint=33, max_codepoint=126), max_size=20)


@st.composite
def requests(draw: st.DrawFn) -> tuple[bytes, Request]:
    method = draw(st.sampled_from(["GET", "POST", "PUT", "DELETE", "HEAD", "OPTIONS"]))
    path = "/" + draw(st.text("abcXYZ019-._~/%", max_size=20))
    query = draw(st.text("abc=&%?/", max_size=10))
    headers = draw(st.dictionaries(NAMES, VALUES, max_size=4))
    body = draw(st.binary(max_size=400))
    lines = [f"{name}: {value}" for name, value in headers.items()]
    chunked = draw(st.booleans())
    wire_body = body
    if chunked:
        lines.append("Transfer-Encoding: chunked")
        edge = draw(st.integers(0, len(body)))
        pieces = [piece for piece in (body[:edge], body[edge:]) if piece]
        wire_body = b"".join(b"%X\r\n%b\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"
    elif body or method in ("POST", "PUT"):
        lines.append(f"content-length: {len(body)}")
    lines.insert(draw(st.integers(0, len(lines))), "Host: a")
    target = path + ("?" + query if query else "")
    wire = "\r\n".join((f"{method} {target} HTTP/1.1", *lines, "", "")).encode() + wire_body
    seen = {name.lower(): value for name, value in headers.items()} | {"host": "a"}
    return wire, (method, path, query, seen, body)


@given(requests())
@settings(max_examples=40, deadline=None)
def test_a_request_is_the_same_wherever_it_is_cut(case):
    wire, expected = case
    for cut in range(len(wire) + 1):
        assert read_all(wire, [cut]) == [expected]
    assert read_all(wire, list(range(1, len(wire)))) == [expected]


@given(st.lists(requests(), max_size=5), st.data())
def test_pipelined_requests_come_out_in_order_however_they_are_cut(cases, data):
    wire = b"".join(wire for wire, _ in cases)
    cuts = data.draw(st.lists(st.integers(0, len(wire)), max_size=10))
    assert read_all(wire, cuts) == [expected for _, expected in cases]


def h11_reads(wire: bytes) -> Request:
    connection = h11.Connection(h11.SERVER)
    connection.receive_data(wire)
    request = connection.next_event()
    assert isinstance(request, h11.Request)
    body = b""
    while not isinstance(event := connection.next_event(), h11.EndOfMessage):
        assert isinstance(event, h11.Data), "h11 wants more than we took"
        body += bytes(event.data)
    target = request.target.decode("ascii")
    path, _, query = target.partition("?")
    names = [name.decode() for name, _ in request.headers]
    headers = {
        name.decode(): value.decode("latin-1")
        for name, value in request.headers
        if names.count(name.decode()) == 1 and name not in (b"content-length", b"transfer-encoding")
    }
    return request.method.decode(), path, query, headers, body


FRAGMENTS = [
    b"GET", b"POST", b"HEAD", b" ", b"/", b"/a?b", b" HTTP/1.1", b" HTTP/1.0", b"\r\n", b"\r\n\r\n", b"\n", b"\r",
    b"Host: a\r\n", b"Host:", b"Content-Length: 3\r\n", b"Content-Length: 0\r\n", b"Content-Length", b": ", b"3",
    b"Transfer-Encoding: chunked\r\n", b"Transfer-Encoding", b"chunked", b"identity", b",", b"abc", b"3\r\nabc\r\n",
    b"0\r\n\r\n", b"\x00", b"\t", b"X: y\r\n", b"Connection: close\r\n", b"Expect: 100-continue\r\n",
    b"#", b"\xff", b";",
    b"POST / HTTP/1.1\r\nHost: a\r\n", b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
]  # fmt: skip


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    wire = bytearray(draw(requests())[0])
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(wire)))
        length = draw(st.integers(0, 3))
        wire[at : at + length] = draw(st.sampled_from(FRAGMENTS) | st.binary(max_size=2))
    return bytes(wire)


GARBAGE = st.lists(st.sampled_from(FRAGMENTS), max_size=14).map(b"".join) | st.binary(max_size=200) | mutated()


@given(GARBAGE)
@settings(max_examples=500, deadline=None)
def test_what_we_take_h11_takes_too_and_reads_the_same(wire):
    reader = RequestReader(LIMITS)
    try:
        whole = reader.feed(wire)
    except Refusal:
        return
    if whole:
        head = reader.head
        assert head is not None
        mine = (head.method, head.path, head.query, dict(head.headers), reader.body)
        taken = wire[: len(wire) - len(reader.waiting)]
        assert h11_reads(taken) == mine, wire


@given(GARBAGE, st.lists(st.integers(0, 300), max_size=6))
@settings(max_examples=500, deadline=None)
def test_garbage_is_refused_or_waits_and_cuts_do_not_change_the_verdict(wire, cuts):
    def verdict(cuts: list[int]) -> object:
        try:
            return read_all(wire, [cut for cut in cuts if cut < len(wire)])
        except Refusal as refusal:
            return refusal.status // 100

    assert verdict([]) == verdict(cuts)


@pytest.mark.parametrize(
    "begun",
    [
        b"\x16\x03\x01\x02",
        b"\r\n",
        b"\n",
        b" GET",
        b"get",
        b"GET / HTTP/1.1\n",
        b"GET / HTTP/1.1\r\nHost: a\nX",
        b"\x00",
    ],
)
def test_what_cannot_become_a_request_is_refused_before_its_head_ends(begun):
    with pytest.raises(Refusal) as caught:
        RequestReader(LIMITS).feed(begun)
    assert caught.value.code == "malformed_http"


def test_a_head_without_end_is_refused_at_its_limit():
    reader = RequestReader(LIMITS)
    begun = b"GET / HTTP/1.1\r\nHost: a\r\nX: "
    assert not reader.feed(begun)
    for _ in range(LIMITS.header_bytes_max - len(begun)):
        assert not reader.feed(b"y")
    assert reader.held_bytes == LIMITS.header_bytes_max
    with pytest.raises(Refusal) as caught:
        reader.feed(b"y")
    assert caught.value.code == "headers_too_large"


def test_a_whole_head_over_the_limit_is_refused_too():
    for size in (LIMITS.header_bytes_max, 300_000):
        with pytest.raises(Refusal) as caught:
            RequestReader(LIMITS).feed(b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"y" * size + b"\r\n\r\n")
        assert caught.value.code == "headers_too_large"


def test_a_body_in_single_bytes_does_not_cost_fifty_times_its_size():
    reader = RequestReader(replace(LIMITS, body_bytes_max=200_000))
    reader.feed(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 200000\r\n\r\n")
    for _ in range(199_999):
        assert not reader.feed(b"x")
    assert len(reader._pieces) < 500
    assert reader.feed(b"xGET")
    assert reader.body == b"x" * 200_000
    assert bytes(reader.waiting) == b"GET"
