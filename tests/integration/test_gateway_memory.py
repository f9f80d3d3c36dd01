"""A request that has ended leaves nothing behind, and does not need the garbage collector for it."""

from __future__ import annotations

import asyncio
import gc
import json
import time
from pathlib import Path

import pytest
import uvloop

from fastness.config import load
from fastness.core.deployment import Deployment
from fastness.core.marking import Label, Lattice, Marking, Node, Profile
from fastness.core.model import ModelCard, ModelKind
from fastness.core.policy import Decision, Query
from fastness.core.replica import Replica, ReplicaState, RoutingSnapshot
from fastness.core.tenant import Principal, Role
from fastness.engines.llamacpp.dialect import LlamaCppDialect
from fastness.gateway.app import App
from fastness.gateway.gateway import Gateway
from fastness.gateway.http import EngineConnections, HttpServer
from fastness.gateway.in_force import PolicyInForce
from fastness.gateway.meters import Meters
from fastness.gateway.process import _request_id
from fastness.gateway.routing import Routing
from fastness.gateway.trip import Trip
from fastness.gateway.wire.errors import error_body
from fastness.ledger.memory import MemoryLedger
from fastness.telemetry.log import JsonLog
from fastness.telemetry.metrics import GatewayMetrics

pytestmark = pytest.mark.slow

EVENTS = (
    {"choices": [{"delta": {"content": "hi"}, "finish_reason": None}]},
    {"choices": [{"delta": {}, "finish_reason": "stop"}]},
    {"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 1}},
)
HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n"
ROUNDS = 20
IMPATIENT = {"FASTNESS__TRAFFIC__CIRCUIT_OPEN_S": "0.001", "FASTNESS__TRAFFIC__CIRCUIT_OPEN_MAX_S": "0.001"}


class Anyone:
    def authenticate(
        self, _authorization: str | None, _now_s: float, _certificate_uris: tuple[str, ...] = ()
    ) -> Principal:
        return Principal("key_1", "default", frozenset({Role.DEVELOPER.value}))


class Permissive:
    """Permits everything under one marking."""

    digest = "0" * 64
    lattice = Lattice(Profile("one", "One", (Marking("OPEN", ""),), (), (), (), "OPEN"))

    def decide(self, _query: Query) -> Decision:
        return Decision(True, "all")


async def engine(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answers every chat alike; one that says `die` is cut off in the middle, one that says `wait` is kept waiting."""
    head = await reader.readuntil(b"\r\n\r\n")
    length = int(
        next(line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length")).split(b":")[1]
    )
    asked = await reader.readexactly(length)
    writer.write(HEAD)
    for event in EVENTS:
        writer.write(b"data: %b\n\n" % json.dumps(event).encode())
        if b"wait" in asked:
            await reader.read()
        if b"die" in asked or b"wait" in asked:
            break
    else:
        writer.write(b"data: [DONE]\n\n")
    writer.close()


async def ask(port: int, body: dict[str, object], *, leave: bool = False) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    raw = json.dumps(body).encode()
    request = b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: %d\r\n\r\n" % len(
        raw
    )
    writer.write(request + raw)
    heard = await (reader.readline() if leave else reader.read())
    writer.close()
    await writer.wait_closed()
    return heard


async def sweep(gateway: Gateway) -> None:
    while True:
        await asyncio.sleep(0.005)
        gateway.sweep()


async def trips_left(home: Path, body: dict[str, object], expected: bytes, *, leave: bool) -> int:
    settings, _ = load({"FASTNESS_HOME": str(home)} | IMPATIENT)
    socket = str(home / "e.sock")
    fake = await asyncio.start_unix_server(engine, socket)
    connections = EngineConnections()
    now = asyncio.get_running_loop().time
    routing = Routing(settings.traffic, lambda _: LlamaCppDialect(), connections.forget, now)
    card = ModelCard("small", ModelKind.CHAT, "0" * 64, 1, "MIT", 2_048, 1)
    replica = Replica("small-0", "small", "llamacpp", ReplicaState.READY, socket, 4, 2_048, 1, sealed=True)
    ceiling = Label("OPEN")
    deployment, node = Deployment("small", "small", ceiling, ceiling), Node("local", "GB", "", "", ceiling)
    routing.replace(RoutingSnapshot(1, (card,), (replica,), (deployment,), (node,)))
    log = JsonLog(home / "log.jsonl", "gateway", time.time)
    ledger = MemoryLedger("gateway-0")
    gateway = Gateway(settings, routing, Anyone(), ledger, connections, Meters(GatewayMetrics()), log, time.time)
    gateway.put_in_force(PolicyInForce(Permissive(), 1_000))
    server = HttpServer(
        App(gateway), settings.gateway, new_request_id=_request_id, error_body=lambda refusal, _: error_body(refusal)
    )
    port = await server.listen("127.0.0.1", 0)
    sweeping = asyncio.create_task(sweep(gateway))
    try:
        for _ in range(ROUNDS):
            assert expected in await ask(port, {"model": "small"} | body, leave=leave)
        await asyncio.sleep(0.3)
        return sum(isinstance(one, Trip) for one in gc.get_objects())
    finally:  # uvloop never comes to its end with a server that is open
        sweeping.cancel()
        await server.close()
        await connections.close()
        fake.close()


SAY = [{"role": "user", "content": "x" * 1_000}]
DIE = [{"role": "user", "content": "die"}]
WAIT = [{"role": "user", "content": "wait"}]


@pytest.mark.parametrize(
    ("body", "expected", "leave"),
    [
        ({"messages": SAY}, b'"content":"hi"', False),
        ({"messages": SAY, "stream": True}, b"[DONE]", False),
        ({"messages": SAY, "n": 3, "stream": True}, b"[DONE]", False),
        ({"messages": SAY, "frobnicate": 1}, b"unknown_field", False),
        ({"messages": SAY, "max_tokens": 1_500}, b"502", False),
        ({"messages": DIE}, b"engine_failed", False),
        ({"messages": DIE, "stream": True}, b"engine_failed", False),
        ({"messages": WAIT, "stream": True}, b"200 OK", True),
    ],
    ids=["whole", "stream", "choices", "refused", "count fails", "engine dies", "dies in stream", "client leaves"],
)  # fmt: skip
def test_a_request_that_has_ended_is_forgotten_without_the_collector(tmp_path, body, expected, leave):
    gc.collect()
    gc.disable()
    try:
        left = uvloop.run(trips_left(tmp_path, body, expected, leave=leave))
    finally:
        gc.enable()
    assert left == 0
