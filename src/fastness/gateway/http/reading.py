"""Requests out of a connection's bytes: framing and its bounds. Pure: no socket, no clock."""

from __future__ import annotations

from fastness.config import GatewaySettings
from fastness.core.error import Refusal
from fastness.gateway.http.chunked import ChunkedBody
from fastness.gateway.http.head import HEAD_END, HeadMemory, RequestHead, malformed


class RequestReader:
    """The requests of one connection, one at a time.

    `feed` bytes until it returns True: then `head` and `body` are the request. `next` forgets them; bytes that came
    after them are in `waiting`, and `feed(b"")` looks at those. After a Refusal the connection has to end.
    """

    __slots__ = ("_chunks", "_limits", "_memory", "_missing", "_pieces", "_received", "body", "head", "waiting")

    def __init__(self, limits: GatewaySettings) -> None:
        self._limits = limits
        self._memory = HeadMemory(limits.headers_max, limits.body_bytes_max, limits.upload_bytes_max)
        self.waiting = bytearray()
        self._pieces: list[bytes] = []
        self._received = 0
        self._missing = 0
        self._chunks: ChunkedBody | None = None
        self.head: RequestHead | None = None
        self.body = b""

    def next(self) -> None:
        """Forget the request that was read whole."""
        self.head = None
        self.body = b""

    def clear(self) -> None:
        """Forget everything: the connection is ending."""
        self.next()
        self.waiting.clear()
        self._pieces.clear()
        self._received = self._missing = 0
        self._chunks = None

    @property
    def held_bytes(self) -> int:
        """Bytes kept for a request that is not whole yet, or that has to wait for its turn."""
        chunks = self._chunks.held_bytes if self._chunks is not None else 0
        return len(self.waiting) + self._received + chunks

    def hold(self, data: bytes) -> None:
        """Keep bytes that came while a request is being answered."""
        self.waiting += data

    def feed(self, data: bytes) -> bool:
        """Take bytes; return whether a request is whole. Raises Refusal."""
        if self.head is not None:
            return self._feed_body(data)
        source: bytes | bytearray = data
        if self.waiting:
            self.waiting += data
            source = self.waiting
        memory = self._memory
        end = memory.recall(source)
        if end:
            head = memory.head
        else:
            end = source.find(HEAD_END) + len(HEAD_END)
            if end < len(HEAD_END):
                self._check_begun_head(source)
                if source is data:
                    self.waiting += data
                return False
            if end > self._limits.header_bytes_max:
                raise self._head_too_large()
            head = memory.read(bytes(source[:end]))
        self.head = head
        total = end + head.length
        if head.chunked or len(source) < total:
            rest = bytes(source[end:])
            self.waiting.clear()
            return self._begin_body(head, rest)
        self.body = bytes(source[end:total])
        if source is self.waiting:
            del self.waiting[:total]
        elif len(data) > total:
            self.waiting += data[total:]
        return True

    def _begin_body(self, head: RequestHead, rest: bytes) -> bool:
        if head.chunked:
            self._chunks = ChunkedBody(head.body_bytes_max)
        else:
            self._missing = head.length
        return self._feed_body(rest)

    def _feed_body(self, data: bytes) -> bool:
        chunks = self._chunks
        if chunks is not None:
            after = chunks.feed(data)
            if after is None:
                return False
            self.body = bytes(chunks.body)
            self._chunks = None
            self.waiting += after
            return True
        size = len(data)
        if size < self._missing:
            self._missing -= size
            self._received += size
            self._pieces.append(data)
            if len(self._pieces) > 64 + (self._received >> 10):  # byte-sized pieces would cost fifty times their size
                self._pieces = [b"".join(self._pieces)]
            return False
        self._pieces.append(data[: self._missing])
        self.waiting += data[self._missing :]
        self.body = b"".join(self._pieces)
        self._pieces.clear()
        self._received = self._missing = 0
        return True

    def _check_begun_head(self, begun: bytes | bytearray) -> None:
        if len(begun) > self._limits.header_bytes_max:
            raise self._head_too_large()
        if begun and not begun[:1].isupper():
            raise malformed("it does not begin with a method in capital letters (is this TLS on a plain-text port?)")
        if begun.count(b"\n") != begun.count(b"\r\n"):
            raise malformed("lines end in CRLF, not in LF alone")

    def _head_too_large(self) -> Refusal:
        most = self._limits.header_bytes_max
        return Refusal("headers_too_large", f"The request line and headers exceed {most} bytes; send fewer or shorter.")
