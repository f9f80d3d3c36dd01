"""Simulated replicas: a bounded cache of blocks, prompts read one after the other, answers written side by side. Pure.

A model of an engine, not an engine: reading takes time by the tokens that are not in the cache when it begins, and an
answer's token takes longer the more answers are written beside it. The cache is one LRU of whole blocks.
"""

from __future__ import annotations

import heapq
from collections import OrderedDict, deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

BLOCK_TOKENS = 512


@dataclass(frozen=True, slots=True)
class Pace:
    """What a replica can do: a mid-sized model on one accelerator, roughly. Times in seconds."""

    read_tokens_per_s: float = 8_000.0
    token_s: float = 0.02
    token_beside_s: float = 0.0004
    cache_blocks: int = 4_000
    slots: int = 256


@dataclass(slots=True, eq=False)
class Request:
    """One line of the trace. `blocks` are the ids of the prompt's blocks; times in seconds from the trace's start."""

    number: int
    arrives_s: float
    tokens: int
    output_tokens: int
    blocks: tuple[int, ...]
    replica: int = -1
    cached_tokens: int = 0
    first_s: float = 0.0
    note: object = None


@dataclass(slots=True)
class Replica:
    """One simulated replica, as rules may look at it."""

    number: int
    pace: Pace
    in_flight: int = 0
    writing: int = 0
    waiting: deque[Request] = field(default_factory=deque)
    reading: Request | None = None
    cache: OrderedDict[int, None] = field(default_factory=OrderedDict)
    running_blocks: int = 0
    read_tokens: int = 0
    in_flight_s: float = 0.0
    capacity: int = 0

    @property
    def replica(self) -> str:
        """Its name, as the production code calls lanes."""
        return str(self.number)

    def cached(self, blocks: Sequence[int]) -> int:
        """How many leading blocks are in the cache."""
        for at, block in enumerate(blocks):
            if block not in self.cache:
                return at
        return len(blocks)

    def keep(self, blocks: Sequence[int]) -> None:
        """Use blocks, and forget what was used longest ago."""
        for block in reversed(blocks):
            self.cache[block] = None
            self.cache.move_to_end(block)
        while len(self.cache) > self.pace.cache_blocks:
            self.cache.popitem(last=False)


class Rule(Protocol):
    """Who takes a request. It hears of everything that a gateway hears of."""

    name: str

    def choose(self, request: Request, replicas: Sequence[Replica]) -> int:
        """Return the number of the replica; it counts as sent from then on."""
        ...

    def read(self, request: Request) -> None:
        """Hear that the first token came."""
        ...

    def ended(self, request: Request) -> None:
        """Hear that the answer is over; `cached_tokens` is what the engine said."""
        ...


def run(trace: Sequence[Request], rule: Rule, count: int, pace: Pace) -> list[Replica]:
    """Play the trace through `count` replicas; the requests then tell what became of them."""
    replicas = [Replica(number, pace, capacity=pace.slots) for number in range(count)]
    events: list[tuple[float, int, int, Request]] = [
        (request.arrives_s, 1, request.number, request) for request in trace
    ]  # kind 1: arrives, 2: is read, 0: is over
    heapq.heapify(events)
    while events:
        now, kind, _, request = heapq.heappop(events)
        if kind == 1:
            request.replica = rule.choose(request, replicas)
            one = replicas[request.replica]
            one.in_flight += 1
            one.running_blocks += len(request.blocks)
            one.waiting.append(request)
        elif kind == 2:
            one = replicas[request.replica]
            one.reading = None
            one.writing += 1
            request.first_s = now - request.arrives_s
            rule.read(request)
            took_s = request.output_tokens * (pace.token_s + pace.token_beside_s * one.writing)
            heapq.heappush(events, (now + took_s, 0, request.number, request))
        else:
            one = replicas[request.replica]
            one.in_flight -= 1
            one.writing -= 1
            one.in_flight_s += now - request.arrives_s
            one.running_blocks -= len(request.blocks)
            rule.ended(request)
        _read_next(one, now, events)
    return replicas


def _read_next(one: Replica, now: float, events: list[tuple[float, int, int, Request]]) -> None:
    if one.reading is not None or not one.waiting:
        return
    request = one.reading = one.waiting.popleft()
    request.cached_tokens = min(one.cached(request.blocks) * BLOCK_TOKENS, request.tokens)
    one.keep(request.blocks)
    new = max(1, request.tokens - request.cached_tokens)
    one.read_tokens += new
    heapq.heappush(events, (now + new / one.pace.read_tokens_per_s, 2, request.number, request))
