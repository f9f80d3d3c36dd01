"""A head that is known: what is taken without llhttp is what llhttp would have found."""

from __future__ import annotations

import httptools
from hypothesis import given
from hypothesis import strategies as st

from engine_harness import Taken
from fastness.gateway.http.answer_head import AnswerMemory

HEAD = b"HTTP/1.1 200 OK\r\nServer: llama.cpp\r\nContent-Length: %d\r\nKeep-Alive: timeout=5\r\n\r\n"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nwhole\r\n0\r\n\r\n"


def answer(body: bytes, head: bytes = HEAD) -> bytes:
    return head % len(body) + body


class Judge(Taken):
    """What llhttp finds in bytes: `messages`, each with its status, body, and whether the connection may go on."""

    def __init__(self) -> None:
        self.messages: list[tuple[int, bytes, bool]] = []
        self._body = b""
        self._parser = httptools.HttpResponseParser(self)

    def read(self, data: bytes) -> list[tuple[int, bytes, bool]] | None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            return None
        return self.messages

    def on_message_begin(self) -> None:
        self._body = b""

    def on_body(self, data: bytes) -> None:
        self._body += data

    def on_message_complete(self) -> None:
        self.messages.append((self._parser.get_status_code(), self._body, self._parser.should_keep_alive()))


@st.composite
def alike(draw: st.DrawFn) -> bytes:
    """An answer much like the one that was learnt."""
    wire = bytearray(answer(draw(st.binary(max_size=30)), draw(st.sampled_from([HEAD, HEAD.lower(), HEAD + b"\r\n"]))))
    for _ in range(draw(st.integers(0, 3))):
        at = draw(st.integers(0, len(wire)))
        wire[at : at + draw(st.integers(0, 3))] = draw(st.binary(max_size=3) | st.sampled_from([b"0", b"1", b"\r\n"]))
    return bytes(wire)


@given(st.binary(max_size=40), st.lists(alike(), max_size=5))
def test_what_is_taken_is_what_llhttp_finds(learnt: bytes, answers: list[bytes]) -> None:
    memory = AnswerMemory()
    memory.learn(answer(learnt))
    for wire in [answer(b"other"), *answers]:
        body = memory.body_of(wire)
        if body is not None:
            assert Judge().read(wire) == [(200, body, True)]
    assert memory.body_of(answer(b"other")) == b"other"


def test_nothing_is_known_before_it_was_seen() -> None:
    assert AnswerMemory().body_of(answer(b"whole")) is None


def test_an_answer_in_chunks_is_not_remembered() -> None:
    memory = AnswerMemory()
    memory.learn(CHUNKED)
    assert memory.body_of(CHUNKED) is None


def test_an_answer_with_too_little_or_too_much_behind_it_is_for_llhttp() -> None:
    memory = AnswerMemory()
    memory.learn(answer(b"whole"))
    assert memory.body_of(answer(b"whole")[:-1]) is None
    assert memory.body_of(answer(b"whole") + b"H") is None
    assert memory.body_of(answer(b"")) == b""
