"""Two requests hidden in what another reader might take for one: each payload must end the connection."""

from __future__ import annotations

import asyncio

import pytest

from fastness.gateway.http import Exchange
from http_harness import echo, get, post, read_responses, run, serving, talking

INNER = b"GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n"
FRONT = b"POST /front HTTP/1.1\r\nHost: a\r\n"
CODINGS = [
    b"Transfer-Encoding: xchunked",
    b"Transfer-Encoding : chunked",
    b"Transfer-Encoding:\x0bchunked",
    b"Transfer-Encoding:\x0cchunked",
    b"Transfer-Encoding: chunked\x0c",
    b"Transfer-Encoding: \x00chunked",
    b"Transfer-Encoding: chunked, identity",
    b"Transfer-Encoding: identity, chunked",
    b"Transfer-Encoding: chunked, cow",
    b"Transfer-Encoding: cow, chunked",
    b"Transfer-Encoding: chunked,chunked",
    b"Transfer-Encoding: ,chunked",
    b"Transfer-Encoding: chunked,",
    b"Transfer-Encoding: 'chunked'",
    b'Transfer-Encoding: "chunked"',
    b"Transfer-Encoding: chu\xffnked",
    b"Transfer-Encoding:",
    b"Transfer-Encoding: identity",
    b"Transfer-Encoding: gzip",
    b"Transfer_Encoding: chunked\r\nTransfer-Encoding: cow",
    b"Transfer-Encoding: chunked\r\nTransfer-Encoding: cow",
    b"Transfer-Encoding: cow\r\nTransfer-Encoding: chunked",
    b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
    b"Transfer-Encoding:\r\n chunked",
    b"Transfer-Encoding: chunked\r\n cow",
    b"X: y\rTransfer-Encoding: chunked",
    b"X: y\nTransfer-Encoding: chunked",
    b"X: y\r\r\nTransfer-Encoding: chunked",
    b" Transfer-Encoding: chunked",
    b"\tTransfer-Encoding: chunked",
    b"Transfer\xad-Encoding: chunked",
    b"Transfer-Encoding\x00: chunked",
    b"Transfer-Encoding\t: chunked",
    b"\x00Transfer-Encoding: chunked",
]
LENGTHS = [
    b"Content-Length: 5\r\nContent-Length: 0",
    b"Content-Length: 5\r\nContent-length: 5",
    b"Content-Length: 5, 0",
    b"Content-Length: 5,5",
    b"Content-Length: +5",
    b"Content-Length: -5",
    b"Content-Length: 5e0",
    b"Content-Length: 0x5",
    b"Content-Length: 5;",
    b"Content-Length: 5 5",
    b"Content-Length: \xb25",
    b"Content-Length: '5'",
    b"Content-Length:",
    b"Content-Length: ",
    b"Content-Length : 5",
    b"Content-Length\x00: 5",
    b"Content-Length:\r\n 5",
    b"Content-Length: 5\r\n 0",
    b"Content-Length: 5\nX: y",
    b"Content-Length: 5\rX: y",
    b"Content-Length: 18446744073709551621",
    b"X: y\nContent-Length: 5",
]
PAYLOADS = {
    "both, length first": FRONT + b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + INNER,
    "both, coding first": FRONT + b"Transfer-Encoding: chunked\r\nContent-Length: 40\r\n\r\n0\r\n\r\n" + INNER,
    "coding in HTTP/1.0": b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + INNER,
    "no length at all": FRONT + b"\r\n" + INNER,
    "bare LF ends the head": FRONT.replace(b"\r\n", b"\n") + b"\n" + INNER,
    "bare LF ends one line": b"GET /front HTTP/1.1\nHost: a\r\n\r\n" + INNER,
    "bare CR ends one line": b"GET /front HTTP/1.1\rHost: a\r\n\r\n" + INNER,
    "bare CR ends the head": b"GET /front HTTP/1.1\r\nHost: a\r\r\n" + INNER,
    "NUL in the target": b"GET /\x00 HTTP/1.1\r\nHost: a\r\n\r\n" + INNER,
    "space in the target": b"GET / x HTTP/1.1\r\nHost: a\r\n\r\n" + INNER,
    "line in the target": b"GET /\r\nHost: b HTTP/1.1\r\nHost: a\r\n\r\n" + INNER,
    "absolute target": b"GET http://b/ HTTP/1.1\r\nHost: a\r\n\r\n" + INNER,
    "HTTP/0.9": b"GET /front\r\n\r\n" + INNER,
    "two hosts": b"GET /front HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n" + INNER,
    "no host": b"GET /front HTTP/1.1\r\n\r\n" + INNER,
    "host with a path": b"GET /front HTTP/1.1\r\nHost: a/../b\r\n\r\n" + INNER,
    "folded host": b"GET /front HTTP/1.1\r\nHost: a\r\n b\r\n\r\n" + INNER,
    "leading empty line": b"\r\n" + INNER,
    "h2c upgrade": b"GET /front HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n"
    b"HTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA\r\n\r\n" + INNER,
    "tunnel": b"CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n" + INNER,
    "HTTP/2 preface": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + INNER,
    "expectation": FRONT + b"Content-Length: 5\r\nExpect: 100-continue, tea\r\n\r\nabcde" + INNER,
}
PAYLOADS |= {repr(line): FRONT + line + b"\r\n\r\n0\r\n\r\n" + INNER for line in CODINGS}
PAYLOADS |= {
    f"{line!r} and a length": FRONT + b"Content-Length: 5\r\n" + line + b"\r\n\r\n0\r\n\r\n" + INNER for line in CODINGS
}
PAYLOADS |= {repr(line): FRONT + line + b"\r\n\r\nabcde" + INNER for line in LENGTHS}
CHUNKED = FRONT + b"Transfer-Encoding: chunked\r\n\r\n"
BODIES = [
    b"0x0\r\n\r\n",
    b" 0\r\n\r\n",
    b"0 \r\n\r\n",
    b"0\n\r\n",
    b"0\r\n\n",
    b"0\r\r\n\r\n",
    b"-0\r\n\r\n",
    b"+0\r\n\r\n",
    b"\r\n0\r\n\r\n",
    b"5\r\nabcde0\r\n\r\n",
    b"5\r\nabcdef\r\n0\r\n\r\n",
    b"5\r\nabcde\n0\r\n\r\n",
    b"5\r\nabcde\rx0\r\n\r\n",
    b"5;\n\r\nabcde\r\n0\r\n\r\n",
    b"5;a\rb\r\nabcde\r\n0\r\n\r\n",
    b"100000005\r\nabcde\r\n0\r\n\r\n",
    b"fffffffffffffff5\r\nabcde\r\n0\r\n\r\n",
    b"0\r\nX : y\r\n\r\n",
    b"0\r\nX: y\n\r\n",
    b"0\r\n: y\r\n\r\n",
    b"0\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
]
PAYLOADS |= {repr(body): CHUNKED + body + INNER for body in BODIES}


def test_each_payload_gets_one_refusal_reaches_no_handler_and_ends_the_connection():
    async def one(port: int, name: str, wire: bytes) -> None:
        for cut in (len(wire), len(wire) // 2, len(wire) - len(INNER)):
            async with talking(port) as talk:
                talk.send(wire[:cut])
                await asyncio.sleep(0.001)
                talk.send(wire[cut:])
                answers = read_responses(await talk.to_end())
                assert len(answers) == 1, (name, answers)
                assert answers[0].status in (400, 411, 417, 505), (name, answers)
                assert answers[0].headers["connection"] == "close", name

    async def main() -> None:
        called: list[Exchange] = []
        async with serving(called.append) as (_, port):
            for name, wire in PAYLOADS.items():
                await one(port, name, wire)
                assert not called, name

    run(main)


def test_a_payload_behind_an_honest_request_cannot_use_its_connection():
    async def main() -> None:
        paths: list[str] = []

        def handler(exchange: Exchange) -> None:
            paths.append(exchange.path)
            echo(exchange)

        async with serving(handler) as (_, port):
            for name, wire in PAYLOADS.items():
                paths.clear()
                async with talking(port) as talk:
                    talk.send(post(b"honest", "/honest") + wire)
                    answers = read_responses(await talk.to_end())
                    assert [answer.status // 100 for answer in answers] in ([2, 4], [2, 5]), (name, answers)
                    assert paths == ["/honest"], name

    run(main)


def test_the_same_requests_said_properly_are_answered():
    async def main() -> None:
        async with serving(echo) as (_, port), talking(port) as talk:
            talk.send(post(b"x" * 5) + CHUNKED + b"5\r\nabcde\r\n0\r\n\r\n" + get("/last", b"Connection: close\r\n"))
            answers = read_responses(await talk.to_end())
            assert [answer.body for answer in answers] == [b"xxxxx", b"abcde", b""]

    run(main)


@pytest.mark.parametrize("wire", [b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x00" * 40, b"\x00", b"hello\n"])
def test_other_protocols_are_told_at_once(wire):
    async def main() -> None:
        async with serving(echo) as (_, port), talking(port) as talk:
            talk.send(wire)
            (answer,) = read_responses(await talk.to_end())
            assert (answer.status, answer.code) == (400, "malformed_http")

    run(main)
