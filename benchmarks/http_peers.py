"""The other ends for http_parts: a mock engine and load clients, raw protocols that do as little as possible."""

from __future__ import annotations

import asyncio
import json
import resource
import sys
import time

import uvloop

CHUNKS = 128
EVENT = (
    b'data: {"choices":[{"finish_reason":null,"index":0,"delta":{"content":" token"}}],"created":1790000000,'
    b'"id":"chatcmpl-0123456789abcdef0123456789abcdef","model":"mock","system_fingerprint":"b1-mock",'
    b'"object":"chat.completion.chunk"}\n\n'
)
ANSWER = (
    b'{"choices":[{"message":{"role":"assistant","content":"' + b"word " * 100 + b'"}}],"usage":{"total_tokens":1}}'
)
WHOLE = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b" % (len(ANSWER), ANSWER)
STREAM = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
FEW = b"Host: 127.0.0.1\r\nAuthorization: Bearer fst_%b\r\nContent-Type: application/json\r\n" % (b"a" * 49)
MANY = (
    b"Host: 127.0.0.1:8080\r\nAccept-Encoding: gzip, deflate\r\nConnection: keep-alive\r\nAccept: application/json\r\n"
    b"Content-Type: application/json\r\nUser-Agent: OpenAI/Python 3.54.0\r\nX-Stainless-Lang: python\r\n"
    b"X-Stainless-Package-Version: 3.54.0\r\nX-Stainless-OS: Linux\r\nX-Stainless-Arch: x64\r\n"
    b"X-Stainless-Runtime: CPython\r\nX-Stainless-Runtime-Version: 3.11.7\r\nAuthorization: Bearer fst_%b\r\n"
    b"X-Stainless-Async: false\r\nx-stainless-retry-count: 0\r\nx-stainless-read-timeout: 600\r\n" % (b"a" * 49)
)


def chat_request(body_bytes: int, headers: str, interval_ms: float = 0.0) -> bytes:
    """Make a request; `interval_ms` above 0 asks for a stream of CHUNKS events that far apart."""
    asked = b'{"interval_ms":%012.4f,"text":"' % interval_ms
    body = asked + b"x" * max(0, body_bytes - len(asked) - 2) + b'"}'
    head = MANY if headers == "many" else FEW
    return b"POST /v1/chat/completions HTTP/1.1\r\n%bContent-Length: %d\r\n\r\n%b" % (head, len(body), body)


class Engine(asyncio.Protocol):
    """Answers each request whole, or as a stream."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self.transport = transport
        self.missing = 0
        self.interval_s = 0.0
        self.sent = 0

    def data_received(self, data: bytes) -> None:
        if not self.missing:
            end = data.index(b"\r\n\r\n") + 4
            at = data[:end].lower().index(b"content-length: ") + 16
            self.missing = int(data[at : data.index(b"\r", at)])
            self.interval_s = float(data[end + 15 : end + 27]) / 1_000
            data = data[end:]
        self.missing -= len(data)
        if not self.missing:
            if self.interval_s:
                self.transport.write(STREAM)
                self.sent = 0
                asyncio.get_running_loop().call_later(self.interval_s, self.tick)
            else:
                self.transport.write(WHOLE)

    def tick(self) -> None:
        if self.transport.is_closing():
            return
        if self.sent == CHUNKS:
            self.transport.write(b"0\r\n\r\n")
        else:
            self.sent += 1
            stamp = b"%017.9f" % time.monotonic()
            event = EVENT.replace(b"0123456789abcdef0", stamp, 1)
            self.transport.write(b"%x\r\n%b\r\n" % (len(event), event))
            asyncio.get_running_loop().call_later(self.interval_s, self.tick)


class Requests(asyncio.Protocol):
    """One kept connection asking again and again."""

    def __init__(self, request: bytes, seen: list[float]) -> None:
        self.request = request
        self.seen = seen
        self.missing = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self.transport = transport
        self.ask()

    def ask(self) -> None:
        self.asked_at = time.perf_counter()
        self.transport.write(self.request)

    def data_received(self, data: bytes) -> None:
        if not self.missing:
            end = data.index(b"\r\n\r\n") + 4
            at = data.index(b"content-length: ") + 16
            self.missing = int(data[at : data.index(b"\r", at)])
            data = data[end:]
        self.missing -= len(data)
        if not self.missing:
            self.seen.append(time.perf_counter() - self.asked_at)
            self.ask()


class Streams(asyncio.Protocol):
    """One kept connection asking for one stream after the other; `seen` is the transit time of each chunk."""

    def __init__(self, request: bytes, seen: list[float]) -> None:
        self.request = request
        self.seen = seen

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self.transport = transport
        transport.write(self.request)

    def data_received(self, data: bytes) -> None:
        at = data.find(b"chatcmpl-")
        while at >= 0:
            self.seen.append(time.monotonic() - float(data[at + 9 : at + 26]))
            at = data.find(b"chatcmpl-", at + 9)
        if data.endswith(b"0\r\n\r\n"):
            self.transport.write(self.request)


async def client(port: int, mode: str, *arguments: str) -> None:
    loop = asyncio.get_running_loop()
    if mode == "hold":
        streams = int(arguments[0])
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, max(soft, 4 * streams)), hard))
        held: list[float] = []
        request = chat_request(256, "many", 5_000)
        for _ in range(streams):
            await loop.create_connection(lambda: Streams(request, held), "127.0.0.1", port)
        while len(held) < streams:
            await asyncio.sleep(0.05)
        print("open", flush=True)
        await loop.run_in_executor(None, sys.stdin.readline)
        return
    connections, size, headers, seconds = int(arguments[0]), float(arguments[1]), arguments[2], float(arguments[3])
    seen: list[float] = []
    for _ in range(connections):
        if mode == "requests":
            request = chat_request(int(size), headers)
            await loop.create_connection(lambda request=request: Requests(request, seen), "127.0.0.1", port)  # type: ignore[misc]
        else:
            request = chat_request(2_048, headers, size)
            await loop.create_connection(lambda request=request: Streams(request, seen), "127.0.0.1", port)  # type: ignore[misc]
            await asyncio.sleep(size / 1_000 / connections)
    await asyncio.sleep(0.5)
    print("warm", flush=True)
    await loop.run_in_executor(None, sys.stdin.readline)
    seen.clear()
    await asyncio.sleep(seconds)
    times = sorted(seen)
    print(json.dumps({"count": len(times), "p50_ms": times[len(times) // 2] * 1e3}), flush=True)


async def engine(path: str) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, max(soft, 16_384)), hard))
    server = await asyncio.get_running_loop().create_unix_server(Engine, path, backlog=1_024)
    print("ready", flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    if sys.argv[1] == "engine":
        uvloop.run(engine(sys.argv[2]))
    else:
        uvloop.run(client(int(sys.argv[2]), sys.argv[3], *sys.argv[4:]))
