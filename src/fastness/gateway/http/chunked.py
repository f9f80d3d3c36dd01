"""Chunked request bodies, read strictly: pure, bounded, one pass."""

from __future__ import annotations

import re
from typing import Final

from fastness.core.error import Refusal
from fastness.gateway.http.head import malformed

CHUNK_LINE_BYTES_MAX: Final = 256
"""A chunk's size with its extensions, which are read over."""
TRAILER_BYTES_MAX: Final = 4_096
"""All trailers together; they are read over."""
FRAMING_BYTES_MAX: Final = 65_536
"""Framing allowed beyond one byte of it for each byte of body: a million one-byte chunks are an attack on our time."""

_TOKEN: Final = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
_TEXT: Final = rb"[\t -~\x80-\xff]*"
_QUOTED: Final = rb'"(?:[\t !#-\[\]-~\x80-\xff]|\\[\t -~])*"'
_EXTENSIONS: Final = rb"(?:;%b(?:=(?:%b|%b))?)*" % (_TOKEN, _TOKEN, _QUOTED)
_SIZE: Final = rb"([0-9A-Fa-f]{1,8})%b\r\n" % _EXTENSIONS
_SIZE_BEGUN: Final = rb"[0-9A-Fa-f]{0,8}(?:;%b)?\r?" % _TEXT
_FIRST: Final = re.compile(_SIZE)
_NEXT: Final = re.compile(rb"\r\n" + _SIZE)
_FIRST_BEGUN: Final = re.compile(_SIZE_BEGUN)
_NEXT_BEGUN: Final = re.compile(rb"(?:\r(?:\n%b)?)?" % _SIZE_BEGUN)
_TRAILERS: Final = re.compile(rb"(?:%b:%b\r\n)*\r\n" % (_TOKEN, _TEXT))
_TRAILERS_BEGUN: Final = re.compile(rb"(?:%b:%b\r\n)*%b\r?" % (_TOKEN, _TEXT, _TEXT))


class ChunkedBody:
    """One chunked body as it arrives; `body` grows up to `bytes_max` bytes."""

    __slots__ = ("_bytes_max", "_framing_bytes", "_last", "_missing", "_started", "_unread", "body")

    def __init__(self, bytes_max: int) -> None:
        self.body = bytearray()
        self._bytes_max = bytes_max
        self._framing_bytes = 0
        self._missing = 0
        self._unread = b""
        self._started = False
        self._last = False

    @property
    def held_bytes(self) -> int:
        """What is in memory for this body."""
        return len(self.body) + len(self._unread)

    def feed(self, arrived: bytes) -> bytes | None:
        """Take bytes; return those that follow the whole body, or None while it is not whole. Raises Refusal."""
        data = self._unread + arrived
        at = 0
        while not self._last:
            if self._missing:
                piece = data[at : at + self._missing]
                self.body += piece
                at += len(piece)
                self._missing -= len(piece)
                if self._missing:
                    self._unread = b""
                    return None
            match = (_NEXT if self._started else _FIRST).match(data, at)
            if match is None:
                self._wait_for_line(data[at:])
                return None
            self._begin_chunk(int(match[1], 16), match.end() - at)
            at = match.end()
        return self._read_trailers(data[at:])

    def _begin_chunk(self, size: int, line_bytes: int) -> None:
        if line_bytes > CHUNK_LINE_BYTES_MAX:
            raise malformed(f"a chunk's extensions exceed {CHUNK_LINE_BYTES_MAX} bytes")
        self._framing_bytes += line_bytes
        if self._framing_bytes > FRAMING_BYTES_MAX + len(self.body):
            raise malformed("the chunk framing outweighs the body; send larger chunks")
        if len(self.body) + size > self._bytes_max:
            raise Refusal("body_too_large", f"The chunks exceed {self._bytes_max} bytes, the most that is taken.")
        self._missing = size
        self._started = True
        self._last = size == 0

    def _wait_for_line(self, rest: bytes) -> None:
        if len(rest) > CHUNK_LINE_BYTES_MAX:
            raise malformed(f"a chunk's size and extensions exceed {CHUNK_LINE_BYTES_MAX} bytes")
        if (_NEXT_BEGUN if self._started else _FIRST_BEGUN).fullmatch(rest) is None:
            raise malformed("a chunk's size is not a hexadecimal number of at most 8 digits on a line of its own")
        self._unread = rest

    def _read_trailers(self, rest: bytes) -> bytes | None:
        match = _TRAILERS.match(rest[:TRAILER_BYTES_MAX])
        if match is not None:
            return rest[match.end() :]
        if len(rest) >= TRAILER_BYTES_MAX:
            raise Refusal("headers_too_large", f"The trailers exceed {TRAILER_BYTES_MAX} bytes.")
        if _TRAILERS_BEGUN.fullmatch(rest) is None:
            raise malformed("the trailers after the last chunk are not headers")
        self._unread = rest
        return None
