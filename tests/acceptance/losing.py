"""Streams whose engines are killed under them: what each client got, how long it was kept, and whether it is the same.

At temperature 0 an engine chooses the most likely token. Where two are as good as equally likely, the order in which it
adds up numbers decides, and that depends on how many others it serves and on whether a token was read or written: two
undisturbed runs differ there, too. So a text may differ from the undisturbed one, but only where it could.
"""

from __future__ import annotations

import asyncio
import json
import statistics
import threading
import time
from dataclasses import dataclass, field
from typing import Any

import httpx

from fastness.ledger.verify import read
from installation import CHAT, Installation, eventually
from killing import QUICK, kill, management
from traffic import headers

TWO = QUICK | {
    "FASTNESS__ENGINE__REPLICAS": "2",
    "FASTNESS__ENGINE__SLOTS": "32",
    "FASTNESS__ENGINE__SLOT_CONTEXT_TOKENS": "256",
    "FASTNESS__ENGINE__BACKOFF_MAX_S": "0.2",
}
"""Two replicas, either of which has room for all streams."""
STREAMS = 32
OUTPUT_TOKENS = 24
TIE_NATS = 0.5
"""Tokens whose log probabilities are no further apart than this count as a tie."""
LIMIT_S = 120.0
PROMPTS = tuple(f"{subject} {number} is" for number in range(1, 5) for subject in (
    "The river", "A garden", "My house", "Our city", "The tree", "This book", "The bird", "One day",
))  # fmt: skip


@dataclass
class Stream:
    """One stream: what came, and when each event came, on `time.monotonic()`."""

    prompt: str
    request_id: str = ""
    text: str = ""
    finish: str | None = None
    usage: dict[str, Any] | None = None
    whole: bool = False
    error: str | None = None
    at_s: list[float] = field(default_factory=list)

    def pause_s(self, killed_s: float) -> float:
        """From the kill to the first event after it."""
        return min((at for at in self.at_s if at > killed_s), default=time.monotonic()) - killed_s


class Streams:
    """So many streams at the same time, in a thread of their own."""

    def __init__(self, installation: Installation, count: int = STREAMS, output_tokens: int = OUTPUT_TOKENS) -> None:
        self.all = [Stream(PROMPTS[number % len(PROMPTS)]) for number in range(count)]
        self._where = {"base_url": installation.base_url, "headers": headers(installation), "timeout": LIMIT_S}
        self._output_tokens = output_tokens
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()))
        self._thread.start()

    def begun(self, events: int = 1) -> bool:
        """Whether each has had so many events, or has ended."""
        return all(len(one.at_s) >= events or one.whole or one.error for one in self.all)

    def heard(self) -> list[Stream]:
        """Wait for their ends."""
        self._thread.join(LIMIT_S)
        assert not self._thread.is_alive(), "a client is kept in silence"
        return self.all

    async def _run(self) -> None:
        limits = httpx.Limits(max_connections=None)
        async with httpx.AsyncClient(**self._where, limits=limits, trust_env=False) as client:
            await asyncio.gather(*(self._one(client, one) for one in self.all))

    async def _one(self, client: httpx.AsyncClient, one: Stream) -> None:
        body = {
            "model": CHAT, "prompt": one.prompt, "temperature": 0, "max_tokens": self._output_tokens,
            "stream": True, "stream_options": {"include_usage": True},
        }  # fmt: skip
        try:
            async with client.stream("POST", "/completions", json=body) as answer:
                one.request_id = answer.headers["x-request-id"]
                async for line in answer.aiter_lines():
                    _take(one, line)
        except httpx.HTTPError as error:
            one.error = type(error).__name__


def _take(one: Stream, line: str) -> None:
    if line == "data: [DONE]":
        one.whole = True
    elif line.startswith(("data: ", "{")):
        event = json.loads(line.removeprefix("data: "))
        if "error" in event:
            one.error = event["error"]["code"]
            return
        one.at_s.append(time.monotonic())
        for choice in event["choices"]:
            one.text += choice["text"]
            one.finish = choice["finish_reason"] or one.finish
        one.usage = event.get("usage") or one.usage


@dataclass
class Found:
    """What kills have shown."""

    kills: int = 0
    streams: int = 0
    failed: list[str] = field(default_factory=list)
    resumed: int = 0
    undisturbed: int = 0
    identical: int = 0
    tied: int = 0
    widest_tie_nats: float = 0.0
    other: list[str] = field(default_factory=list)
    pauses_s: list[float] = field(default_factory=list)

    def __str__(self) -> str:
        pauses = sorted(self.pauses_s) or [0.0]
        return (
            f"{self.kills} kills, {self.streams} streams, {len(self.failed)} failed, {self.resumed} resumed, "
            f"{self.identical} identical, {self.tied} otherwise after a tie "
            f"of {self.widest_tie_nats:.2f} nats at most, {len(self.other)} otherwise; "
            f"pause p50 {statistics.median(pauses):.2f} s, max {pauses[-1]:.2f} s"
        )


def replicas(installation: Installation) -> list[dict[str, Any]]:
    """The chat replicas as the supervisor sees them."""
    with management(installation) as api:
        return [one for one in api.get("/replicas").json()["replicas"] if one["model"] == CHAT]


def all_ready(installation: Installation, count: int) -> list[dict[str, Any]]:
    """Wait until so many replicas are ready; return them."""
    eventually(
        lambda: sum(one["state"] == "ready" for one in replicas(installation)) == count, "the replicas are ready", 60
    )
    time.sleep(0.3)  # until the gateway has read so, too: it looks ten times a second
    return replicas(installation)


def kill_under_streams(installation: Installation, expected: dict[str, Stream], found: Found, count: int = 2) -> None:
    """`kill -9` one of `count` engines while all streams flow; add what came of them to `found`."""
    victims = all_ready(installation, count)
    streams = Streams(installation)
    eventually(lambda: streams.begun(2 + found.kills % 8), "all streams flow", LIMIT_S, 0.002)
    killed_s = time.monotonic()
    kill(int(victims[found.kills % count]["pid"]))
    heard = streams.heard()
    resumed = resumed_of(installation)
    found.kills += 1
    found.undisturbed += sum(not resumed.get(one.request_id) and one.text == expected[one.prompt].text for one in heard)
    found.streams += len(heard)
    for one in heard:
        if not one.whole or one.error:
            found.failed.append(f"{one.prompt}: {one.error}")
            continue
        if resumed.get(one.request_id):
            found.resumed += 1
            found.pauses_s.append(one.pause_s(killed_s))
        judge(installation, one, expected[one.prompt], found)


def judge(installation: Installation, one: Stream, expected: Stream, found: Found) -> None:
    """Compare a stream with the undisturbed one."""
    took, takes = tokens_of(one), tokens_of(expected)
    if (one.text, one.finish, took) == (expected.text, expected.finish, takes):
        found.identical += 1
    elif took[0] != takes[0] or one.text == expected.text:
        found.other.append(f"{one.prompt}: took {took} tokens instead of {takes}, {one.finish}, {expected.finish}")
    elif (gap := gap_nats(installation, one, expected)) <= TIE_NATS:
        found.tied += 1
        found.widest_tie_nats = max(found.widest_tie_nats, gap)
    else:
        found.other.append(f"{one.prompt}: {one.text!r} instead of {expected.text!r}, {gap:.2f} nats apart")


def tokens_of(one: Stream) -> tuple[int, int]:
    """What a stream took: tokens of input and of output."""
    return (one.usage["prompt_tokens"], one.usage["completion_tokens"]) if one.usage else (-1, -1)


def gap_nats(installation: Installation, one: Stream, other: Stream) -> float:
    """How far apart in log probability the first tokens are in which two answers differ."""
    all_ready(installation, len(replicas(installation)))
    socket = str(replicas(installation)[0]["socket"])
    with httpx.Client(transport=httpx.HTTPTransport(uds=socket), base_url="http://engine", timeout=60) as engine:

        def tokens(text: str) -> list[int]:
            asked = {"content": text, "add_special": False, "parse_special": True}
            return list(engine.post("/tokenize", json=asked).json()["tokens"])

        left, right = tokens(one.text), tokens(other.text)
        at = next((n for n, (a, b) in enumerate(zip(left, right, strict=False)) if a != b), None)
        if at is None:
            return float("inf")
        asked = {
            "prompt": tokens(one.prompt) + left[:at], "n_predict": 1, "n_probs": 50, "temperature": 0,
            "cache_prompt": False,
        }  # fmt: skip
        scored = engine.post("/completion", json=asked).json()["completion_probabilities"][0]["top_logprobs"]
        logprobs = {entry["id"]: entry["logprob"] for entry in scored}
        return abs(logprobs.get(left[at], -99.0) - logprobs.get(right[at], 99.0))


def resumed_of(installation: Installation) -> dict[str, int]:
    """How often each request was resumed, from the ledger."""
    entries = read(installation.home / "ledger/gateway-0")
    return {
        str(one.fields["request_id"]): int(one.fields.get("resumed") or 0)
        for one in entries
        if "request_id" in one.fields
    }


def undisturbed(installation: Installation) -> dict[str, Stream]:
    """Every answer as it comes when nobody dies, by prompt."""
    heard = Streams(installation).heard()
    assert all(one.whole for one in heard), [one.error for one in heard]
    return {one.prompt: one for one in heard}
