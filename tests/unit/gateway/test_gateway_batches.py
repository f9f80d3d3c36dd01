"""Files and batches at the door: recognised, permitted and marked here, answered by the room, or said to be away."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from fastness.batches.asking import GatewayDoor
from fastness.batches.lines import Line
from fastness.batches.records import BatchRecord, OutputPlan
from fastness.core.batch import ON_BEHALF_OF, SOCKET_NAME
from fastness.core.tenant import Principal
from policed import ANN, CHAT, CLOSED, Answer, Door, opened, run, until

BATCH = {"input_file_id": "file-1", "endpoint": CHAT, "completion_window": "24h"}
BODY = {"model": "small", "messages": [{"role": "user", "content": "hi"}]}


@dataclass
class Room:
    """Notes what it is asked, and says what it was told to say."""

    says: bytes = b'{"id":"file-1"}'
    status: str = "200 OK"
    cut: bool = False
    asked: list[tuple[str, dict[str, str], bytes]] = field(default_factory=list)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            first, *lines = head.strip().split("\r\n")
            headers = dict(line.split(": ", 1) for line in lines)
            body = await reader.readexactly(int(headers["content-length"]))
            self.asked.append((first, headers, body))
            length = len(self.says) + (5 if self.cut else 0)
            writer.write(f"HTTP/1.1 {self.status}\r\ncontent-length: {length}\r\n\r\n".encode() + self.says)
            await writer.drain()
        writer.close()


@asynccontextmanager
async def with_room(home: Path, room: Room) -> AsyncIterator[Door]:
    async with opened(home) as door:
        server = await asyncio.start_unix_server(room.serve, home / SOCKET_NAME)
        try:
            yield door
        finally:
            server.close()


async def inside(door: Door, *headers: str) -> Answer:
    """Ask for a chat over the gateway's own Unix socket."""
    raw = json.dumps(BODY).encode()
    lines = [f"POST {CHAT} HTTP/1.1", "Host: x", "Connection: close", f"Content-Length: {len(raw)}", *headers]
    reader, writer = await asyncio.open_unix_connection(door.home / "gateway-0.sock")
    writer.write("\r\n".join(lines).encode() + b"\r\n\r\n" + raw)
    heard = await reader.read()
    writer.close()
    head, _, rest = heard.partition(b"\r\n\r\n")
    first, *told = head.decode().split("\r\n")
    return Answer(int(first.split()[1]), dict(line.lower().split(": ", 1) for line in told), rest)


def test_nobody_outside_can_ask_on_behalf_of_a_key(tmp_path):
    async def test() -> None:
        async with opened(tmp_path) as door:
            await door.server.listen_at(tmp_path / "gateway-0.sock")
            name = f"{ON_BEHALF_OF}: key_ann"
            assert (await door.send(CHAT, BODY, name, key="nobody")).code == "invalid_api_key"
            assert (await inside(door, name)).status == 200
            assert (await inside(door, f"{ON_BEHALF_OF}: key_nobody")).code == "invalid_api_key"
            assert (await inside(door)).status == 401
            assert (await inside(door, name, "Fastness-Marking: SECRET")).code == "marking_not_cleared"
            assert [one["key"] for one in door.entries() if one.get("key")] == ["key_ann", "key_ann"]

    run(test)


def test_a_batch_gives_way_to_whoever_asks_after_it_even_in_another_tenant(tmp_path):
    bob = Principal("key_bob", "works", frozenset({"developer"}), tenant_clearance=CLOSED)
    plan = OutputPlan("file-2", b"")
    batch = BatchRecord("batch_1", "health", "CLOSED", "key_ann", CHAT, "file-1", 0, 1, 1, plan, plan)

    async def test() -> None:
        async with opened(tmp_path, ANN, bob) as door:
            await door.server.listen_at(tmp_path / "gateway-0.sock")
            room, engine = GatewayDoor([tmp_path / "gateway-0.sock"], 20.0), door.engines["high"]
            lines = [Line(number, str(number), json.dumps(BODY).encode()) for number in range(4)]
            engine.busy = True
            asking = [asyncio.create_task(room.ask(batch, lines[0]))]
            await until(lambda: len(engine.asked) == 1)
            asking += [asyncio.create_task(room.ask(batch, line)) for line in lines[1:]]
            await until(lambda: door.waiting == 3)
            for number, key in enumerate(("bob", "ann", "bob"), start=4):
                asking.append(asyncio.create_task(door.chat("CLOSED", key)))
                await until(lambda wanted=number: door.waiting == wanted)
            engine.free()
            assert {answer.status for answer in await asyncio.gather(*asking)} == {200}
            await room.close()
            served = [(one["tenant"], one["band"]) for one in door.entries()]
            assert served[0] == ("health", "batch"), "what has begun is finished"
            assert {band for _, band in served[1:4]} == {"standard"}
            assert served[4:] == [("health", "batch")] * 3

    run(test)


def test_lines_go_to_the_gateways_in_turn_and_past_those_that_are_away(tmp_path):
    plan = OutputPlan("file-2", b"")
    batch = BatchRecord("batch_1", "health", "CLOSED", "key_ann", CHAT, "file-1", 0, 1, 1, plan, plan)
    sockets = [tmp_path / f"gateway-{number}.sock" for number in range(3)]

    async def test() -> None:
        async with opened(tmp_path) as door:
            await door.server.listen_at(sockets[1])
            room = GatewayDoor(sockets, 20.0)
            line = Line(0, "0", json.dumps(BODY).encode())
            assert [(await room.ask(batch, line)).status for _ in range(4)] == [200] * 4
            await room.close()
            nobody = GatewayDoor(sockets[:1], 20.0)
            assert not (await nobody.ask(batch, line)).reached
            await nobody.close()

    run(test)


def test_a_request_is_passed_on_with_who_asks_and_its_marking(tmp_path):
    room = Room()

    async def test() -> None:
        async with with_room(tmp_path, room) as door:
            answer = await door.send("/v1/files/file-1?x=1", None, "Fastness-Marking: closed")
            assert (answer.status, answer.body, answer.mark) == (200, b'{"id":"file-1"}', "closed")
            first, headers, _ = room.asked[0]
            assert first == "GET /v1/files/file-1?x=1 HTTP/1.1"
            assert (headers["fastness-principal"], headers["fastness-tenant"]) == ("key_ann", "health")
            assert (headers["fastness-credential"], headers["fastness-marking"]) == ("api_key", "CLOSED")
            made = await door.send("/v1/batches", BATCH | {"metadata": {"a": "b"}})
            assert made.status == 200
            assert json.loads(room.asked[1][2])["metadata"] == {"a": "b"}

    run(test)


def test_who_is_not_permitted_is_not_passed_on(tmp_path):
    room = Room()

    async def test() -> None:
        async with with_room(tmp_path, room) as door:
            assert (await door.send("/v1/files", None, key="nobody")).status == 401
            assert (await door.send("/v1/files", None, "Fastness-Marking: SECRET")).code == "marking_not_cleared"
            assert (await door.send("/v1/files", None, "Fastness-Marking: NONSENSE")).code == "unknown_marking"
            door.enforce(None)
            assert (await door.send("/v1/files", None)).code == "policy_unavailable"
            assert room.asked == []

    run(test)


@pytest.mark.parametrize(
    ("change", "code", "param"),
    [
        ({"completion_window": "1h"}, "invalid_value", "completion_window"),
        ({"endpoint": "/v1/responses"}, "invalid_value", "endpoint"),
        ({"priority": "high"}, "unknown_field", "priority"),
        ({"input_file_id": None}, "invalid_type", "input_file_id"),
        ({"metadata": {str(number): "" for number in range(17)}}, "limit_exceeded", "metadata"),
        ({"metadata": {"k" * 65: ""}}, "limit_exceeded", "metadata"),
        ({"metadata": {"k": "v" * 513}}, "limit_exceeded", "metadata"),
        ({"output_expires_after": {"anchor": "created_at"}}, "missing_field", "output_expires_after.seconds"),
    ],
)
def test_a_batch_that_cannot_be_honoured_is_refused_by_name(tmp_path, change, code, param):
    room = Room()

    async def test() -> None:
        async with with_room(tmp_path, room) as door:
            answer = await door.send("/v1/batches", BATCH | change)
            assert (answer.code, answer.error["param"]) == (code, param)
            assert room.asked == []

    run(test)


def test_a_refusal_of_the_room_gets_the_one_shape(tmp_path):
    room = Room(b'{"code":"not_found","message":"There is no such file.","param":"file_id"}', "404 Not Found")

    async def test() -> None:
        async with with_room(tmp_path, room) as door:
            answer = await door.send("/v1/files/file-1")
            assert (answer.status, answer.code, answer.error["param"]) == (404, "not_found", "file_id")
            room.says = b'{"code":"ledger_unavailable","message":"no","param":null,"retry_after_s":5}'
            assert (await door.send("/v1/files/x")).headers["retry-after"] == "5"
            room.says, room.status = b"nonsense", "503 Service Unavailable"
            assert (await door.send("/v1/files/file-1")).code == "batches_unavailable"

    run(test)


def test_without_the_room_files_are_away_and_answers_are_not(tmp_path):
    async def test() -> None:
        async with opened(tmp_path) as door:
            answer = await door.send("/v1/files")
            assert (answer.status, answer.code) == (503, "batches_unavailable")
            assert "retry-after" in answer.headers
            assert (await door.chat()).status == 200

    run(test)


def test_a_file_that_breaks_off_does_not_look_whole(tmp_path):
    room = Room(b"half of it", cut=True)

    async def test() -> None:
        async with with_room(tmp_path, room) as door:
            answer = await door.send("/v1/files/file-1/content")
            assert answer.headers["content-type"] == "application/octet-stream"
            assert b"half of it" in answer.body
            assert not answer.body.endswith(b"0\r\n\r\n")

    run(test)


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("PUT", "/v1/files", "get, post"), ("POST", "/v1/files/a", "get, delete"),
        ("DELETE", "/v1/files/a/content", "get"), ("DELETE", "/v1/batches/a", "get"),
        ("GET", "/v1/batches/a/cancel", "post"),
    ],
)  # fmt: skip
def test_a_wrong_method_is_told_the_right_ones(tmp_path, method, path, allowed):
    async def test() -> None:
        async with opened(tmp_path) as door:
            answer = await door.send(path, {}, method=method)
            assert (answer.status, answer.headers["allow"]) == (405, allowed)
            assert (await door.send("/v1/files/a/b/c")).code == "route_not_found"

    run(test)


def test_only_an_upload_may_be_as_large_as_a_file(tmp_path):
    room = Room()

    async def test() -> None:
        async with with_room(tmp_path, room) as door:
            large = door.server.limits.body_bytes_max + 1
            for path in ("/v1/batches", CHAT):
                head = f"POST {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {large}\r\n\r\n"
                assert (await door.raw(head.encode())).code == "body_too_large"
            most = door.server.limits.upload_bytes_max
            head = f"POST /v1/files HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {most + 1}\r\n\r\n"
            assert (await door.raw(head.encode())).code == "body_too_large"
            head = "POST /v1/files HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAuthorization: Bearer ann\r\n"
            answer = await door.raw(f"{head}Content-Length: {large}\r\n\r\n".encode() + bytes(large))
            assert answer.status == 200
            assert len(room.asked[0][2]) == large

    run(test)
