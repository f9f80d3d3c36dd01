"""One connection to an engine: a request out, an answer in, checked by llhttp and our bounds."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final, cast

import httptools

from fastness.gateway.http.answer_head import AnswerMemory
from fastness.gateway.http.errors import EngineBroken, EngineLost
from fastness.gateway.http.wire import LARGE_BYTES

if TYPE_CHECKING:
    from fastness.gateway.http.client import EngineConnections
    from fastness.gateway.http.engine_stream import EngineStream

HEAD_BYTES_MAX: Final = 65_536
"""The head of an engine's answer."""
FRAMING_BYTES_MAX: Final = 65_536
"""Chunk framing, extensions and trailers of an answer, beyond eight bytes for each byte of body."""


_NOT_TAKEN: Final = "the engine's answer could not be taken"


class EngineConnection(asyncio.Protocol):
    """Our side of one connection to an engine: at most one call at a time."""

    __slots__ = (
        "_body_bytes",
        "_call",
        "_complete",
        "_fed_bytes",
        "_headed",
        "_keep_alive",
        "_memory",
        "_parser",
        "_pieces",
        "_pool",
        "_surplus",
        "_transport",
        "idle",
        "idle_since",
        "used",
    )

    def __init__(self, pool: EngineConnections, idle: list[EngineConnection]) -> None:
        self._pool = pool
        self._parser = httptools.HttpResponseParser(self)
        self._transport: asyncio.Transport
        self._call: EngineStream | None = None
        self._fed_bytes = 0
        self._body_bytes = 0
        self._headed = False
        self._complete = False
        self._surplus = False
        self._keep_alive = False
        self._memory = AnswerMemory()
        self._pieces: list[bytes] = []
        self.idle = idle
        self.idle_since = 0.0
        self.used = False

    # ---- what the call and the pool tell us

    def begin(self, call: EngineStream) -> None:
        """Send the request of `call`; its answer will go to its sink."""
        self._call = call
        self._fed_bytes = self._body_bytes = 0
        self._headed = self._complete = False
        if len(call.body) < LARGE_BYTES:
            self._transport.write(call.head + call.body)
        else:
            self._transport.writelines((call.head, call.body))

    def drop(self) -> None:
        """Close at once, without a word to anybody."""
        self._call = None
        self._transport.abort()

    def pause(self, paused: bool) -> None:
        """Stop reading, or read on."""
        if not self._transport.is_closing():
            if paused:
                self._transport.pause_reading()
            else:
                self._transport.resume_reading()

    @property
    def usable(self) -> bool:
        """Whether nothing is known against using this connection again."""
        return not self._transport.is_closing()

    def lose(self, reason: str) -> None:
        """End a call that cannot be completed."""
        self._fail(EngineBroken(reason))

    # ---- what the event loop tells us

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the connection."""
        self._transport = cast("asyncio.Transport", transport)
        self._pool.opened(self)

    def data_received(self, data: bytes) -> None:
        """Take bytes of the answer."""
        call = self._call
        if call is None:
            self.drop()  # nobody asked: whatever this is, it must not become the answer of the next call
            return
        if not self._fed_bytes and (body := self._memory.body_of(data)) is not None and len(body) <= call.bytes_max:
            self._take_whole(call, data, body)
            return
        self._fed_bytes += len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            if self._deliver():
                self._fail(self._reason(error))
            return
        if self._pieces and not self._deliver():
            return
        if self._complete:
            if self._fed_bytes == len(data) and self._keep_alive and self._parser.get_status_code() == 200:
                self._memory.learn(data)
            self._finish()
        elif not self._headed and self._fed_bytes > HEAD_BYTES_MAX:
            self.lose(f"the head of the engine's answer exceeds {HEAD_BYTES_MAX} bytes")
        elif self._fed_bytes > FRAMING_BYTES_MAX + HEAD_BYTES_MAX + 9 * self._body_bytes:
            self.lose("the chunk framing of the engine's answer outweighs its body")

    def eof_received(self) -> None:
        """The engine closed."""
        self._closed()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - the event loop's signature
        """The connection is gone."""
        self._closed()
        self._pool.closed(self)
        del self._parser  # it holds our callbacks: a cycle

    # ---- what the parser tells us

    def on_message_begin(self) -> None:
        """An answer begins; a second one was not asked for."""
        self._surplus = self._complete

    def on_headers_complete(self) -> None:
        """The head is complete."""
        call = self._call
        if call is not None and not self._complete:
            status = self._parser.get_status_code()
            if not 200 <= status <= 599:
                raise EngineBroken(f"the engine answered with status {status}, which is not a final one")
            self._headed = True
            call.sink.on_head(status)

    def on_body(self, data: bytes) -> None:
        """Some of the body."""
        call = self._call
        if call is not None and not self._complete:
            self._body_bytes += len(data)
            if self._body_bytes > call.bytes_max:
                raise EngineBroken(f"the engine's answer exceeds {call.bytes_max} bytes")
            self._pieces.append(data)

    def on_message_complete(self) -> None:
        """The answer is whole."""
        if not self._complete:
            self._complete = True
            self._keep_alive = self._parser.should_keep_alive()

    # ---- our own steps

    def _deliver(self) -> bool:
        """Give what one read brought of the body, in one piece; tell whether it was taken."""
        call, pieces = self._call, self._pieces
        if not pieces:
            return True
        data = pieces.pop() if len(pieces) == 1 else b"".join(pieces)
        pieces.clear()
        try:
            if call is not None:
                call.sink.on_data(data)
        except Exception as error:  # noqa: BLE001 - the sink is a stranger here
            self._report(error)
            self._fail(EngineBroken(_NOT_TAKEN))
            return False
        return True

    def _take_whole(self, call: EngineStream, data: bytes, body: bytes) -> None:
        """Take an answer that came in one piece, with the head that this connection has seen before."""
        self._fed_bytes = len(data)
        try:
            call.sink.on_head(200)
            if body:
                call.sink.on_data(body)
        except Exception as error:  # noqa: BLE001 - the sink is a stranger here
            self._report(error)
            self._fail(EngineBroken(_NOT_TAKEN))
            return
        self._headed = self._complete = self._keep_alive = True
        self._finish()

    def _finish(self) -> None:
        call = self._call
        if call is None:
            return
        self._call = None
        call.detach()
        clean = not self._surplus and not self._transport.get_write_buffer_size() and self.usable
        if call.reusable and self._keep_alive and clean:
            self.used = True
            if call.paused:
                self._transport.resume_reading()
            self._pool.give_back(self, call.socket)
        else:
            self._transport.abort()
        try:
            call.end()
        except Exception as error:  # noqa: BLE001 - the sink is a stranger here
            self._report(error)

    def _fail(self, error: EngineLost) -> None:
        call, self._call = self._call, None
        self._transport.abort()
        if call is not None:
            call.detach()
            try:
                call.fail(error)
            except Exception as raised:  # noqa: BLE001 - the sink is a stranger here
                self._report(raised)

    def _closed(self) -> None:
        call = self._call
        if call is not None and self.used and not self._fed_bytes:
            self._call = None
            call.detach()
            self._pool.connect(call)
        elif not self._fed_bytes:
            self.lose("the engine closed the connection without an answer")
        else:
            self.lose("the engine closed the connection before its answer was whole")

    def _reason(self, error: httptools.HttpParserError) -> EngineLost:
        raised = error.__context__
        if isinstance(raised, EngineBroken):
            return raised
        if isinstance(raised, Exception):
            self._report(raised)
            return EngineBroken(_NOT_TAKEN)
        return EngineBroken(f"the engine's answer is not valid HTTP/1.1: {error}")

    def _report(self, error: Exception) -> None:
        loop = asyncio.get_running_loop()
        loop.call_exception_handler({"message": "the taker of an engine's answer raised", "exception": error})
