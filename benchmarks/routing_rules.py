"""The rules that are compared: ours is the production code, the others are peers' rules in our own words.

Each peer's rule keeps its published defaults. Where it works on text or on small blocks, it works here on the trace's
blocks of 512 tokens; where it reads the engine's events, it is given the truth about the cache.
"""

from __future__ import annotations

import random
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Sequence
from functools import partial
from statistics import fmean, pstdev

from benchmarks.routing_site import BLOCK_TOKENS, Pace, Replica, Request
from fastness.traffic.prefix_index import PrefixIndex
from fastness.traffic.prompt import Prompt
from fastness.traffic.replica_choice import Reading, ReplicaChoice


class Fastness:
    """The production rule, with what the engine reports or without."""

    name = "fastness"

    def __init__(self, count: int, pace: Pace) -> None:
        self._choice = ReplicaChoice()
        for number in range(count):
            self._choice.start(str(number), 1, partial(PrefixIndex, pace.cache_blocks * BLOCK_TOKENS))
        self._on: dict[int, Reading] = {}

    def choose(self, request: Request, replicas: Sequence[Replica]) -> int:
        """See Rule."""
        ends = [min((at + 1) * BLOCK_TOKENS, request.tokens) for at in range(len(request.blocks))]
        prompt = Prompt("tenant", request.blocks, tuple(ends))
        choice = self._choice.choose(prompt, replicas)
        self._on[request.number] = self._choice.send(prompt, choice)
        return int(choice.replica)

    def read(self, request: Request) -> None:
        """See Rule."""
        self._choice.read(self._on[request.number])

    def ended(self, request: Request) -> None:
        """See Rule."""
        self._choice.ended(self._on.pop(request.number), request.cached_tokens)


class Peer:
    """What most rules need: nothing to hear."""

    name = "peer"

    def __init__(self, count: int, pace: Pace) -> None:
        self._random = random.Random(7)
        self._seen: list[OrderedDict[int, None]] = [OrderedDict() for _ in range(count)]
        self._pace = pace

    def choose(self, request: Request, replicas: Sequence[Replica]) -> int:
        """See Rule."""
        raise NotImplementedError

    def read(self, request: Request) -> None:
        """See Rule."""

    def ended(self, request: Request) -> None:
        """See Rule."""

    def _match(self, request: Request, at: int) -> int:
        seen = self._seen[at]
        for depth, block in enumerate(request.blocks):
            if block not in seen:
                return depth
        return len(request.blocks)

    def _send(self, request: Request, at: int, blocks_max: int | None) -> int:
        seen = self._seen[at]
        for block in reversed(request.blocks):
            seen[block] = None
            seen.move_to_end(block)
        while blocks_max is not None and len(seen) > blocks_max:
            seen.popitem(last=False)
        return at


def _least(replicas: Sequence[Replica]) -> int:
    return min(replicas, key=lambda one: one.in_flight).number


class RoundRobin(Peer):
    """One after the other."""

    name = "round robin"

    def choose(self, request: Request, replicas: Sequence[Replica]) -> int:
        """See Rule."""
        return request.number % len(replicas)


class LeastConnections(Peer):
    """Where the fewest are."""

    name = "least connections"

    def choose(self, _request: Request, replicas: Sequence[Replica]) -> int:
        """See Rule."""
        return _least(replicas)


class CacheAware(Peer):
    """sglang and smg: the longest match above a ratio, else least load; on imbalance, least load whatever matches."""

    name = "sglang/smg cache_aware"
    RATIO, ABSOLUTE, RELATIVE, NODES_MAX = 0.5, 32, 1.1, 10_000

    def choose(self, request: Request, replicas: Sequence[Replica]) -> int:
        """See Rule."""
        loads = [one.in_flight for one in replicas]
        chosen = _least(replicas)
        if not (max(loads) - min(loads) > self.ABSOLUTE and max(loads) > self.RELATIVE * min(loads)):
            depth, best = max((self._match(request, at), -at) for at in range(len(replicas)))
            if depth / max(1, len(request.blocks)) > self.RATIO:
                chosen = -best
        return self._send(request, chosen, self.NODES_MAX)


class PrefixHash(Peer):
    """vllm-router and smg: the prompt's beginning on a ring, passed on by whoever has 1.25 times the mean load."""

    name = "vllm-router prefix hash"
    BOUND, POINTS = 1.25, 160

    def __init__(self, count: int, pace: Pace) -> None:
        super().__init__(count, pace)
        self._ring = sorted((self._random.random(), at) for at in range(count) for _ in range(self.POINTS))
        self._places = [place for place, _ in self._ring]

    def choose(self, request: Request, replicas: Sequence[Replica]) -> int:
        """See Rule."""
        limit = self.BOUND * (sum(one.in_flight for one in replicas) + 1) / len(replicas)
        start = bisect_right(self._places, random.Random(request.blocks[0]).random())
        for step in range(len(self._ring)):
            at = self._ring[(start + step) % len(self._ring)][1]
            if replicas[at].in_flight < limit:
                return at
        return _least(replicas)


class LlmD(Peer):
    """llm-d's approximate scorer: 3 x match of the first 4,096 tokens, 2 x short queue, 2 x free cache."""

    name = "llm-d approximate"
    HEAD_BLOCKS, BLOCKS_MAX = 8, 976

    def choose(self, request: Request, replicas: Sequence[Replica]) -> int:
        """See Rule."""
        queues = [len(one.waiting) for one in replicas]
        low, spread = min(queues), (max(queues) - min(queues)) or 1
        head = min(self.HEAD_BLOCKS, len(request.blocks)) or 1
        scores = [
            3 * min(self._match(request, at), head) / head
            + 2 * (1 - (queues[at] - low) / spread)
            + 2 * (1 - min(1.0, one.running_blocks / self._pace.cache_blocks))
            for at, one in enumerate(replicas)
        ]
        best = max(scores)
        return self._send(
            request, self._random.choice([at for at, score in enumerate(scores) if score == best]), self.BLOCKS_MAX
        )


class AIBrix(Peer):
    """AIBrix: the best match among those within one deviation of the mean load; on imbalance, least load."""

    name = "AIBrix prefix"
    IMBALANCE = 8

    def choose(self, request: Request, replicas: Sequence[Replica]) -> int:
        """See Rule."""
        loads = [one.in_flight for one in replicas]
        chosen = _least(replicas)
        if max(loads) - min(loads) <= self.IMBALANCE:
            limit = fmean(loads) + pstdev(loads)
            able = [(self._match(request, at), -load, -at) for at, load in enumerate(loads) if load <= limit]
            if able and max(able)[0]:
                chosen = -max(able)[2]
        return self._send(request, chosen, None)


class Dynamo(Peer):
    """Dynamo: blocks to read there, this prompt's and those under way, plus blocks in use; it sees the caches."""

    name = "Dynamo KV cost"

    def __init__(self, count: int, pace: Pace) -> None:
        super().__init__(count, pace)
        self._unread = [0] * count
        self._new: dict[int, int] = {}

    def choose(self, request: Request, replicas: Sequence[Replica]) -> int:
        """See Rule."""
        new = [len(request.blocks) - one.cached(request.blocks) for one in replicas]
        costs = [self._unread[at] + new[at] + one.running_blocks for at, one in enumerate(replicas)]
        chosen = costs.index(min(costs))
        self._new[request.number] = new[chosen]
        self._unread[chosen] += new[chosen]
        return chosen

    def read(self, request: Request) -> None:
        """See Rule."""
        self._unread[request.replica] -= self._new.pop(request.number)


class ProductionStack(Peer):
    """production-stack's prefixaware: the longest match that ever was, any of equals; no load, nothing forgotten."""

    name = "production-stack prefix"

    def choose(self, request: Request, replicas: Sequence[Replica]) -> int:
        """See Rule."""
        matches = [self._match(request, at) for at in range(len(replicas))]
        return self._send(request, self._random.choice([at for at, m in enumerate(matches) if m == max(matches)]), None)


class LoadAware(Peer):
    """production-stack's loadaware: matched share of the prompt, minus the relative load."""

    name = "production-stack load"

    def choose(self, request: Request, replicas: Sequence[Replica]) -> int:
        """See Rule."""
        top = max(one.in_flight for one in replicas) or 1
        total = len(request.blocks) or 1
        scores = [self._match(request, at) / total - one.in_flight / top for at, one in enumerate(replicas)]
        return self._send(request, scores.index(max(scores)), None)


RULES = (
    Fastness,
    RoundRobin,
    LeastConnections,
    CacheAware,
    PrefixHash,
    LlmD,
    AIBrix,
    Dynamo,
    ProductionStack,
    LoadAware,
)
