"""Anything may come: the server never fails, never answers twice, never keeps what it need not, never hangs."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from itertools import count
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastness.config import GatewaySettings
from fastness.gateway.http import Exchange, HttpServer
from fastness.gateway.http.connection import Connection
from http_harness import error_body, read_responses, run, serving, talking
from test_http_reading import FRAGMENTS, GARBAGE, requests

LIMITS = replace(GatewaySettings(), header_bytes_max=1_024, headers_max=16, body_bytes_max=5_000, connections_max=4)


class Wire:
    """A transport that remembers, and is as strict as the real one."""

    def __init__(self) -> None:
        self.sent = b""
        self.reading = True
        self.ended = False
        self.aborted = False

    def write(self, data: bytes) -> None:
        assert not self.ended
        self.sent += data

    def writelines(self, parts: Any) -> None:
        self.write(b"".join(parts))

    def write_eof(self) -> None:
        self.ended = True

    def close(self) -> None:
        self.ended = True

    def abort(self) -> None:
        self.ended = self.aborted = True

    def can_write_eof(self) -> bool:
        return True

    def is_closing(self) -> bool:
        return self.ended

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True

    def get_write_buffer_size(self) -> int:
        return 0

    def set_write_buffer_limits(self, high: int) -> None:
        assert high

    def get_extra_info(self, _: str) -> Any:
        return ("127.0.0.1", 1)


class Driven:
    """A connection without a network, whose handler answers in the way each request's path asks for."""

    def __init__(self, style: str) -> None:
        numbers = count(1)
        self.style = style
        self.asked: list[Exchange] = []
        self.server = HttpServer(
            self.handler, LIMITS, new_request_id=lambda: f"req-{next(numbers)}", error_body=error_body
        )
        self.wire = Wire()
        self.connection = Connection(self.server)
        self.connection.connection_made(self.wire)  # type: ignore[arg-type]

    def handler(self, exchange: Exchange) -> None:
        self.asked.append(exchange)
        if self.style == "at once":
            self.answer(exchange)

    def answer(self, exchange: Exchange) -> None:
        number = len(self.asked)
        if number % 3:
            exchange.respond(200, b"", b"%d" % number)
        else:
            exchange.start(200, b"")
            exchange.send(b"%d" % number)
            exchange.finish()

    async def feed(self, pieces: list[bytes]) -> None:
        for piece in pieces:
            if self.wire.reading and not self.wire.aborted:
                self.connection.data_received(piece)
            await asyncio.sleep(0)
            if self.style == "later" and self.asked and not self.asked[-1].closed:
                self.answer(self.asked[-1])
            assert self.server.held_bytes <= 20_000
        while self.style == "later" and self.asked and not self.asked[-1].closed:
            self.answer(self.asked[-1])
            await asyncio.sleep(0)

    def check(self) -> None:
        if not any(exchange.method == "HEAD" for exchange in self.asked):  # those have a length without a body
            answers = read_responses(self.wire.sent)
            refusals = [answer for answer in answers if answer.status != 200]
            assert len(answers) - len(refusals) == len(self.asked), "not one answer for one request"
            assert answers[-1:] == refusals or not refusals, "something followed a refusal"
            assert not refusals or self.wire.ended
            assert not refusals or self.server.held_bytes == 0
        self.connection.connection_lost(None)
        assert self.server.connections == 0
        assert self.server.held_bytes == 0


PIECES = st.lists(GARBAGE | st.sampled_from(FRAGMENTS) | requests().map(lambda case: case[0]), max_size=8)


@pytest.mark.slow
@given(PIECES, st.sampled_from(["at once", "later"]), st.integers(1, 600))
@settings(max_examples=400, deadline=None)
def test_no_bytes_break_a_connection(pieces, style, size):
    async def main() -> None:
        driven = Driven(style)
        wire = b"".join(pieces)
        await driven.feed([wire[at : at + size] for at in range(0, len(wire), size)])
        driven.check()

    run(main, stock_loop=True)


@given(PIECES)
@settings(max_examples=60, deadline=None)
def test_no_bytes_break_a_real_connection_and_none_hangs(pieces):
    async def main() -> None:
        answered: list[str] = []

        def handler(exchange: Exchange) -> None:
            answered.append(exchange.request_id)
            exchange.respond(204, b"", b"")

        short = {"header_timeout_s": 0.05, "body_timeout_s": 0.05, "idle_timeout_s": 0.05}
        async with serving(handler, **short) as (_, port), talking(port) as talk:
            for piece in pieces:
                talk.send(piece)
                await asyncio.sleep(0)
            ids = [line for line in (await talk.to_end()).split(b"\r\n") if line.startswith(b"x-request-id: ")]
            assert len(ids) == len(set(ids))
            assert len(answered) <= len(ids) <= len(answered) + 1

    run(main)
