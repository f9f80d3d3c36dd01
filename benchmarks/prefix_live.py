"""Two real engines, departments with system prompts of their own, conversations: `python -m benchmarks.prefix_live`.

The same conversations are held once for each rule, in turns: ours, round robin, least connections. The engines are of
one `fastness up` with two replicas; the gateway is made in this process, since a rule cannot be set in the product.
Only the choice of the replica differs: which slot of it is taken is the production code's matter under all rules.
Printed: the input tokens that engines had to read (from their usage), and times to the first token.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import uvloop

from benchmarks.bodies import CHAT_PATH, MODEL
from benchmarks.figures import percentile, table
from benchmarks.installation import installation
from fastness.config import load, run_directory
from fastness.core.deployment import Deployment
from fastness.core.marking import Label, Lattice, Marking, Node, Profile
from fastness.core.policy import Decision, Query
from fastness.core.replica import ReplicaState, RoutingSnapshot
from fastness.core.tenant import Principal
from fastness.engines.catalogue import dialect
from fastness.gateway.app import App
from fastness.gateway.choosing import Choosing
from fastness.gateway.gateway import Gateway
from fastness.gateway.http import EngineConnections, HttpServer
from fastness.gateway.in_force import PolicyInForce
from fastness.gateway.meters import Meters
from fastness.gateway.routing import Routing
from fastness.gateway.wire.errors import error_body
from fastness.ledger.memory import MemoryLedger
from fastness.telemetry.log import JsonLog
from fastness.telemetry.metrics import GatewayMetrics
from fastness.traffic.lanes import Lane, least_loaded
from fastness.traffic.prompt import Prompt
from fastness.traffic.replica_choice import Choice

REPLICAS, READY_S = 2, 60.0
SETTINGS = {"FASTNESS__ENGINE__REPLICAS": str(REPLICAS), "FASTNESS__ENGINE__SLOTS": "8"}
DEPARTMENTS, USERS, TURNS = 4, 2, 3
SYSTEM_WORDS, QUESTION_WORDS, ANSWER_TOKENS = 250, 20, 8
OPEN = Label("OPEN")
WORDS = ("letter", "permit", "road", "school", "water", "grant", "review", "office", "notice", "record", "claim")


class LeastConnections(Choosing):
    """The replica with the smallest part of its slots in use."""

    def weigh(self, prompt: Prompt, lanes: Sequence[Lane]) -> Choice:
        """See Choosing."""
        return self._on(least_loaded(prompt, lanes).replica, prompt)

    def _on(self, replica: str, prompt: Prompt) -> Choice:
        return Choice(replica, prompt.size, self.replicas.memory(replica).known(prompt), ())


class RoundRobin(LeastConnections):
    """One after the other, of those that have room."""

    turn = 0

    def weigh(self, prompt: Prompt, lanes: Sequence[Lane]) -> Choice:
        """See Choosing."""
        RoundRobin.turn += 1
        return self._on(sorted(lane.replica for lane in lanes)[RoundRobin.turn % len(lanes)], prompt)


RULES: dict[str, type[Choosing]] = {
    "fastness": Choosing,
    "round robin": RoundRobin,
    "least connections": LeastConnections,
}


class Departments:
    """The key is the department's name."""

    def authenticate(self, authorization: str | None, _now_s: float, _uris: tuple[str, ...] = ()) -> Principal:
        """See Authenticator."""
        return Principal("key", (authorization or "").removeprefix("Bearer "), frozenset({"developer"}))


class Permissive:
    """Permits everything under one marking."""

    digest = "0" * 64
    lattice = Lattice(Profile("one", "One", (Marking("OPEN", ""),), (), (), (), "OPEN"))

    def decide(self, _query: Query) -> Decision:
        """See PolicyEngine."""
        return Decision(True, "all")


@dataclass(slots=True)
class Seen:
    """What one rule made of the conversations."""

    input_tokens: int = 0
    read_tokens: int = 0
    first_s: list[float] = field(default_factory=list)
    later_s: list[float] = field(default_factory=list)


def words(dice: random.Random, count: int) -> str:
    """Write so many words."""
    return " ".join(dice.choice(WORDS) for _ in range(count))


def snapshot_of(home: Path) -> RoutingSnapshot:
    """Read what the installation routes to, open to all, once every replica is ready; raises TimeoutError."""
    deadline = time.monotonic() + READY_S
    while time.monotonic() < deadline:
        written = (run_directory(home, os.getuid()) / "routing.json").read_bytes()
        found = msgspec.json.decode(written, type=RoutingSnapshot)
        replicas = tuple(one for one in found.replicas if one.model == MODEL)
        if len(replicas) == REPLICAS and all(one.state is ReplicaState.READY for one in replicas):
            models = tuple(card for card in found.models if card.name == MODEL)
            deployments = tuple(Deployment(one.name, one.model, OPEN, OPEN) for one in found.deployments)
            nodes = tuple(Node(node.name, node.jurisdiction, "", "", OPEN) for node in found.nodes)
            return RoutingSnapshot(1, models, replicas, deployments, nodes)
        time.sleep(0.1)
    raise TimeoutError(f"{REPLICAS} replicas were not ready within {READY_S:g} s")


@asynccontextmanager
async def gateway(home: Path, snapshot: RoutingSnapshot, rule: type[Choosing]) -> AsyncIterator[int]:
    """A gateway in this process with that rule; yields its port."""
    settings, _ = load({"FASTNESS_HOME": str(home)})
    engines = EngineConnections()
    routing = Routing(settings.traffic, dialect, engines.forget, choosing=rule)
    routing.replace(snapshot)
    log = JsonLog(home / "bench.jsonl", "gateway", time.time)
    meters = Meters(GatewayMetrics())
    one = Gateway(settings, routing, Departments(), MemoryLedger("bench"), engines, meters, log, time.time)
    one.put_in_force(PolicyInForce(Permissive(), 1_000))
    server = HttpServer(
        App(one), settings.gateway, new_request_id=lambda: "req_" + os.urandom(16).hex(),
        error_body=lambda refusal, _: error_body(refusal),
    )  # fmt: skip
    try:
        yield await server.listen("127.0.0.1", 0)
    finally:
        await server.close()
        await engines.close()


async def ask(port: int, department: str, messages: list[dict[str, str]], seen: Seen) -> str:
    """Ask once, note what it took, and return the answer."""
    body = {"model": MODEL, "messages": messages, "max_tokens": ANSWER_TOKENS, "temperature": 0, "stream": True}
    raw = json.dumps(body | {"stream_options": {"include_usage": True}}).encode()
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    began, first, text = time.perf_counter(), None, ""
    head = f"POST {CHAT_PATH} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {department}\r\nconnection: close\r\n"
    writer.write(f"{head}content-length: {len(raw)}\r\n\r\n".encode() + raw)
    async for line in reader:
        if not line.startswith(b"data: {"):
            continue
        event = json.loads(line[6:])
        for choice in event["choices"]:
            if content := choice["delta"].get("content"):
                first = first or time.perf_counter() - began
                text += content
        if usage := event.get("usage"):
            seen.input_tokens += usage["prompt_tokens"]
            seen.read_tokens += usage["prompt_tokens"] - usage["prompt_tokens_details"]["cached_tokens"]
    writer.close()
    if first is None:
        raise RuntimeError("an answer failed")
    (seen.later_s if len(messages) > 2 else seen.first_s).append(first)
    return text


async def hold(port: int, seen: Seen, seed: int) -> None:
    """Hold all conversations, each user's turns one after the other, all users at the same time."""

    async def talk(number: int) -> None:
        dice, department = random.Random(f"{seed}/{number}"), f"d{number % DEPARTMENTS}"
        system = f"{department} {words(random.Random(f'{seed}/{department}'), SYSTEM_WORDS)}"
        messages = [{"role": "system", "content": system}]
        await asyncio.sleep(dice.random())
        for _ in range(TURNS):
            messages.append({"role": "user", "content": words(dice, QUESTION_WORDS)})
            answer = await ask(port, department, messages, seen)
            messages.append({"role": "assistant", "content": answer})
            await asyncio.sleep(dice.random())

    await asyncio.gather(*(talk(number) for number in range(DEPARTMENTS * USERS)))


async def measure(home: Path, rounds: int) -> dict[str, Seen]:
    """Take turns between the rules."""
    snapshot, seen = snapshot_of(home), {name: Seen() for name in RULES}
    for turn in range(rounds):
        names = list(RULES)
        for name in names[turn % len(names) :] + names[: turn % len(names)]:
            async with gateway(home, snapshot, RULES[name]) as port:
                await hold(port, seen[name], seed=turn)
    return seen


def report(seen: dict[str, Seen]) -> str:
    """Lay the results out as text."""
    rows = [
        (
            name,
            f"{one.input_tokens:,}",
            f"{one.read_tokens:,}",
            f"{1 - one.read_tokens / one.input_tokens:.0%}",
            f"{percentile(one.first_s + one.later_s, 50) * 1e3:,.0f}",
            f"{percentile(one.later_s, 50) * 1e3:,.0f}",
        )
        for name, one in seen.items()
    ]
    return table(("rule", "input tokens", "read", "spared", "TTFT p50 ms", "of later turns"), rows)


def main() -> None:
    """Read the command line, measure, and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="fst-bench-") as folder, installation(Path(folder), settings=SETTINGS):
        print(report(uvloop.run(measure(Path(folder), chosen.rounds))))


if __name__ == "__main__":
    main()
