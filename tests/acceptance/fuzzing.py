"""The gateway process as it is shipped, in front of an engine that computes nothing, and what any answer must be."""

from __future__ import annotations

import http.client
import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import msgspec

from fastness.config import load, run_directory
from fastness.core.deployment import Deployment
from fastness.core.error import ERROR_CODES
from fastness.core.identity import IdentitySnapshot
from fastness.core.marking import Label, Node
from fastness.core.model import ModelCard, ModelKind, ToolFormat
from fastness.core.policy import PolicySnapshot
from fastness.core.replica import Replica, ReplicaState, RoutingSnapshot
from fastness.core.retention import SealingSnapshot
from fastness.core.tenant import AccessSnapshot, ApiKey, Role, Tenant
from fastness.engines.fake.behaviour import Behaviour, Task
from fastness.identity import keys
from fastness.identity.pepper import load_or_create
from fastness.main import LISTENER_VARIABLE, prepare_directories
from fastness.policy.bundle import shipped_bundle
from fastness.policy.profile import shipped_profile
from fastness.store.snapshot_file import write_snapshot
from installation import CHAT, EMBEDDING, eventually

SILENCE_S = 10.0
CONTEXT_TOKENS = 2_048
SERVER_FAULTS = frozenset({500, 501, 502, 503, 504})


@dataclass
class Door:
    """A gateway to fuzz: where it listens, a key for it, how many cases it has had."""

    home: Path
    pid: int
    port: int
    key: str
    cases: int = 0

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def connect(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=SILENCE_S)

    def send(self, case: bytes) -> socket.socket:
        """Connect and send at once, before the gateway can find that nothing comes."""
        talk = socket.create_connection(("127.0.0.1", self.port), timeout=SILENCE_S)
        talk.sendall(case)
        talk.setblocking(False)
        return talk


@dataclass(frozen=True)
class Reply:
    """One whole response: header names are lower-case, a chunked body has been put together."""

    status: int
    headers: dict[str, str]
    body: bytes


def judge(reply: Reply, context: object = None) -> None:
    """Whatever was asked: no fault of the server, and every error in the one shape with a code of the table."""
    about = f"{reply} for {context!r}"
    assert reply.status not in SERVER_FAULTS, about
    assert reply.headers["x-request-id"].startswith("req_"), about
    if reply.status >= 400:
        judge_error(reply.body, reply.status, about)
        assert reply.headers["content-type"] == "application/json", about
    elif reply.headers.get("content-type") == "text/event-stream":
        events = [event for event in reply.body.split(b"\n\n") if not event.startswith(b":")]
        assert events[-2:] == [b"data: [DONE]", b""], about
        assert all(json.loads(event.removeprefix(b"data: "))["choices"] is not None for event in events[:-2]), about


def replies(heard: bytes, case: bytes) -> list[Reply]:
    """Read and judge all that one connection heard: there must be nothing but whole responses, strictly framed."""
    found = []
    while heard:
        head, end, heard = heard.partition(b"\r\n\r\n")
        assert end, f"half a head for {case!r}: {head!r}"
        first, *lines = head.decode("ascii").split("\r\n")
        assert first.startswith("HTTP/1.1 "), f"{first!r} for {case!r}"
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
        assert len(headers) == len(lines), f"a header twice for {case!r}: {lines}"
        if first == "HTTP/1.1 100 Continue":
            continue
        bodiless = b"HEAD" in case and (not heard or heard.startswith(b"HTTP/1.1 "))
        body, heard = (b"", heard) if bodiless else _body(headers, heard)
        reply = Reply(int(first[9:12]), headers, body)
        if reply.status != 505 and not bodiless:  # 505 is said of the client's version of HTTP, not of us
            judge(reply, case)
        found.append(reply)
    return found


def _body(headers: dict[str, str], heard: bytes) -> tuple[bytes, bytes]:
    """Take one body off what was heard; return it and the rest."""
    if "content-length" in headers:
        size = int(headers["content-length"])
        assert len(heard) >= size, "a body was cut"
        return heard[:size], heard[size:]
    if headers.get("transfer-encoding") != "chunked":
        return heard, b""  # to an HTTP/1.0 client
    body = b""
    while True:
        line, _, heard = heard.partition(b"\r\n")
        size = int(line, 16)
        assert heard[size : size + 2] == b"\r\n", "a chunk was cut"
        body, heard = body + heard[:size], heard[size + 2 :]
        if not size:
            return body, heard


def judge_error(body: bytes, status: int, about: str) -> None:
    document = json.loads(body)
    assert document.keys() == {"error"}, about
    error = document["error"]
    assert error.keys() == {"message", "type", "param", "code"}, about
    row = ERROR_CODES[error["code"]]
    assert (row.status, row.type) == (status, error["type"]), about
    assert error["message"].strip(), about
    assert error["param"] is None or isinstance(error["param"], str), about


@contextmanager
def door(
    home: Path, *, behaviour: Behaviour | None = None, context_tokens: int = CONTEXT_TOKENS, **settings: object
) -> Iterator[Door]:
    """Run a gateway and its engines; at the end they must have had no defect and nothing to say on stderr."""
    key = prepare(home, context_tokens)
    environ = os.environ | {"FASTNESS_HOME": str(home)}
    environ |= {f"FASTNESS__{name.upper()}": str(value) for name, value in settings.items()}
    with socket.create_server(("127.0.0.1", 0), backlog=1_024) as listener, (home / "stderr").open("w+") as talk:
        environ[LISTENER_VARIABLE] = str(listener.fileno())
        command = [sys.executable, "-c", "from fastness.main import main; main()", "gateway"]
        with (
            running(fake(home, CHAT, context_tokens, behaviour or Behaviour()), talk),
            running(fake(home, EMBEDDING, CONTEXT_TOKENS, Behaviour()), talk),
            running(command, talk, environ, (listener.fileno(),)) as gateway,
        ):
            yield Door(home, gateway.pid, listener.getsockname()[1], key)
        talk.seek(0)
        assert talk.read() == "", "a process complained"
    shutil.rmtree(run_directory(home, os.getuid()))
    assert defects(home) == []


def defects(home: Path) -> list[dict[str, Any]]:
    """What the gateway's log says of its own defects, and of a ledger that could not record."""
    lines = [json.loads(line) for path in (home / "logs").glob("*.jsonl") for line in path.read_text().splitlines()]
    return [line for line in lines if line["event"] in ("defect", "ledger.unavailable") or line["level"] == "error"]


@contextmanager
def running(
    argv: list[str], talk: IO[str], environ: dict[str, str] | None = None, descriptors: tuple[int, ...] = ()
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a process to the end of the block; SIGTERM must end it with 0."""
    with subprocess.Popen(argv, stderr=talk, env=environ, pass_fds=descriptors) as process:
        try:
            yield process
            process.terminate()
            assert process.wait(20) == 0, argv
        finally:
            process.kill()


def fake(home: Path, model: str, context_tokens: int, behaviour: Behaviour) -> list[str]:
    """The command of an engine that computes nothing."""
    task = Task(str(engine_socket(home, model)), slots=64, context_tokens=context_tokens, behaviour=behaviour)
    return [sys.executable, "-I", "-m", "fastness.engines.fake", msgspec.json.encode(task).decode()]


def engine_socket(home: Path, model: str) -> Path:
    return run_directory(home, os.getuid()) / f"{model}.sock"


def prepare(home: Path, context_tokens: int) -> str:
    """Write what a gateway reads: a tenant, a key, the shipped policy, two models with replicas; return the key."""
    settings, _ = load({"FASTNESS_HOME": str(home)})
    run = prepare_directories(settings)
    now_s, key = int(time.time()), keys.mint(os.urandom(32), Role.DEVELOPER)
    mac = keys.mac(load_or_create(home / "secrets/pepper"), key)
    issued = ApiKey("key_1", "default", "fuzz", Role.DEVELOPER, keys.hint(key), mac, now_s)
    write_snapshot(run / "access.json", AccessSnapshot(1, (Tenant("default", "Default", now_s),), (issued,)))
    tools = ToolFormat("Tools:\n{tools}", "<tool_call>", "</tool_call>")
    cards = (
        ModelCard(CHAT, ModelKind.CHAT, "b179" * 16, 1, "Apache-2.0", context_tokens, now_s, tool_format=tools),
        ModelCard(EMBEDDING, ModelKind.EMBEDDING, "8a28" * 16, 1, "Apache-2.0", 512, now_s, embedding_dimensions=384),
    )
    replicas = tuple(
        Replica(f"{card.name}-0", card.name, "fake", ReplicaState.READY, str(engine_socket(home, card.name)),
                64, card.context_tokens, 1, sealed=True)
        for card in cards
    )  # fmt: skip
    ceiling = Label("OFFICIAL")
    deployments = tuple(Deployment(card.name, card.name, ceiling, ceiling) for card in cards)
    nodes = (Node("local", "GB", "", "", ceiling),)
    write_snapshot(run / "routing.json", RoutingSnapshot(1, cards, replicas, deployments, nodes))
    write_snapshot(run / "policy.json", PolicySnapshot(1, shipped_bundle(shipped_profile("uk")), now_s, "local"))
    write_snapshot(run / "identity.json", IdentitySnapshot(1))
    write_snapshot(run / "sealing.json", SealingSnapshot())
    return key


def wait_until_open(door: Door) -> None:
    """Wait until it answers and both engines listen."""

    def ready() -> bool:
        with socket.create_connection(("127.0.0.1", door.port), timeout=SILENCE_S) as talk:
            talk.sendall(b"GET /readyz HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
            return talk.recv(65_536).startswith(b"HTTP/1.1 200 ")

    eventually(ready, "the gateway is ready")
    eventually(lambda: all(engine_socket(door.home, name).exists() for name in (CHAT, EMBEDDING)), "engines")
