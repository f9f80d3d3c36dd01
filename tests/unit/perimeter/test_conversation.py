"""Conversations keep their connection, make it anew once, and are bounded."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from fastness.perimeter.broker_client import NotFetched
from fastness.perimeter.conversation import ANSWER_BYTES_MAX, Conversations


class Broker:
    """Connects, as the broker would, and counts."""

    def __init__(self) -> None:
        self.made = 0

    def connect(self, address) -> socket.socket:
        self.made += 1
        try:
            return socket.create_connection((address.host, address.port), timeout=5)
        except OSError as error:
            raise NotFetched(f"{address}: {error}") from error


class Server(ThreadingHTTPServer):
    daemon_threads = True
    closes = False
    answer = b"heard"

    def process_request_thread(self, request, client_address) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            request.close()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        said = self.server.answer + body
        self.send_response(201)
        self.send_header("content-length", str(len(said)))
        self.end_headers()
        self.wfile.write(said)
        if self.server.closes:  # without a word, as one that was idle for too long
            self.close_connection = True

    def log_message(self, *_) -> None:
        pass


@contextmanager
def served(**settings) -> Iterator[tuple[str, Broker, Conversations]]:
    server = Server(("127.0.0.1", 0), Handler)
    for name, value in settings.items():
        setattr(server, name, value)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    broker = Broker()
    talk = Conversations(broker, 5.0)
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/add", broker, talk
    finally:
        talk.close()
        server.shutdown()
        thread.join()
        server.server_close()


def test_many_requests_take_one_connection() -> None:
    with served() as (url, broker, talk):

        async def ask() -> None:
            answers = await asyncio.gather(*(talk.post(url, b"%d" % n) for n in range(6)))
            assert answers == [(201, b"heard%d" % n) for n in range(6)]

        asyncio.run(ask())
        assert broker.made == 1


def test_a_connection_that_ended_meanwhile_is_made_anew() -> None:
    with served(closes=True) as (url, broker, talk):

        async def ask() -> None:
            for _ in range(3):
                assert await talk.post(url, b"x") == (201, b"heardx")
                await asyncio.sleep(0.05)

        asyncio.run(ask())
        assert broker.made == 3


def test_nobody_there_an_answer_without_end_and_no_url_are_not_fetched() -> None:
    with served(answer=b"x" * (ANSWER_BYTES_MAX + 1)) as (url, _, talk):
        for bad in (url, "http://127.0.0.1:9/", "ftp://a/", "nonsense"):
            with pytest.raises(NotFetched):
                asyncio.run(talk.post(bad, b""))
