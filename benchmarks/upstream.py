"""A deterministic stand-in for an engine: `python -m benchmarks.upstream SOCKET INTERVAL_MS [CHUNKS] [tcp]`.

It answers llama-server's chat route as that server does, byte for byte but for the ids: whole, or as a stream of
CHUNKS events INTERVAL_MS apart (0: as fast as they can be written), unless the prompt says otherwise (`pace`). Nothing
is computed, so what a run shows is the cost of what stands in front of it. Each event's text is the moment it was
written, so that a client can tell how long it was on the way.

With `tcp` it listens on a port of 127.0.0.1 as well, for gateways that know no Unix sockets, and prints it. There it
keeps its connections after a stream, which llama-server does not: it costs whoever stands in front a new one each time.
"""

from __future__ import annotations

import asyncio
import re
import resource
import sys
import time

import uvloop

CHUNKS = 128
STAMP = b"@%017.9f"
"""The text of an event: `time.monotonic()` of its writing, in seconds."""

_TAIL = (
    b'"created":1795372281,"id":"chatcmpl-5fgl83p2TpL0yxlAbOEkGOmEJNInmxlC",'
    b'"model":"/run/fastness/models/mock.gguf","system_fingerprint":"b0-unknown","object":"chat.completion.chunk"'
)
_FIRST = (
    b'data: {"choices":[{"finish_reason":null,"index":0,"delta":{"role":"assistant","content":null}}],%b}\n\n' % _TAIL
)
_EVENT = b'data: {"choices":[{"finish_reason":null,"index":0,"delta":{"content":"%b"}}],%b}\n\n'
_LAST = (
    b'data: {"choices":[{"finish_reason":"length","index":0,"delta":{}}],%b}\n\n'
    b'data: {"choices":[],%b,"usage":{"completion_tokens":%d,"prompt_tokens":500,"total_tokens":628,'
    b'"prompt_tokens_details":{"cached_tokens":24}},"timings":{"cache_n":24,"prompt_n":476,"prompt_ms":135.638,'
    b'"prompt_per_token_ms":16.95475,"prompt_per_second":58.98052168271428,"predicted_n":128,"predicted_ms":343.636,'
    b'"predicted_per_token_ms":114.54533333333335,"predicted_per_second":8.730167968431712}}\n\n'
)
_DONE = b"e\r\ndata: [DONE]\n\n\r\n0\r\n\r\n"
_ANSWER = (
    b'{"choices":[{"finish_reason":"length","index":0,"message":{"role":"assistant","content":"%b"}}],'
    b'"created":1795372282,"model":"/run/fastness/models/mock.gguf","system_fingerprint":"b0-unknown",'
    b'"object":"chat.completion","usage":{"completion_tokens":100,"prompt_tokens":500,"total_tokens":600,'
    b'"prompt_tokens_details":{"cached_tokens":31}},"id":"chatcmpl-NbRCnuITygq5PIrJ7qsNcX7BMgJaNE1T",'
    b'"timings":{"cache_n":31,"prompt_n":1,"prompt_ms":77.555,"prompt_per_token_ms":77.555,'
    b'"prompt_per_second":12.894075172458255,"predicted_n":4,"predicted_ms":328.175,'
    b'"predicted_per_token_ms":109.39166666666667,"predicted_per_second":9.141464157842613}}'
) % (b"word " * 100)
_HEAD = (
    b"HTTP/1.1 200 OK\r\nServer: llama.cpp\r\nAccess-Control-Allow-Origin: \r\n"
    b"Content-Type: %b\r\n%b\r\nKeep-Alive: timeout=5, max=100\r\n\r\n"
)
WHOLE = _HEAD % (b"application/json; charset=utf-8", b"Content-Length: %d" % len(_ANSWER)) + _ANSWER
STREAM = _HEAD % (b"text/event-stream", b"Transfer-Encoding: chunked")
_LISTED = (
    b'{"object":"list","status":"ok","data":[{"id":"mock","object":"model","created":1795372281,"owned_by":"us"}]}'
)
ASIDE = _HEAD % (b"application/json; charset=utf-8", b"Content-Length: %d" % len(_LISTED)) + _LISTED
"""Whatever else is asked: is it well, which models has it."""

_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_STREAMS = re.compile(rb'"stream": ?true')
_PACE = re.compile(rb"mock: (\d+) events, (\d+) ms apart\.")


def pace(chunks: int, interval_ms: int) -> str:
    """Begin a prompt that tells the stand-in how to stream, so that one of them serves every case."""
    return f"mock: {chunks} events, {interval_ms} ms apart. "


def framed(events: bytes) -> bytes:
    """One HTTP chunk."""
    return b"%x\r\n%b\r\n" % (len(events), events)


def event(now_s: float) -> bytes:
    """One event of a stream, stamped."""
    return _EVENT % (STAMP % now_s, _TAIL)


def last(chunks: int) -> bytes:
    """Everything after the last event with text: finish reason, usage, end mark, and the end of the body."""
    return framed(_LAST % (_TAIL, _TAIL, chunks)) + _DONE


class Upstream(asyncio.Protocol):
    """One connection. `keeps`: it may carry more after a stream; otherwise it is closed then as llama-server does."""

    def __init__(self, interval_s: float, chunks: int, *, keeps: bool = False) -> None:
        self.otherwise = interval_s, chunks
        self.keeps = keeps
        self.missing = 0
        self.body: list[bytes] = []
        self.paused = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self.transport = transport
        self.loop = asyncio.get_running_loop()

    def data_received(self, data: bytes) -> None:
        if not self.missing:
            head, _, data = data.partition(b"\r\n\r\n")
            length = _LENGTH.search(head)
            if not length or not head.startswith(b"POST "):
                self.transport.write(ASIDE)
                return
            self.missing = int(length[1])
        self.missing -= len(data)
        self.body.append(data)
        if not self.missing:
            body = b"".join(self.body)
            self.body.clear()
            if _STREAMS.search(body):
                self.stream(body)
            else:
                self.transport.write(WHOLE)

    def stream(self, body: bytes) -> None:
        told = _PACE.search(body)
        self.interval_s, self.chunks = (int(told[2]) / 1_000, int(told[1])) if told else self.otherwise
        self.sent = 0
        self.transport.write(STREAM)
        self.due = self.loop.time()
        self.tick()

    def tick(self) -> None:
        if self.transport.is_closing() or self.paused:
            return
        if self.sent == self.chunks:
            self.transport.write(last(self.chunks))
            if not self.keeps:
                self.transport.close()
            return
        events = event(time.monotonic())
        self.transport.write(framed(events if self.sent else _FIRST + events))
        self.sent += 1
        if self.interval_s:
            self.due += self.interval_s
            self.loop.call_at(self.due, self.tick)
        else:
            self.loop.call_soon(self.tick)

    def pause_writing(self) -> None:
        self.paused = True

    def resume_writing(self) -> None:
        self.paused = False
        self.loop.call_soon(self.tick)


async def serve(path: str, interval_s: float, chunks: int, *, tcp: bool) -> None:
    """Listen until killed; prints a line once it does: the port, or 0."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, max(soft, 16_384)), hard))
    loop = asyncio.get_running_loop()
    server = await loop.create_unix_server(lambda: Upstream(interval_s, chunks), path, backlog=4_096)
    port = 0
    if tcp:
        beside = await loop.create_server(
            lambda: Upstream(interval_s, chunks, keeps=True), "127.0.0.1", 0, backlog=4_096
        )
        port = beside.sockets[0].getsockname()[1]
    print(port, flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    socket_path, interval_ms, *more = sys.argv[1:]
    count = int(more[0]) if more else CHUNKS
    uvloop.run(serve(socket_path, float(interval_ms) / 1_000, count, tcp="tcp" in more))
