"""Replicas that die at a chosen byte of what they say, in front of a whole gateway; and what a client made of it."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import msgspec

from fastness.core.model import ToolFormat
from fastness.core.replica import ReplicaState
from fastness.engines.fake import wire
from fastness.engines.fake.answer import Ask, answer, template, tokens_of
from policed import Answer, Door, opened

GENERATING = ("/v1/chat/completions", "/v1/completions")
WORDS = 12
BEGINNING = 700
"""Bytes of an answer that hold some words of it."""
_ask = msgspec.json.Decoder(Ask).decode


@dataclass
class Dying:
    """One replica's engine. `deaths` are the bytes after which its next generations are cut off; None: not at all.

    -500, -400: it answers with that error. `stuck`: instead of being cut off it falls silent. While `hold` is set to
    an event, it says a beginning and waits for it; while `late` is, it says nothing before. `left` counts those who
    went while it was late. `asked` are the paths it was asked for.
    """

    deaths: list[int | None] = field(default_factory=list)
    stuck: bool = False
    hold: asyncio.Event | None = None
    late: asyncio.Event | None = None
    left: int = 0
    asked: list[str] = field(default_factory=list)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                lines = head.lower().split(b"\r\n")
                length = int(next(line for line in lines if line.startswith(b"content-length")).split(b":")[1])
                body, path = await reader.readexactly(length), head.split(b" ")[1].decode()
                self.asked.append(path)
                if path in GENERATING:
                    await self._generate(body, reader, writer)
                    break
                answered = self._answer(path, json.loads(body))
                writer.write(wire.head(200, len(answered), b"application/json") + answered)
        writer.close()

    def _answer(self, path: str, asked: dict[str, Any]) -> bytes:
        if path == "/apply-template":
            return msgspec.json.encode({"prompt": template(_ask(msgspec.json.encode(asked)).messages)})
        if path == "/tokenize":
            parts = asked["content"]
            return msgspec.json.encode(
                {"tokens": [one for part in parts for one in tokens_of(part, begins=asked["add_special"])]}
            )
        if path == "/v1/embeddings":
            return wire.embeddings([[1.0] for _ in asked["input"]], len(asked["input"]))
        raise AssertionError(path)

    async def _generate(self, body: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        death = self.deaths.pop(0) if self.deaths else None
        if death is not None and death < 0:
            failed = wire.error(-death, "it failed", "server_error")
            writer.write(wire.head(-death, len(failed), b"application/json") + failed)
            return
        said = stream_of(body)
        if self.late and not await self._waits(self.late, reader):
            self.left += 1
            return
        if self.hold:
            writer.write(said[:BEGINNING])
            await self.hold.wait()
            said = said[BEGINNING:]
        writer.write(said[:death])
        if death is not None and death < len(said) and self.stuck:
            await reader.read()  # until nobody listens any more

    async def _waits(self, late: asyncio.Event, reader: asyncio.StreamReader) -> bool:
        """Wait for the event; tell whether somebody still listens then."""
        gone, due = asyncio.ensure_future(reader.read()), asyncio.ensure_future(late.wait())
        await asyncio.wait((gone, due), return_when=asyncio.FIRST_COMPLETED)
        listens = not gone.done()
        gone.cancel()
        due.cancel()
        return listens


def stream_of(body: bytes) -> bytes:
    """All the bytes of a streamed answer."""
    ask = _ask(body)
    said = answer(ask, WORDS, 2_048)
    return wire.STREAM_HEAD + b"".join(wire.events(ask, said, 1)) + wire.STREAM_END


@dataclass
class Site:
    """A gateway in front of two dying engines, on the nodes `low` and `high`."""

    door: Door
    low: Dying
    high: Dying

    def alone(self) -> None:
        """Leave one replica only."""
        self.door.replicas = [one for one in self.door.replicas if one.node == "low"]
        self.door.publish()

    def restart(self, state: ReplicaState = ReplicaState.READY) -> None:
        """Publish the next epoch of every replica."""
        self.door.replicas = [replace(one, epoch=one.epoch + 1, state=state) for one in self.door.replicas]
        self.door.publish()


@asynccontextmanager
async def dying(home: Path, *deaths: int | None, stuck: bool = False, **traffic: Any) -> AsyncIterator[Site]:
    """A site whose engine that is asked first dies so; `deaths` are shared between both engines, in order."""
    common = list(deaths)
    low, high = Dying(common, stuck), Dying(common, stuck)
    async with opened(home, **({"circuit_open_s": 0.01, "circuit_open_max_s": 0.01} | traffic)) as door:
        servers = []
        for name, engine in (("low", low), ("high", high)):
            door.engines[name].socket = str(home / f"d-{name}.sock")
            servers.append(await asyncio.start_unix_server(engine.serve, door.engines[name].socket))
        tools = ToolFormat("Call:\n{tools}", "<tool_call>", "</tool_call>")
        door.cards = [replace(one, tool_format=tools) if one.name == "small" else one for one in door.cards]
        door.replicas = [replace(one, socket=door.engines[one.node].socket, slots=8) for one in door.replicas]
        door.publish()
        sweeping = asyncio.create_task(_sweep(door))
        try:
            yield Site(door, low, high)
        finally:
            sweeping.cancel()
            for server in servers:
                server.close()


async def _sweep(door: Door) -> None:
    while True:
        await asyncio.sleep(0.005)
        door.gateway.sweep()


@dataclass(frozen=True)
class Told:
    """What a client made of an answer: for each choice its text, the ends, the tokens with their log probabilities."""

    texts: tuple[str, ...]
    finishes: tuple[str, ...]
    logprobs: tuple[Any, ...]
    usage: dict[str, int]
    ids: frozenset[str]


def told(heard: Answer) -> Told:
    """Read an answer, whole or streamed; fails when it is an error or has no end."""
    assert heard.status == 200, heard.body
    if not heard.headers["content-type"].startswith("text/event-stream"):
        return _told([json.loads(heard.body)], whole=True)
    body = heard.body
    if heard.headers.get("transfer-encoding") == "chunked":
        body = _unchunked(body)
    events = [event.removeprefix(b"data: ") for event in body.split(b"\n\n") if event.startswith(b"data: ")]
    assert events[-1] == b"[DONE]", events[-1]
    assert Counter(events)[b"[DONE]"] == 1
    return _told([json.loads(event) for event in events[:-1]], whole=False)


def _told(parts: list[dict[str, Any]], *, whole: bool) -> Told:
    texts: dict[int, str] = {}
    finishes: dict[int, str] = {}
    logprobs: dict[int, list[Any]] = {}
    for part in parts:
        assert "error" not in part, part
        for choice in part["choices"]:
            index, said = choice["index"], choice.get("message" if whole else "delta", choice)
            text = (
                said.get("content")
                or said.get("text")
                or "".join(call["function"]["arguments"] for call in said.get("tool_calls") or ())
            )
            texts[index] = texts.get(index, "") + text
            if choice["finish_reason"]:
                assert index not in finishes, "a choice ended twice"
                finishes[index] = choice["finish_reason"]
            if scored := choice.get("logprobs"):
                logprobs.setdefault(index, []).extend(scored.get("content") or scored.get("tokens"))
    usage = next((part["usage"] for part in reversed(parts) if part.get("usage")), {})
    return Told(
        tuple(texts[index] for index in sorted(texts)),
        tuple(finishes[index] for index in sorted(finishes)),
        tuple(logprobs.get(index) for index in sorted(texts)),
        {name: usage.get(name) for name in ("prompt_tokens", "completion_tokens")},
        frozenset(part["id"] for part in parts),
    )


def _unchunked(body: bytes) -> bytes:
    whole = b""
    while body:
        size, _, body = body.partition(b"\r\n")
        length = int(size, 16)
        whole, body = whole + body[:length], body[length + 2 :]
    return whole
