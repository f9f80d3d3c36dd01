"""A deterministic stand-in for an engine: `python -m benchmarks.upstream SOCKET INTERVAL_MS [CHUNKS]`.

It answers llama-server's chat route as that server does, byte for byte but for the ids: whole, or as a stream of
CHUNKS events INTERVAL_MS apart (0: as fast as they can be written). Nothing is computed, so what a run shows is the
cost of what stands in front of it. Each event's text is the moment it was written, so that a client can tell how long
it was on the way.
"""

from __future__ import annotations

import asyncio
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
    """One connection: whole answers again and again, or one stream, after which it is closed as llama-server does."""

    def __init__(self, interval_s: float, chunks: int) -> None:
        self.interval_s = interval_s
        self.chunks = chunks
        self.last = last(chunks)
        self.missing = 0
        self.streams = False
        self.sent = 0
        self.paused = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self.transport = transport
        self.loop = asyncio.get_running_loop()

    def data_received(self, data: bytes) -> None:
        if not self.missing:
            end = data.index(b"\r\n\r\n") + 4
            at = data.index(b"content-length: ") + 16
            self.missing = int(data[at : data.index(b"\r", at)])
            data = data[end:]
            self.streams = False
        self.streams = self.streams or b'"stream":true' in data
        self.missing -= len(data)
        if not self.missing and self.streams:
            self.transport.write(STREAM)
            self.due = self.loop.time()
            self.tick()
        elif not self.missing:
            self.transport.write(WHOLE)

    def tick(self) -> None:
        if self.transport.is_closing() or self.paused:
            return
        if self.sent == self.chunks:
            self.transport.write(self.last)
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


async def serve(path: str, interval_s: float, chunks: int) -> None:
    """Listen until killed; prints a line once it does."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, max(soft, 16_384)), hard))
    loop = asyncio.get_running_loop()
    server = await loop.create_unix_server(lambda: Upstream(interval_s, chunks), path, backlog=4_096)
    print("listening", flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    socket_path, interval_ms = sys.argv[1], float(sys.argv[2])
    uvloop.run(serve(socket_path, interval_ms / 1_000, int(sys.argv[3]) if len(sys.argv) > 3 else CHUNKS))
