"""The load client, a process of its own: `python -m benchmarks.load` reads one line of JSON, a `Job`, from stdin.

Raw protocols on uvloop, answers read by llhttp. It prints `ready` when it is warm, begins when another line comes, and
prints one line of JSON, an `Outcome`. Bounded: a job has a number of connections and either a time or a list.
"""

from __future__ import annotations

import asyncio
import collections
import itertools
import resource
import sys
import time
from collections.abc import Iterator

import httptools
import msgspec
import uvloop

from benchmarks.arrivals import arrivals

SDK_HEADERS = (
    "accept-encoding: gzip, deflate\r\nconnection: keep-alive\r\naccept: application/json\r\n"
    "content-type: application/json\r\nuser-agent: OpenAI/Python 3.54.0\r\nx-stainless-lang: python\r\n"
    "x-stainless-package-version: 3.54.0\r\nx-stainless-os: Linux\r\nx-stainless-arch: x64\r\n"
    "x-stainless-runtime: CPython\r\nx-stainless-runtime-version: 3.11.7\r\nx-stainless-async: false\r\n"
    "x-stainless-retry-count: 0\r\nx-stainless-read-timeout: 600\r\n"
)
"""What the official SDK sends with each request."""
TIMEOUT_S = 120.0
"""Whatever is asked, a client ends after this."""
SAMPLES_MAX = 200_000
"""Of each kind of time; further ones are counted and not kept."""
STAMP = b'"content":"@'
"""What precedes the moment at which the fake engine wrote an event."""
STAMPED_BYTES = len(STAMP) + 17


class Job(msgspec.Struct):
    """What to do.

    `where` is a port of this machine or the path of a Unix socket. `bodies` are JSON texts of chat requests. With
    `seconds` above 0 each of `connections` asks again and again, going round the bodies, and that long is reported;
    with 0, each body is sent once, `connections` at a time, or with `requests` so many in all. With `rate`, requests
    arrive by chance, so many a second on average, whether or not earlier ones have ended (`connections` at a time at
    most). With `hold`, each connection opens one stream; the client says `ready` when all have begun, and keeps them
    until a line comes. `stamped`: the fake engine answers, whose events tell when they were written.
    `headers` are further header lines, each with its end.
    """

    where: int | str
    path: str
    bodies: list[str]
    connections: int
    key: str = ""
    seconds: float = 0.0
    warm_up_s: float = 0.5
    rate: float = 0.0
    requests: int = 0
    hold: bool = False
    stamped: bool = False
    headers: str = ""


class Outcome(msgspec.Struct):
    """What was seen. Times are in seconds: of each request to its first text and to its end, from its sending, or where
    requests arrive by chance from when it was due; of each stamped event, how long it was on the way. `cpu_s` is what
    this client used: near `elapsed_s`, the client was the bottleneck.
    """

    elapsed_s: float = 0.0
    cpu_s: float = 0.0
    requests: int = 0
    failures: int = 0
    chunks: int = 0
    output_tokens: int = 0
    first_s: list[float] = []
    total_s: list[float] = []
    transit_s: list[float] = []


def output_tokens(body: bytes) -> int:
    """Read the last `completion_tokens` in the end of an answer or stream; 0 when there is none."""
    _, found, after = body.rpartition(b'"completion_tokens":')
    digits = bytes(itertools.takewhile(b"0123456789".__contains__, after.lstrip()))
    return int(digits) if found and digits else 0


def has_text(data: bytes) -> bool:
    """Tell whether a piece of a stream brings text: the first event of a chat brings only a role."""
    return data.count(b'"content":"') > data.count(b'"content":""')


class Line(asyncio.Protocol):
    """One connection: one request at a time."""

    def __init__(self, outcome: Outcome, stamped: bool) -> None:
        self.outcome = outcome
        self.stamped = stamped
        self.loop = asyncio.get_running_loop()
        self.parser = httptools.HttpResponseParser(self)
        self.done: asyncio.Future[None] | None = None
        self.streamed = False
        self.spent = False
        self.first_at = 0.0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self.transport = transport

    async def ask(self, raw: bytes, due: float = 0.0) -> None:
        """Send a request, that was `due` some time ago, and wait for the end of its answer."""
        self.tail = b""
        self.rest = b""
        self.first_at = 0.0
        self.streamed = False
        self.done = self.loop.create_future()
        self.asked_at = due or time.perf_counter()
        self.transport.write(raw)
        await self.done

    def data_received(self, data: bytes) -> None:
        self.parser.feed_data(data)

    def on_header(self, name: bytes, value: bytes) -> None:  # noqa: ARG002 - the parser's signature
        if value.startswith(b"text/event-stream"):
            self.streamed = True

    def on_body(self, data: bytes) -> None:
        if self.streamed:
            if not self.first_at and has_text(data):
                self.first_at = time.perf_counter()
            if self.stamped:
                self._watch(data)
        self.tail = data if len(data) > 1_024 else self.tail[-1_024:] + data  # usage stands near the end

    def on_message_complete(self) -> None:
        now, seen = time.perf_counter(), self.outcome
        seen.requests += 1
        seen.failures += self.parser.get_status_code() != 200
        seen.output_tokens += output_tokens(self.tail)
        if len(seen.total_s) < SAMPLES_MAX:
            seen.total_s.append(now - self.asked_at)
            if self.first_at:
                seen.first_s.append(self.first_at - self.asked_at)
        if not self.parser.should_keep_alive():
            self.spent = True
        if self.done and not self.done.done():
            self.done.set_result(None)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - the event loop's signature
        self.spent = True
        if self.done and not self.done.done():
            self.outcome.failures += 1
            self.done.set_result(None)

    def _watch(self, data: bytes) -> None:
        """Count stamped events, and how long they were on the way. What stands in between may cut one in two."""
        seen, now, data, after = self.outcome, time.monotonic(), self.rest + data, 0
        at = data.find(STAMP)
        while 0 <= at <= len(data) - STAMPED_BYTES:
            after = at + STAMPED_BYTES
            seen.chunks += 1
            if len(seen.transit_s) < SAMPLES_MAX:
                seen.transit_s.append(now - float(data[at + len(STAMP) : after]))
            at = data.find(STAMP, after)
        self.rest = data[max(after, len(data) - STAMPED_BYTES + 1) :]


class Client:
    """Does a job."""

    def __init__(self, job: Job, outcome: Outcome) -> None:
        self.job = job
        self.outcome = outcome
        self.loop = asyncio.get_running_loop()
        requests = [self.request(body) for body in job.bodies]
        self.todo: Iterator[bytes] = iter(requests)
        if job.seconds or job.hold:
            self.todo = itertools.cycle(requests)
        elif job.requests:
            self.todo = itertools.islice(itertools.cycle(requests), job.requests)

    def request(self, body: str) -> bytes:
        """Write one HTTP request as the official SDK would."""
        job, encoded = self.job, body.encode()
        host = f"127.0.0.1:{job.where}" if isinstance(job.where, int) else "engine"
        key = f"authorization: Bearer {job.key}\r\n" if job.key else ""
        head = f"POST {job.path} HTTP/1.1\r\nhost: {host}\r\n{SDK_HEADERS}{key}{job.headers}"
        return f"{head}content-length: {len(encoded)}\r\n\r\n".encode() + encoded

    async def connect(self) -> Line:
        """Open a connection; llama-server's backlog is short, so a full one is tried again."""
        where = self.job.where
        while True:
            try:
                if isinstance(where, int):
                    _, line = await self.loop.create_connection(
                        lambda: Line(self.outcome, self.job.stamped), "127.0.0.1", where
                    )
                else:
                    _, line = await self.loop.create_unix_connection(
                        lambda: Line(self.outcome, self.job.stamped), where
                    )
            except BlockingIOError:
                await asyncio.sleep(0.001)
            else:
                return line

    async def fresh(self, line: Line) -> Line:
        """Return a connection that can carry a request: this one, or a new one, made before any clock runs.

        llama-server closes a connection after a stream, whatever it announced.
        """
        if not line.spent and not (line.streamed and isinstance(self.job.where, str)):
            return line
        line.transport.close()
        return await self.connect()

    async def work(self, line: Line) -> None:
        """Ask on one connection, replaced when it is spent, until there is nothing left to ask."""
        for raw in self.todo:
            line = await self.fresh(line)
            await line.ask(raw)
        line.transport.close()

    async def run(self) -> None:
        """Warm up, say so, wait for the word, measure, tell."""
        lines = [await self.connect() for _ in range(self.job.connections)]
        if self.job.rate:
            await self._arrivals(lines)
        elif self.job.seconds:
            await self._window(lines)
        else:
            await self._list(lines)

    async def _window(self, lines: list[Line]) -> None:
        tasks = []
        for line in lines:
            tasks.append(self.loop.create_task(self.work(line)))
            await asyncio.sleep(0.01 / len(lines))  # streams of one pace must not all tick in the same moment
        await asyncio.sleep(self.job.warm_up_s)
        await self._word()
        await self._watch(self.job.seconds)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _watch(self, seconds: float) -> None:
        """Forget what was seen so far, and tell what is seen from now on."""
        seen, zero = self.outcome, Outcome()
        for name in Outcome.__struct_fields__:
            setattr(seen, name, getattr(zero, name))
        began, cpu = time.perf_counter(), time.process_time()
        await asyncio.sleep(seconds)
        seen.elapsed_s, seen.cpu_s = time.perf_counter() - began, time.process_time() - cpu
        self._tell()

    async def _arrivals(self, lines: list[Line]) -> None:
        """Ask as requests come. One that finds all connections taken waits, and its time runs all the same."""
        waiting: collections.deque[float] = collections.deque()
        free, tasks = lines, set[asyncio.Task[None]]()

        async def ask(line: Line, due: float) -> None:
            while True:
                line = await self.fresh(line)
                await line.ask(next(self.todo), due)
                if not waiting:
                    break
                due = waiting.popleft()
            free.append(line)

        def arrive(due: float) -> None:
            if not free:
                waiting.append(due)
                return
            task = self.loop.create_task(ask(free.pop(), due))
            tasks.add(task)
            task.add_done_callback(tasks.discard)

        with arrivals(self.loop, self.job.rate, arrive):
            await asyncio.sleep(self.job.warm_up_s)
            await self._word()
            await self._watch(self.job.seconds)
        for task in tuple(tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _list(self, lines: list[Line]) -> None:
        await self._word()
        began, cpu = time.perf_counter(), time.process_time()
        await asyncio.gather(*(self.work(line) for line in lines))
        self.outcome.elapsed_s, self.outcome.cpu_s = time.perf_counter() - began, time.process_time() - cpu
        self._tell()

    async def hold(self) -> None:
        """Open one stream a connection, and keep them."""
        lines = [await self.connect() for _ in range(self.job.connections)]
        tasks = [self.loop.create_task(self.work(line)) for line in lines]
        while not all(line.first_at for line in lines) and not any(task.done() for task in tasks):
            await asyncio.sleep(0.02)
        await self._word()
        self._tell()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _word(self) -> None:
        print("ready", flush=True)
        await self.loop.run_in_executor(None, sys.stdin.readline)

    def _tell(self) -> None:
        print(msgspec.json.encode(self.outcome).decode(), flush=True)


async def main(job: Job) -> None:
    """Do one job, within bounds."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, max(soft, 2 * job.connections + 64)), hard))
    client = Client(job, Outcome())
    async with asyncio.timeout(TIMEOUT_S):
        await (client.hold() if job.hold else client.run())


if __name__ == "__main__":
    uvloop.run(main(msgspec.json.decode(sys.stdin.readline(), type=Job)))
