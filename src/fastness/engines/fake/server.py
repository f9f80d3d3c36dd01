"""The fake engine's process: HTTP/1.1 on a Unix socket, as llama.cpp's server speaks it, at next to no cost."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import time
from functools import lru_cache
from pathlib import Path
from typing import Any, Final, cast

import httptools
import msgspec
import uvloop

from fastness.engines.fake import wire
from fastness.engines.fake.answer import Ask, answer, count, count_text, template, tokens_of, vector
from fastness.engines.fake.behaviour import Behaviour, Task
from fastness.engines.fake.memory import Memory

PREPARED_MAX: Final = 1_024
"""Answers kept because the same was asked before: a benchmark then measures the gateway, not this."""

_ask: Final = msgspec.json.Decoder(Ask).decode
_tokenise: Final = msgspec.json.Decoder(dict[str, Any]).decode


def main(task: str) -> int:
    """Serve the task until SIGTERM; returns the exit status."""
    told = msgspec.json.decode(task, type=Task)
    time.sleep(told.behaviour.start_ms / 1e3)
    Path(told.socket).unlink(missing_ok=True)
    uvloop.run(_serve(told))
    return 0


class Engine:
    """What the connections share: slots, the queue for them, and counters."""

    def __init__(self, task: Task) -> None:
        self.task = task
        self.free = list(range(task.slots - 1, -1, -1))
        self.waiting: list[Connection] = []
        self.memory = Memory(task.behaviour.remember_tokens) if task.behaviour.remember_tokens else None
        self.counters = dict.fromkeys(("requests_total", "generations_total", "cancelled_total", "tokens_total"), 0)

    def spend(self, tokens: int) -> None:
        """Count tokens as they are said, and crash when it is time."""
        before, limit = self.counters["tokens_total"], self.task.behaviour.crash_after_tokens
        self.counters["tokens_total"] = before + tokens
        if limit and before + tokens >= limit:
            os.kill(os.getpid(), signal.SIGKILL)

    def release(self, slot: int) -> None:
        """Give a slot back, to whoever waits the longest."""
        self.free.append(slot)
        while self.waiting and self.free:
            self.waiting.pop(0).begin()


class Prepared(msgspec.Struct, frozen=True, gc=False):
    """An answer, ready to be sent: as `events` of a stream, the last of them its end, or as `rest`, all of it."""

    tokens: int
    events: list[bytes]
    rest: bytes


@lru_cache(maxsize=PREPARED_MAX)
def _prepare(
    body: bytes, behaviour: Behaviour, context_tokens: int, adapters: int, cached_tokens: int = 0
) -> Prepared | int:
    """Make the answer to a request; an integer: its input has so many tokens, too many. Raises ValueError."""
    ask = _ask(body)
    if ask.adapted > adapters:
        raise ValueError(f"there are {adapters} adapters, and number {ask.adapted} was asked for")
    if (needed := count(ask)) >= context_tokens:
        return needed
    said = answer(ask, behaviour.answer_tokens, context_tokens)
    if cached_tokens:
        said = msgspec.structs.replace(said, cached_tokens=min(cached_tokens, said.input_tokens))
    if not ask.stream:
        whole = wire.whole(ask, said)
        return Prepared(len(said.tokens), [], wire.head(200, len(whole), b"application/json") + whole)
    events = wire.events(ask, said, behaviour.tokens_a_chunk)
    events[-1] += wire.STREAM_END
    return Prepared(len(said.tokens), events, b"".join(events))


class Connection(asyncio.Protocol):
    """One connection: one request at a time."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._behaviour: Behaviour = engine.task.behaviour
        self._parser = httptools.HttpRequestParser(self)
        self._transport: asyncio.Transport | None = None
        self._path, self._body = "", b""
        self._slot: int | None = None
        self._prepared: Prepared | None = None
        self._said = 0
        self._timer: asyncio.TimerHandle | None = None
        self._paused = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See asyncio.Protocol."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop's are none by name

    def data_received(self, data: bytes) -> None:
        """See asyncio.Protocol."""
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            self._reply(400, wire.error(400, "this is not HTTP", "invalid_request_error"))
            self._close()

    def on_url(self, url: bytes) -> None:
        """See httptools."""
        self._path += url.decode()

    def on_body(self, body: bytes) -> None:
        """See httptools."""
        self._body += body

    def on_message_complete(self) -> None:
        """See httptools."""
        path, body, self._path, self._body = self._path, self._body, "", b""
        self._engine.counters["requests_total"] += 1
        try:
            self._route(path, body)
        except (msgspec.DecodeError, ValueError) as error:
            self._reply(400, wire.error(400, str(error), "invalid_request_error"))

    def connection_lost(self, _exc: Exception | None) -> None:
        """See asyncio.Protocol. A generation under way ends with its connection."""
        self._transport = None
        if self in self._engine.waiting:
            self._engine.waiting.remove(self)
        if self._slot is not None:
            self._engine.counters["cancelled_total"] += 1
            self._finish()

    def pause_writing(self) -> None:
        """See asyncio.Protocol."""
        self._paused = True

    def resume_writing(self) -> None:
        """See asyncio.Protocol."""
        self._paused = False
        if self._slot is not None and self._timer is None:
            self._say()

    def _route(self, path: str, body: bytes) -> None:
        if path in ("/v1/chat/completions", "/v1/completions"):
            self._generate(body)
        elif path == "/v1/chat/completions/input_tokens":
            self._reply(200, b'{"object":"response.input_tokens","input_tokens":%d}' % count(_ask(body)))
        elif path == "/tokenize":
            asked = _tokenise(body)
            texts, begins = asked["content"], bool(asked.get("add_special"))
            parts = [texts] if isinstance(texts, str) else texts
            told = [tokens_of(part, begins=begins) if isinstance(part, str) else [part] for part in parts]
            tokens = [token for part in told for token in part]
            self._reply(200, msgspec.json.encode({"tokens": tokens}))
        elif path == "/apply-template":
            self._reply(200, msgspec.json.encode({"prompt": template(_ask(body).messages)}))
        elif path == "/v1/embeddings":
            self._embed(_tokenise(body)["input"])
        elif path == "/health":
            self._reply(200, b'{"status":"ok"}')
        elif path == "/slots":
            slots = [{"id": n, "is_processing": n not in self._engine.free} for n in range(self._engine.task.slots)]
            self._reply(200, msgspec.json.encode(slots))
        elif path == "/metrics":
            self._reply(200, wire.metrics(self._engine.counters), b"text/plain; version=0.0.4")
        else:
            self._reply(404, wire.error(404, "File Not Found", "not_found_error"))

    def _embed(self, inputs: str | list[Any]) -> None:
        texts = [inputs] if isinstance(inputs, str) or (inputs and isinstance(inputs[0], int)) else inputs
        counts, limit = [count_text(text) for text in texts], self._engine.task.context_tokens
        if too_long := [tokens for tokens in counts if tokens > limit]:
            self._reply(400, wire.overflow(too_long[0], limit))
            return
        rows = [vector(text, self._engine.task.dimensions) for text in texts]
        self._reply(200, wire.embeddings(rows, sum(counts)))

    def _generate(self, body: bytes) -> None:
        counters, limit = self._engine.counters, self._engine.task.context_tokens
        adapters = len(self._engine.task.adapters)
        counters["generations_total"] += 1
        if self._behaviour.fail_every and counters["generations_total"] % self._behaviour.fail_every == 0:
            self._reply(500, wire.error(500, "the fake engine fails, as it was told", "server_error"))
            return
        memory = self._engine.memory
        prepared = _prepare(body, self._behaviour, limit, adapters, memory.read(_ask(body)) if memory else 0)
        if isinstance(prepared, int):
            self._reply(400, wire.overflow(prepared, limit))
            return
        self._prepared = prepared
        if self._engine.free:
            self.begin()
        else:
            self._engine.waiting.append(self)

    def begin(self) -> None:
        """Take a slot and begin to answer."""
        assert self._prepared is not None
        self._slot, self._said = self._engine.free.pop(), 0
        if self._prepared.events:
            self._write(wire.STREAM_HEAD)
        delay_ms = self._behaviour.first_token_ms
        if delay_ms:
            self._timer = asyncio.get_running_loop().call_later(delay_ms / 1e3, self._say)
        else:
            self._say()

    def _say(self) -> None:
        """Say as much as is due now, and come back for more."""
        self._timer = None
        assert self._prepared is not None
        tokens, events, behaviour = self._prepared.tokens, self._prepared.events, self._behaviour
        if not behaviour.token_ms and not behaviour.close_after_tokens and not behaviour.hang_after_tokens:
            self._engine.spend(tokens)
            self._end(self._prepared.rest)
            return
        step = min(behaviour.tokens_a_chunk, tokens - self._said)
        if events and step:
            self._write(events[self._said // behaviour.tokens_a_chunk])
        self._said += step
        self._engine.spend(step)
        if behaviour.close_after_tokens and self._said >= behaviour.close_after_tokens:
            self._close()
        elif behaviour.hang_after_tokens and self._said >= behaviour.hang_after_tokens:
            return
        elif self._said >= tokens:
            self._end(events[-1] if events else self._prepared.rest)
        elif not self._paused:
            self._timer = asyncio.get_running_loop().call_later(step * behaviour.token_ms / 1e3, self._say)

    def _end(self, last: bytes) -> None:
        assert self._prepared is not None
        streamed = bool(self._prepared.events)
        self._finish()
        self._write(last)
        if streamed:
            self._close()  # as llama.cpp's server does

    def _finish(self) -> None:
        slot, self._slot = self._slot, None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if slot is not None:
            self._engine.release(slot)

    def _reply(self, status: int, body: bytes, content_type: bytes = b"application/json") -> None:
        self._write(wire.head(status, len(body), content_type) + body)

    def _write(self, data: bytes) -> None:
        if self._transport is not None:
            self._transport.write(data)

    def _close(self) -> None:
        if self._transport is not None:
            self._transport.close()


async def _serve(task: Task) -> None:
    loop, ended = asyncio.get_running_loop(), asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, ended.set)
    engine = Engine(task)
    server = await loop.create_unix_server(lambda: Connection(engine), task.socket, backlog=1_024)
    gc.freeze()
    await ended.wait()
    server.close()
