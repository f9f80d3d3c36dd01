"""A gateway in this process, whole but for its engines: two nodes, rules in Python, engines that keep notes."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import uvloop

from fastness.config import NodeSettings, Settings, TrafficSettings
from fastness.core.batch import SOCKET_NAME
from fastness.core.deployment import Deployment
from fastness.core.error import Refusal
from fastness.core.marking import Caveat, Label, Lattice, Marking, Node, Profile
from fastness.core.model import ModelCard, ModelKind
from fastness.core.policy import Action, Decision, Query
from fastness.core.replica import Replica, ReplicaState, RoutingSnapshot
from fastness.core.tenant import Principal
from fastness.engines.llamacpp.dialect import LlamaCppDialect
from fastness.gateway.app import App
from fastness.gateway.gateway import Gateway
from fastness.gateway.http import EngineConnections, HttpServer
from fastness.gateway.in_force import PolicyInForce
from fastness.gateway.meters import Meters
from fastness.gateway.routing import Routing
from fastness.gateway.wire.errors import error_body
from fastness.ledger.memory import MemoryLedger
from fastness.telemetry.log import JsonLog
from fastness.telemetry.metrics import GatewayMetrics

PROFILE = Profile(
    "test",
    "Test",
    (Marking("OPEN", "anybody"), Marking("CLOSED", "some", ("OPEN",)), Marking("SECRET", "few", ("CLOSED",))),
    (Caveat("OURS ONLY", "nobody else", "CLOSED"),),
    (("GB", "Here"),),
    (),
    "OPEN",
)
LATTICE = Lattice(PROFILE)
OPEN, CLOSED, SECRET = Label("OPEN"), Label("CLOSED"), Label("SECRET")
LOW = Node("low", "GB", "", "", OPEN)
HIGH = Node("high", "GB", "", "", CLOSED)
ANN = Principal("key_ann", "health", frozenset({"developer"}), tenant_clearance=CLOSED)
EVENTS = (
    {"choices": [{"delta": {"content": "hi"}, "finish_reason": None}]},
    {"choices": [{"delta": {}, "finish_reason": "stop"}]},
    {"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 1}},
)
STREAM_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n"
JSON_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b"
CHAT = "/v1/chat/completions"


class Rules:
    """A policy engine that says what this page says, and counts how often it was asked."""

    def __init__(self, *, denies: str = "") -> None:
        self.digest = (denies or "permits").encode().hex().ljust(64, "0")[:64]
        self.lattice = LATTICE
        self.asked: list[Query] = []
        self._denies = denies

    def decide(self, query: Query) -> Decision:
        self.asked.append(query)
        principal, deployment = query.principal, query.deployment
        assert deployment or query.action is Action.BATCH
        if self._denies in query.parameters.uses:
            needed = f"a request without {self._denies}"
            return Decision(False, "bounds/1", "parameter_not_allowed", needed, f"it sets {self._denies}")
        for what, ceiling in (
            *(((f"deployment {deployment.name}", deployment.ceiling),) if deployment else ()),
            ("the caller", principal.clearance or principal.tenant_clearance or OPEN),
            *((("node " + query.node.name, query.node.ceiling),) if query.node else ()),
        ):
            if not LATTICE.dominates(ceiling, query.label):
                had = f"{what} is cleared to {ceiling}"
                return Decision(False, "ceilings/3", "marking_not_cleared", f"{query.label}", had)
        return Decision(True, "infer/1")


@dataclass
class Engine:
    """Notes whatever it is asked. While `busy` is set it answers nothing."""

    socket: str
    asked: list[tuple[str, bytes]] = field(default_factory=list)
    busy: bool = False
    freed: asyncio.Event = field(default_factory=asyncio.Event)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                lines = head.lower().split(b"\r\n")
                length = int(next(line for line in lines if line.startswith(b"content-length")).split(b":")[1])
                body = await reader.readexactly(length)
                path = head.split(b" ")[1].decode()
                self.asked.append((path, body))
                if self.busy:
                    await self.freed.wait()
                if await self._answer(path, json.loads(body), writer):
                    break
        writer.close()

    async def _answer(self, path: str, asked: dict[str, Any], writer: asyncio.StreamWriter) -> bool:
        if "input_tokens" in path:
            answer = b'{"input_tokens":5}'
        elif path == "/v1/embeddings":
            rows = [{"embedding": [0.5], "index": at} for at, _ in enumerate(asked["input"])]
            answer = json.dumps({"data": rows, "usage": {"prompt_tokens": 1}}).encode()
        else:
            events = [b"data: %b\n\n" % json.dumps(event).encode() for event in EVENTS]
            writer.write(STREAM_HEAD + b"".join(events) + b"data: [DONE]\n\n")
            return True
        writer.write(JSON_HEAD % (len(answer), answer))
        return False

    def free(self) -> None:
        self.busy = False
        self.freed.set()


class Keys:
    """Whoever sends `Bearer NAME` is the principal of that name; a certificate's first URI names one, too."""

    def __init__(self, *principals: Principal) -> None:
        self.known = {one.id.removeprefix("key_"): one for one in principals}

    def authenticate(
        self, authorization: str | None, _now_s: float, certificate_uris: tuple[str, ...] = ()
    ) -> Principal:
        name = (authorization or "").removeprefix("Bearer ") or (certificate_uris or ("",))[0]
        if name not in self.known:
            raise Refusal("invalid_api_key", f"There is no key {name!r}.")
        return self.known[name]

    def on_behalf_of(self, key: str, _now_s: float) -> Principal:
        return self.authenticate(key.removeprefix("key_"), 0.0)


def card(name: str, kind: ModelKind = ModelKind.CHAT) -> ModelCard:
    return ModelCard(name, kind, "ab" * 32, 1, "MIT", 2_048, 0)


@dataclass
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def mark(self) -> str | None:
        return self.headers.get("fastness-marking")

    @property
    def error(self) -> dict[str, Any]:
        return dict(json.loads(self.body)["error"])

    @property
    def code(self) -> str:
        return str(self.error["code"])


class Door:
    """The gateway and everything around it."""

    def __init__(self, home: Path, *principals: Principal, **traffic: Any) -> None:
        node = NodeSettings(ceiling="CLOSED")
        settings = Settings(home, traffic=TrafficSettings(**({"engine_queue": 0} | traffic)), node=node)
        self.home = home
        self.engines = {name: Engine(str(home / f"{name}.sock")) for name in ("low", "high")}
        self.connections = EngineConnections()
        self.ledger = MemoryLedger("gateway-0")
        self.rules = Rules()
        loop = asyncio.get_running_loop()
        routing = Routing(settings.traffic, lambda _: LlamaCppDialect(), self.connections.forget, loop.time)
        log = JsonLog(home / "log.jsonl", "gateway-0", lambda: 0.0)
        meters = Meters(GatewayMetrics())
        self.keys = Keys(*(principals or (ANN,)))
        self.gateway = Gateway(settings, routing, self.keys, self.ledger, self.connections, meters, log, lambda: 1.0)
        self.app = App(self.gateway, home / SOCKET_NAME)
        self.server = HttpServer(
            self.app,
            settings.gateway,
            new_request_id=lambda: "req_1",
            error_body=lambda refusal, _: error_body(refusal),
        )
        self.port = 0
        self.cards = [card("small"), card("mini", ModelKind.EMBEDDING)]
        self.deployments = {one.name: Deployment(one.name, one.name, CLOSED, SECRET) for one in self.cards}
        self.nodes = [LOW, HIGH]
        self.replicas = [
            replace(self.replica("small-low", "low"), model=name.name, id=f"{name.name}-{node}", node=node,
                    socket=self.engines[node].socket)
            for name in self.cards for node in ("low", "high")
        ]  # fmt: skip
        self.wanted: tuple[tuple[str, int], ...] = ()
        self.publish()
        self.enforce(self.rules)

    def replica(self, name: str, node: str, slots: int = 1) -> Replica:
        socket = self.engines[node].socket
        return Replica(name, "small", "llamacpp", ReplicaState.READY, socket, slots, 2_048, 1, sealed=True, node=node)

    def publish(self) -> None:
        """Publish a routing snapshot."""
        self.gateway.routing.replace(
            RoutingSnapshot(
                1,
                tuple(self.cards),
                tuple(self.replicas),
                tuple(self.deployments.values()),
                tuple(self.nodes),
                wanted=self.wanted,
            )
        )

    def enforce(self, rules: Rules | None) -> None:
        self.gateway.put_in_force(None if rules is None else PolicyInForce(rules, 1_000))

    def asked(self, node: str) -> int:
        return len(self.engines[node].asked)

    @property
    def waiting(self) -> int:
        served = self.gateway.routing.find("small")
        assert served
        return len(served.queue.waiting)

    def entries(self) -> list[dict[str, Any]]:
        return [dict(one.fields) for one in self.ledger.entries()]

    async def send(
        self, path: str = CHAT, body: Any = None, *headers: str, key: str = "ann", method: str = ""
    ) -> Answer:
        raw = b"" if body is None else json.dumps(body).encode()
        lines = [f"{method or ('GET' if body is None else 'POST')} {path} HTTP/1.1", "Host: x", "Connection: close"]
        lines += [f"Authorization: Bearer {key}", f"Content-Length: {len(raw)}", *headers]
        return await self.raw("\r\n".join(lines).encode() + b"\r\n\r\n" + raw)

    async def raw(self, request: bytes) -> Answer:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            writer.write(request)
            heard = await reader.read()
        finally:
            writer.close()
        await writer.wait_closed()
        head, _, rest = heard.partition(b"\r\n\r\n")
        first, *lines = head.decode().split("\r\n")
        return Answer(int(first.split()[1]), dict(line.lower().split(": ", 1) for line in lines), rest)

    async def chat(self, marking: str | None = None, key: str = "ann", **fields: Any) -> Answer:
        body = {"model": "small", "messages": [{"role": "user", "content": "hi"}]} | fields
        return await self.send(CHAT, body, *([] if marking is None else [f"Fastness-Marking: {marking}"]), key=key)


@asynccontextmanager
async def opened(home: Path, *principals: Principal, **traffic: Any) -> AsyncIterator[Door]:
    door = Door(home, *principals, **traffic)
    servers = [await asyncio.start_unix_server(one.serve, one.socket) for one in door.engines.values()]
    door.port = await door.server.listen("127.0.0.1", 0)
    try:
        yield door
    finally:
        await door.app.cut()
        await door.server.close()
        await door.connections.close()
        for engine in door.engines.values():
            engine.free()
        for server in servers:
            server.close()


def run(test: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Run a test within its time; what reaches the loop's exception handler fails it."""
    problems: list[dict[str, Any]] = []

    async def within_time() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: problems.append(context))
        async with asyncio.timeout(60):
            await test()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(within_time())
    assert not problems, problems


async def until(true: Callable[[], bool]) -> None:
    while not true():
        await asyncio.sleep(0.001)
