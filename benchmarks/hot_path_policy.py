"""What identity, marking and policy cost a request: `python -m benchmarks.hot_path_policy [--requests N]`.

The steps of the journey itself (authenticate, mark, authorise) and what a slot asks once more, on the shipped rules and
Cedar, with warm memories: 100 keys, three nodes, requests that set different things. CPU of this thread, each request
timed alone, the clock's own cost taken off; beside it the parts, and what it costs when nothing is remembered yet. Also
what the slots of requests cost that are cleared for all replicas, and for some.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import os
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, cast

from benchmarks.figures import percentile
from fastness.config import LimitSettings, Settings, TrafficSettings
from fastness.core.deployment import Deployment
from fastness.core.marking import Label, Node
from fastness.core.model import ModelCard, ModelKind
from fastness.core.replica import Replica, ReplicaState, RoutingSnapshot
from fastness.core.request import Operation
from fastness.core.tenant import AccessSnapshot, ApiKey, Role, Tenant
from fastness.engines.catalogue import dialect
from fastness.gateway.gateway import Gateway
from fastness.gateway.in_force import PolicyInForce
from fastness.gateway.journey import authenticate, authorise, mark
from fastness.gateway.parameters import parameters_of
from fastness.gateway.routing import Routing
from fastness.gateway.trip import Trip
from fastness.gateway.wire.chat import parse_chat
from fastness.identity import keys
from fastness.identity.authenticator import Authenticator
from fastness.policy.bundle import shipped_bundle
from fastness.policy.cedar import CedarEngine
from fastness.policy.profile import shipped_profile
from fastness.traffic.fair_queue import Ask, Band, FairQueue

KEYS: Final = 100
BUDGET_US: Final = 30.0
"""What all of it may cost at the median."""
BODIES: Final[tuple[dict[str, Any], ...]] = (
    {},
    {"temperature": 0.2, "max_tokens": 256},
    {"temperature": 0.7, "top_p": 0.9, "seed": 7, "stream": True, "stream_options": {"include_usage": True}},
    {"n": 3, "max_tokens": 1_000, "stop": ["\n"], "logprobs": True},
)
MARKINGS: Final = (None, "OFFICIAL", "OFFICIAL-SENSITIVE")


@dataclass(frozen=True, slots=True)
class Asked:
    """As much of an exchange as the three steps look at."""

    headers: dict[str, str]
    certificate_uris: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Stage:
    """A gateway without a listener, and requests for it."""

    gateway: Gateway
    engine: CedarEngine
    trips: tuple[Trip, ...]


def stage() -> Stage:
    """Set it up; needs a running loop."""
    pepper, now_s = os.urandom(32), int(time.time())
    texts = [keys.mint(os.urandom(32), Role.DEVELOPER) for _ in range(KEYS)]
    high = Label("OFFICIAL-SENSITIVE")
    authenticator = Authenticator(pepper)
    issued = tuple(
        ApiKey(f"key_{n}", "health", f"{n}", Role.DEVELOPER, keys.hint(text), keys.mac(pepper, text), now_s)
        for n, text in enumerate(texts)
    )
    authenticator.replace(AccessSnapshot(1, (Tenant("health", "Health", now_s, clearance=high),), issued))
    routing = Routing(TrafficSettings(), dialect, lambda _: None)
    card = ModelCard("small", ModelKind.CHAT, "b179" * 16, 1, "none", 8_192, now_s)
    nodes = tuple(Node(f"node-{n}", "GB", "crown", "GB", high) for n in range(3))
    one = Replica("small-0", "small", "llamacpp", ReplicaState.READY, "/x", 8, 8_192, 1, sealed=True)
    replicas = tuple(replace(one, id=f"small-{n}", node=f"node-{n}") for n in range(3))
    routing.replace(RoutingSnapshot(1, (card,), replicas, (Deployment("small", "small", high, high),), nodes))
    gateway = Gateway(Settings(Path("/")), routing, authenticator, *(cast(Any, None),) * 4, time.time)
    engine = CedarEngine(shipped_bundle(shipped_profile("uk")))
    gateway.put_in_force(PolicyInForce(engine, 65_536))
    return Stage(gateway, engine, tuple(_trips(texts)))


def _trips(texts: list[str]) -> list[Trip]:
    trips = []
    for text in texts:
        for marking in MARKINGS:
            for body in BODIES:
                raw = json.dumps({"model": "small", "messages": [{"role": "user", "content": "hi"}]} | body).encode()
                headers = {"authorization": f"Bearer {text}"} | ({"fastness-marking": marking} if marking else {})
                trip = Trip(cast(Any, Asked(headers)), Operation.CHAT)
                trip.request = parse_chat(raw, LimitSettings())
                trips.append(trip)
    return trips


def each_us(work: Callable[[Trip], object], trips: tuple[Trip, ...], count: int) -> list[float]:
    """Time `work` on each of `count` trips, in CPU microseconds, the clock's own cost taken off."""
    now = time.thread_time_ns
    idle = sorted(-now() + now() for _ in range(10_000))[5_000]
    spent = []
    gc.collect()
    gc.disable()
    for number in range(count):
        trip = trips[number % len(trips)]
        began = now()
        work(trip)
        spent.append(max(0, now() - began - idle) / 1_000)
    gc.enable()
    return spent


def slots_us(count: int, usable: frozenset[str] | None) -> float:
    """CPU microseconds of one arrival and one release, eight replicas, nobody waiting."""
    queue = FairQueue(1_024)
    queue.set_lanes((f"small-{n}", 8) for n in range(8))
    ask = Ask("health", 1.0, Band.STANDARD, 100, 100, 60.0, usable)
    began = time.thread_time_ns()
    for number in range(count):
        taken = queue.arrive(number, ask, 0.0)
        assert isinstance(taken, str)
        queue.release(taken, 0.0, 1.0)
    return (time.thread_time_ns() - began) / count / 1_000


async def measure(count: int) -> dict[str, float]:
    """Measure everything; names say the unit."""
    found = stage()
    gateway = found.gateway

    def whole(trip: Trip) -> None:
        authenticate(gateway, trip)
        mark(gateway, trip)
        authorise(gateway, trip)
        gateway.usable(trip)

    parts: dict[str, Callable[[Trip], object]] = {
        "authenticate": lambda trip: authenticate(gateway, trip),
        "mark": lambda trip: mark(gateway, trip),
        "authorise": lambda trip: authorise(gateway, trip),
        "of that, reading the parameters": lambda trip: parameters_of(cast(Any, trip.request)),
        "what a slot asks": gateway.usable,
    }
    first = each_us(whole, found.trips, len(found.trips))
    warm = each_us(whole, found.trips, count)
    figures = {f"all, p{percent}": percentile(warm, percent) for percent in (50, 90, 99)}
    figures |= {name: statistics.median(each_us(work, found.trips, count)) for name, work in parts.items()}
    figures["a key and what it sets for the first time"] = statistics.median(first)
    figures["slot, all replicas cleared"] = slots_us(count, None)
    figures["slot, half of them cleared"] = slots_us(count, frozenset(f"small-{n}" for n in range(4)))
    return figures


def main() -> int:
    """Print the figures; 1 when the budget is exceeded."""
    reader = argparse.ArgumentParser(description=__doc__)
    reader.add_argument("--requests", type=int, default=60_000)
    figures = asyncio.run(measure(reader.parse_args().requests))
    for name, value in figures.items():
        print(f"{name:44} {value:8.2f} µs")
    median = figures["all, p50"]
    print(f"budget {BUDGET_US:g} µs at the median: {'kept' if median <= BUDGET_US else 'EXCEEDED'}")
    return median > BUDGET_US


if __name__ == "__main__":
    raise SystemExit(main())
