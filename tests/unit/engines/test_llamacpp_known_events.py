"""An event whose end is known is read without a decoder of events, and means the same."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from fastness.core.request import Delta
from fastness.engines.llamacpp import dialect as module
from fastness.engines.llamacpp.dialect import LlamaCppDialect
from fastness.engines.port import EngineError

BEFORE = '{"choices":[{"finish_reason":null,"index":0,"delta":{"content":'
ENDS = (
    '}}],"created":1795372281,"id":"chatcmpl-1","model":"m","object":"chat.completion.chunk"}',
    '}}],"created":1795372282,"id":"chatcmpl-2","model":"m","object":"chat.completion.chunk"}',
    '}}],"error":{"message":"no","code":500}}',
    '}}],"usage":{"prompt_tokens":1}}',
    '}}],"choices":[{"delta":{"content":"another"}}]}',
    '}}],"choices":[]}',
    "}}],",
    '}}],"a":1}}',
    '}}],"logprobs":{"content":[]}}',
)
TEXTS = st.text() | st.sampled_from(["", "}}],", '"}}],', "\\", "\\\\", "é", "\u2028", "a\n"])


@st.composite
def events(draw: st.DrawFn) -> bytes:
    """An event as the engine writes it, or one with something else in the place of its text, or hurt."""
    text = draw(TEXTS.map(msgspec.json.encode) | st.sampled_from([b"null", b"1", b"[]", b'"a" ', b'"\x01"', b'"\xff"']))
    wire = bytearray(BEFORE.encode() + text + draw(st.sampled_from(ENDS)).encode())
    for _ in range(draw(st.sampled_from([0, 0, 0, 1, 3]))):
        at = draw(st.integers(0, len(wire)))
        wire[at : at + draw(st.integers(0, 2))] = draw(st.binary(max_size=2) | st.sampled_from([b'"', b"\\", b"}"]))
    return bytes(wire)


def reading(dialect: LlamaCppDialect) -> Callable[[bytes], Delta | None]:
    """Read events as a stream is read: as text where that is all, else whole."""

    def read(event: bytes) -> Delta | None:
        text = dialect.text(event)
        if text is None:
            return dialect.delta(event)
        return Delta(text) if text else None

    return read


def outcome(read: Callable[[bytes], Delta | None], event: bytes) -> object:
    try:
        return read(event)
    except EngineError as error:
        return error.status, error.message
    except ValueError:
        return ValueError


@given(st.lists(events(), max_size=12))
def test_known_or_not_an_event_means_the_same(wires: list[bytes]) -> None:
    knowing = LlamaCppDialect()
    for wire in wires:
        for _ in range(2):
            unknowing = LlamaCppDialect()
            assert outcome(reading(knowing), wire) == outcome(unknowing.delta, wire)


PLAIN = st.text().filter(lambda text: "}}]," not in text)
"""Text that looks like the end of an event is left to the decoder."""


@given(PLAIN, PLAIN)
def test_the_second_event_of_a_stream_is_known(first: str, second: str) -> None:
    knowing = LlamaCppDialect()
    for known, text in enumerate((first or "a", second)):
        wire = (BEFORE + msgspec.json.encode(text).decode() + ENDS[0]).encode()
        assert knowing.text(wire) == (text if known else None)
        assert knowing.delta(wire) == (Delta(text) if text else None)
    assert len(knowing._ends) == 1


def test_no_more_ends_are_kept_than_ends_max(monkeypatch) -> None:
    monkeypatch.setattr(module, "ENDS_MAX", 3)
    knowing = LlamaCppDialect()
    for number in range(20):
        wire = f'{BEFORE}"a"}}}}],"created":{number}}}'
        assert reading(knowing)(wire.encode()) == Delta("a")
        assert 1 <= len(knowing._ends) <= 3
