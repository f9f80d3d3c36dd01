"""A gateway in front of two engines that remember: talks come home, owners stay apart, choices are explained."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import uvloop

from fastness.config import load
from fastness.core.deployment import Deployment
from fastness.core.marking import Label, Lattice, Marking, Node, Profile
from fastness.core.model import ModelCard, ModelKind
from fastness.core.policy import Decision, Query
from fastness.core.replica import Replica, ReplicaState, RoutingSnapshot
from fastness.core.tenant import Principal, Role
from fastness.engines.fake.behaviour import Behaviour, Task
from fastness.engines.fake.engine import FakeDialect
from fastness.engines.fake.server import Connection, Engine
from fastness.gateway.app import App
from fastness.gateway.gateway import Gateway
from fastness.gateway.http import EngineConnections, HttpServer
from fastness.gateway.in_force import PolicyInForce
from fastness.gateway.meters import Meters
from fastness.gateway.process import _request_id
from fastness.gateway.routing import Routing
from fastness.gateway.wire.errors import error_body
from fastness.ledger.memory import MemoryLedger
from fastness.telemetry.log import JsonLog
from fastness.telemetry.metrics import GatewayMetrics
from fastness.traffic.prompt import HEAD

OPEN = Label("OPEN")
NODE = Node("local", "GB", "", "", OPEN)
CARD = ModelCard("small", ModelKind.CHAT, "0" * 64, 1, "MIT", 8_192, 1)


class Tenants:
    """The key is the tenant's name."""

    def authenticate(self, authorization: str | None, _now_s: float, _uris: tuple[str, ...] = ()) -> Principal:
        tenant = (authorization or "Bearer nobody").removeprefix("Bearer ")
        return Principal(f"key_{tenant}", tenant, frozenset({Role.DEVELOPER.value}))


class Permissive:
    """Permits everything under one marking."""

    digest = "0" * 64
    lattice = Lattice(Profile("one", "One", (Marking("OPEN", ""),), (), (), (), "OPEN"))

    def decide(self, _query: Query) -> Decision:
        return Decision(True, "all")


class Site:
    """Two engines, a gateway in front of them, and its two doors."""

    def __init__(self, home: Path, behaviour: Behaviour) -> None:
        self.home, self.behaviour = home, behaviour
        self.engines: list[Engine] = []
        self.epoch = 1

    async def __aenter__(self) -> Site:
        settings, _ = load({"FASTNESS_HOME": str(self.home)})
        self.connections = EngineConnections()
        self.routing = Routing(settings.traffic, lambda _: FakeDialect(), self.connections.forget)
        self.listeners = []
        for number in range(2):
            path = str(self.home / f"e{number}.sock")
            engine = Engine(Task(path, 4, 8_192, behaviour=self.behaviour))
            self.engines.append(engine)
            loop = asyncio.get_running_loop()
            self.listeners.append(await loop.create_unix_server(lambda one=engine: Connection(one), path))
        self.publish()
        log = JsonLog(self.home / "log.jsonl", "gateway", time.time)
        gateway = Gateway(
            settings, self.routing, Tenants(), MemoryLedger("g"), self.connections, Meters(GatewayMetrics()), log,
            time.time,
        )  # fmt: skip
        gateway.put_in_force(PolicyInForce(Permissive(), 1_000))
        self.server = HttpServer(
            App(gateway), settings.gateway, new_request_id=_request_id, error_body=lambda one, _: error_body(one)
        )
        self.port = await self.server.listen("127.0.0.1", 0)
        await self.server.listen_at(self.home / "g.sock")
        return self

    async def __aexit__(self, *_error: object) -> None:
        await self.server.close()
        await self.connections.close()
        for listener in self.listeners:
            listener.close()

    def publish(self) -> None:
        replicas = tuple(
            Replica(f"small-{number}", "small", "fake", ReplicaState.READY, str(self.home / f"e{number}.sock"), 4,
                    8_192, self.epoch, sealed=True)
            for number in range(2)
        )  # fmt: skip
        self.routing.replace(
            RoutingSnapshot(1, (CARD,), replicas, (Deployment("small", "small", OPEN, OPEN),), (NODE,))
        )

    async def ask(self, tenant: str, *texts: str, **more: object) -> tuple[str, int]:
        """Ask, and return the request id and the input tokens that were not read again."""
        roles = ("system", "user", "assistant", "user", "assistant", "user")
        messages = [{"role": role, "content": text} for role, text in zip(roles, texts, strict=False)]
        body = {"model": "small", "messages": messages, "max_tokens": 2, **more}
        status, head, answer = await self.post("/v1/chat/completions", body, tenant)
        assert status == 200, answer
        cached = answer["usage"]["prompt_tokens_details"]["cached_tokens"] if "usage" in answer else -1
        return head.partition("x-request-id: ")[2].split("\r\n")[0], cached

    async def post(self, path: str, body: object, tenant: str) -> tuple[int, str, dict]:
        raw = json.dumps(body).encode()
        head = f"POST {path} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {tenant}\r\nconnection: close\r\n"
        return await self.talk(self.port, f"{head}content-length: {len(raw)}\r\n\r\n".encode() + raw)

    async def get(self, where: int | Path, path: str) -> tuple[int, str, dict]:
        return await self.talk(where, f"GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n".encode())

    async def talk(self, where: int | Path, raw: bytes) -> tuple[int, str, dict]:
        if isinstance(where, int):
            reader, writer = await asyncio.open_connection("127.0.0.1", where)
        else:
            reader, writer = await asyncio.open_unix_connection(where)
        writer.write(raw)
        heard = await reader.read()
        writer.close()
        await writer.wait_closed()
        head, _, body = heard.decode().partition("\r\n\r\n")
        answer = json.loads(body) if body.startswith("{") else {}
        return int(head.split()[1]), head, answer

    async def choice(self, request_id: str) -> dict:
        status, _, answer = await self.get(self.home / "g.sock", f"/choices/{request_id}")
        assert status == 200
        assert answer["request_id"] == request_id
        (one,) = answer["choices"]
        return one


def running(home: Path, test: Callable[[Site], Awaitable[None]], **behaviour: float) -> None:
    async def within_time() -> None:
        async with asyncio.timeout(60), Site(home, Behaviour(**({"remember_tokens": 100_000} | behaviour))) as site:
            await test(site)

    uvloop.run(within_time())


SYSTEM = "You are the assistant of a department. " * 40


def test_a_conversation_comes_home_and_a_new_one_goes_where_less_was_asked(tmp_path):
    async def test(site: Site) -> None:
        homes = set()
        for talk in "abcdef":
            first, cached = await site.ask(talk, f"{SYSTEM} {talk}", "a question " * 20)
            home = (await site.choice(first))["replica"]
            assert cached == 0, "each tenant's first prompt is new to both"
            homes.add(home)
            second, cached = await site.ask(talk, f"{SYSTEM} {talk}", "a question " * 20, "an answer", "another")
            assert (await site.choice(second))["replica"] == home
            assert cached > 350
        assert len(homes) == 2

    running(tmp_path, test)


def test_no_tenant_profits_from_what_another_asked(tmp_path):
    async def test(site: Site) -> None:
        for _ in range(3):
            await site.ask("health", SYSTEM, "the same question")
        request_id, cached = await site.ask("tax", SYSTEM, "the same question")
        assert cached == 0
        assert [one["cached"] for one in (await site.choice(request_id))["candidates"]] == [0, 0]
        salts = site.engines[0].memory.salts | site.engines[1].memory.salts
        assert len(salts) == 2
        assert None not in salts

    running(tmp_path, test)


def test_an_engine_that_remembers_nothing_is_soon_not_believed_to(tmp_path):
    async def test(site: Site) -> None:
        for _ in range(3):
            last, _ = await site.ask("health", SYSTEM, "the same question")
        believed = [one["cached"] for one in (await site.choice(last))["candidates"]]
        assert max(believed) > 0, "of what was just sent it has the last word"
        for number in range(6):
            last, _ = await site.ask("health", f"{number} {SYSTEM}", "another question")
        last, _ = await site.ask("health", SYSTEM, "the same question")
        believed = [one["cached"] for one in (await site.choice(last))["candidates"]]
        assert max(believed) <= HEAD, "no more than what a template writes before everything"

    running(tmp_path, test, remember_tokens=16)


def test_an_engine_that_began_anew_is_believed_to_remember_nothing(tmp_path):
    async def test(site: Site) -> None:
        await site.ask("health", SYSTEM, "a question")
        site.epoch += 1
        site.publish()
        request_id, _ = await site.ask("health", SYSTEM, "a question")
        assert [one["cached"] for one in (await site.choice(request_id))["candidates"]] == [0, 0]

    running(tmp_path, test)


def test_load_counts_from_the_moment_of_sending(tmp_path):
    """Engines are slow to their first token; a burst spreads all the same (sglang #27547)."""

    async def test(site: Site) -> None:
        asked = await asyncio.gather(*(site.ask(f"t{number}", SYSTEM, "now", stream=True) for number in range(8)))
        homes = [(await site.choice(request_id))["replica"] for request_id, _ in asked]
        assert sorted(homes) == ["small-0"] * 4 + ["small-1"] * 4
        known = site.routing.find("small").choosing.replicas._known.values()
        assert all((one.unread, one.under_way) == (0, 0) for one in known), "and nothing is owed when all is over"

    running(tmp_path, test, first_token_ms=100)


def test_only_the_operators_door_explains_and_it_knows_no_content(tmp_path):
    async def test(site: Site) -> None:
        request_id, _ = await site.ask("health", "a secret word", "another secret word")
        status, _, answer = await site.get(site.port, f"/choices/{request_id}")
        assert (status, answer["error"]["code"]) == (404, "route_not_found")
        choice = await site.choice(request_id)
        assert set(choice) == {"model", "at_s", "replica", "size", "cached", "candidates", "hedged"}
        assert all(isinstance(value, str | int | float | list) for value in choice.values())
        assert "secret" not in json.dumps(choice)
        status, _, answer = await site.get(site.home / "g.sock", "/choices/req_unknown")
        assert (status, answer["error"]["code"]) == (404, "not_found")

    running(tmp_path, test)
