"""Clients that ask all the time, and an honest account of what each of them heard."""

from __future__ import annotations

import asyncio
import json
import random
import threading
import time
from dataclasses import dataclass
from typing import Any, Self

import httpx

from installation import CHAT, Installation

SILENCE_S = 30.0
"""A client that hears nothing for so long counts as kept in silence."""
SUBJECTS = ("colours", "rivers", "tools", "planets", "birds", "trees", "cities", "fruits")
Ask = tuple[str, dict[str, Any]]


@dataclass(frozen=True)
class Heard:
    """What one client heard of one request. `began_s` and `ended_s` are of `time.monotonic()`.

    `whole`: the answer came in full; of a stream, its `[DONE]`. `code` is that of an error answer or an error event.
    `lost` says how the connection ended when it ended before the answer did.
    """

    path: str
    stream: bool
    began_s: float
    ended_s: float
    request_id: str | None
    status: int | None
    whole: bool
    code: str | None
    lost: str | None
    retry_after: str | None = None

    @property
    def elapsed_s(self) -> float:
        return self.ended_s - self.began_s

    @property
    def clear(self) -> bool:
        """Whether the client knows how it ended: an answer in full, or an error with a code."""
        return self.whole or self.code is not None


def chat(random_: random.Random, stream: bool, output_tokens: int) -> Ask:
    """A chat about something, never twice the same."""
    ask = f"Name some {random_.choice(SUBJECTS)}. {random_.random()}"
    body = {
        "model": CHAT, "messages": [{"role": "user", "content": ask}], "max_tokens": output_tokens, "stream": stream,
    }  # fmt: skip
    return "/chat/completions", body


def completion(random_: random.Random, stream: bool, output_tokens: int) -> Ask:
    """A prompt of a few tokens: many of these are answered in the time of one chat."""
    body = {"model": CHAT, "prompt": f"{random_.randint(0, 99)} and", "max_tokens": output_tokens, "stream": stream}
    return "/completions", body


def mixture(random_: random.Random, chats: float) -> Ask:
    """One request of any kind; `chats` is the part of chats, and half of all are streams."""
    kind = chat if random_.random() < chats else completion
    return kind(random_, random_.random() < 0.5, random_.randint(1, 8))


async def ask(client: httpx.AsyncClient, path: str, body: dict[str, Any]) -> Heard:
    """Ask once and listen to the end, whatever it is."""
    began_s, stream = time.monotonic(), bool(body.get("stream"))
    request_id = status = lost = retry_after = None
    heard = b""
    try:
        async with client.stream("POST", path, json=body) as answer:
            status, request_id = answer.status_code, answer.headers.get("x-request-id")
            retry_after = answer.headers.get("retry-after")
            async for part in answer.aiter_raw():
                heard += part
    except httpx.HTTPError as error:
        lost = type(error).__name__
    whole = b"data: [DONE]\n\n" in heard if stream else status == 200 and lost is None
    code = None if whole else code_of(heard)
    return Heard(path, stream, began_s, time.monotonic(), request_id, status, whole, code, lost, retry_after)


def code_of(heard: bytes) -> str | None:
    """The code of an error answer, or of the error event that ended a stream; None when there is neither."""
    last = heard.strip().rpartition(b"\n")[2].removeprefix(b"data: ")
    try:
        return str(json.loads(last)["error"]["code"])
    except (ValueError, KeyError, TypeError):
        return None


class Traffic:
    """So many clients, each asking one thing after the other until told to stop. Use it as a context manager."""

    def __init__(self, installation: Installation, *, seed: int, clients: int = 16, chats: float = 0.1) -> None:
        self._where = {"base_url": installation.base_url, "headers": headers(installation), "timeout": SILENCE_S}
        self._seed = seed
        self._clients = clients
        self._chats = chats
        self._ended = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._all()))
        self.heard: list[Heard] = []

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join(timeout=2 * SILENCE_S)
        assert not self._thread.is_alive(), "a client hangs"

    def count(self, *, whole: bool = True) -> int:
        """How many answers have come in full, or not, so far."""
        return sum(one.whole is whole for one in self.heard)

    async def _all(self) -> None:
        async with httpx.AsyncClient(**self._where, trust_env=False) as client:
            await asyncio.gather(*(self._one(client, number) for number in range(self._clients)))

    async def _one(self, client: httpx.AsyncClient, number: int) -> None:
        random_ = random.Random(f"{self._seed}-{number}")
        while not self._ended.is_set():
            path, body = mixture(random_, self._chats)
            heard = await ask(client, path, body)
            self.heard.append(heard)
            if heard.lost:
                await asyncio.sleep(0.01)


class Together:
    """Requests under way; `heard` waits for their ends."""

    def __init__(self, installation: Installation, asks: list[Ask], silence_s: float = SILENCE_S) -> None:
        self._where = {"base_url": installation.base_url, "headers": headers(installation), "timeout": silence_s}
        self._limit_s = 2 * silence_s
        self._asks = asks
        self._heard: list[Heard] = []
        self._thread = threading.Thread(target=lambda: asyncio.run(self._all()))
        self._thread.start()

    def heard(self, limit_s: float | None = None) -> list[Heard]:
        """What each heard, in the order asked."""
        limit_s = limit_s or self._limit_s
        self._thread.join(timeout=limit_s)
        assert not self._thread.is_alive(), f"a client hangs for more than {limit_s} s"
        return self._heard

    async def _all(self) -> None:
        limits = httpx.Limits(max_connections=None)
        async with httpx.AsyncClient(**self._where, limits=limits, trust_env=False) as client:
            self._heard = await asyncio.gather(*(ask(client, path, body) for path, body in self._asks))


def headers(installation: Installation) -> dict[str, str]:
    return {"authorization": f"Bearer {installation.admin_key}"}
