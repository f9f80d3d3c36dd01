"""Complete mediation: whatever an engine could be asked, only what is on our list can be asked of us.

The lists come from the engine itself. The engines here write down whatever reaches them, and nothing may.
"""

from __future__ import annotations

import http.client
import json
import os
import socket
import socketserver
import sys
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest

from engine_surface import VLLM_FIELDS, VLLM_ROUTES, llamacpp_fields, llamacpp_routes
from fastness.config import TrafficSettings, run_directory
from fastness.core.replica import RoutingSnapshot
from fastness.gateway.app import INFERENCE
from fastness.gateway.wire.chat import ChatBody
from fastness.gateway.wire.completion import CompletionBody
from fastness.gateway.wire.embedding import EmbeddingBody
from fastness.main import LISTENER_VARIABLE
from fastness.store.snapshot_file import write_snapshot
from fuzzing import CONTEXT_TOKENS, engine_socket, prepare, running
from installation import CHAT, EMBEDDING, Installation, eventually

OURS = frozenset({*INFERENCE, "/v1/models", "/livez", "/readyz", "/metrics", "/openapi.json"})
"""Every route there is; `/v1/models/{model}` is the only one with a variable in it."""
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE")
REFUSED = frozenset({400, 404, 405, 411})
MARK = "zebra-quartz-4471"
BODIES: dict[str, dict[str, Any]] = {
    "/v1/chat/completions": {"model": CHAT, "messages": [{"role": "user", "content": "hi"}]},
    "/v1/completions": {"model": CHAT, "prompt": "hi"},
    "/v1/embeddings": {"model": EMBEDDING, "input": "hi"},
}
WIRE = {"/v1/chat/completions": ChatBody, "/v1/completions": CompletionBody, "/v1/embeddings": EmbeddingBody}


class Recorder(socketserver.ThreadingUnixStreamServer):
    """An engine that writes down what it hears, says that it failed, and does nothing."""

    daemon_threads = True

    def __init__(self, path: Path) -> None:
        super().__init__(str(path), Heard)
        self.heard: list[bytes] = []


class Heard(socketserver.StreamRequestHandler):
    server: Recorder

    def handle(self) -> None:
        head = b""
        while line := self.rfile.readline():
            head += line
            if line == b"\r\n":
                length = next(one for one in head.lower().split(b"\r\n") if one.startswith(b"content-length"))
                self.server.heard.append(head + self.rfile.read(int(length.split(b":")[1])))
                head = b""
                self.wfile.write(b"HTTP/1.1 500 no\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}")
        if head:
            self.server.heard.append(head)


@dataclass
class Site:
    """A gateway as shipped, its key, and the engines behind it."""

    port: int
    key: str
    engines: list[Recorder] = field(default_factory=list)

    @property
    def heard(self) -> list[bytes]:
        return [one for engine in self.engines for one in engine.heard]

    def ask(self, talk: http.client.HTTPConnection, method: str, target: str, body: bytes = b"{}") -> tuple[int, bytes]:
        """Ask with the target exactly as it is; the connection is made anew when the gateway has closed it."""
        talk.putrequest(method, target, skip_host=True, skip_accept_encoding=True)
        for name, value in (("Host", "x"), ("Authorization", f"Bearer {self.key}"), ("Content-Length", len(body))):
            talk.putheader(name, str(value))
        talk.endheaders(body)
        with talk.getresponse() as answer:
            return answer.status, answer.read()

    def talk(self) -> closing[http.client.HTTPConnection]:
        return closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=10))


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    home = tmp_path_factory.mktemp("mediation")
    key = prepare(home, CONTEXT_TOKENS)
    routing = run_directory(home, os.getuid()) / "routing.json"
    found = msgspec.json.decode(routing.read_bytes(), type=RoutingSnapshot)
    write_snapshot(routing, replace(found, replicas=tuple(replace(one, engine="llamacpp") for one in found.replicas)))
    engines = [Recorder(engine_socket(home, model)) for model in (CHAT, EMBEDDING)]
    threads = [threading.Thread(target=engine.serve_forever, args=(0.05,)) for engine in engines]
    for thread in threads:
        thread.start()
    with opened(home, key) as gateway:
        yield replace(gateway, engines=engines)
    for engine, thread in zip(engines, threads, strict=True):
        engine.shutdown()
        thread.join()
        engine.server_close()


@contextmanager
def opened(home: Path, key: str) -> Iterator[Site]:
    environ = os.environ | {"FASTNESS_HOME": str(home)}
    command = [sys.executable, "-c", "from fastness.main import main; main()", "gateway"]
    with socket.create_server(("127.0.0.1", 0), backlog=256) as listener, (home / "stderr").open("w+") as talk:
        environ[LISTENER_VARIABLE] = str(listener.fileno())
        with running(command, talk, environ, (listener.fileno(),)):
            site = Site(listener.getsockname()[1], key)
            with site.talk() as asking:
                eventually(lambda: site.ask(asking, "GET", "/readyz")[0] == 200, "the gateway is ready")
            yield site
        talk.seek(0)
        assert talk.read() == "", "a process complained"


def disguises(route: str) -> list[str]:
    """Other ways to write a route, which a careless reader takes for it."""
    first, rest = route[1:2], route[2:]
    return [
        f"/{route}",
        f"/.{route}",
        f"/v1/..{route}",
        f"/v1/models/..{route}",
        f"/v1/models/%2e%2e/%2e%2e{route}",
        f"/v1/models/..%2f..%2f{route[1:]}",
        f"/v1/chat/completions/../../..{route}",
        f"/v1/chat/completions/..;{route}",
        f"/v1/chat/completions;{route}",
        f"/v1/chat/completions%3f{route}",
        f"/v1/chat/completions%00{route}",
        f"/v1/..;{route}",
        f"/%{ord(first):02x}{rest}" if first else "/%2f",
        f"/%25{ord(first):02x}{rest}" if first else "/%252f",
        f"%2f{route[1:]}",
        f"/%2f{route[1:]}",
        f"{route}/",
        f"{route}%20",
        f"{route}%00",
        f"{route};a=b",
        f"{route}..;/",
        f"{route}%23",
        f"{route}#fragment",
        f"{route}?x=1",
        route.upper(),
        route.title(),
        f"\\{route[1:]}",
        f"http://127.0.0.1{route}",
        f"http://engine{route}",
        f"//engine{route}",
        f"*{route}",
    ]


def targets(routes: tuple[str, ...]) -> list[str]:
    wanted = [target for route in routes for target in (route, *disguises(route))]
    return [one for one in dict.fromkeys(wanted) if one.partition("?")[0] not in OURS]


@pytest.mark.slow
def test_the_list_of_routes_is_the_one_the_engine_has(installation: Installation) -> None:
    """Of what the binary seems to offer, many are routes that the engine we run answers: the list means something."""
    served = set()
    with installation.engine() as engine:
        for route in llamacpp_routes():
            for method in ("GET", "POST"):
                try:
                    if engine.request(method, route, content="{}").status_code != 404:
                        served.add(route)
                except httpx.HTTPError:
                    served.add(route)
    beyond = served - OURS
    assert len(beyond) >= 15, sorted(served)
    assert beyond >= {
        "/props",
        "/slots",
        "/completion",
        "/tokenize",
        "/detokenize",
        "/lora-adapters",
        "/apply-template",
    }


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["llamacpp", "vllm"])
def test_no_other_route_is_reachable_by_any_method_or_disguise(site: Site, engine: str) -> None:
    routes = llamacpp_routes() if engine == "llamacpp" else VLLM_ROUTES
    before, tried = len(site.heard), 0
    with site.talk() as talk:
        for target in targets(routes):
            for method in METHODS:
                status, body = site.ask(talk, method, target, json.dumps(BODIES["/v1/chat/completions"]).encode())
                assert status in REFUSED, f"{method} {target} gave {status}: {body[:200]!r}"
                tried += 1
    assert tried > 10_000
    assert len(site.heard) == before, site.heard[before:][:3]


@pytest.mark.parametrize("method", [*METHODS, "CONNECT", "PURGE", "MKCOL", "get", "Post"])
def test_our_own_routes_take_the_one_method_that_they_have(site: Site, method: str) -> None:
    before = len(site.heard)
    with site.talk() as talk:
        for route in sorted(OURS):
            allowed = ("POST",) if route in INFERENCE else ("GET", "HEAD")
            if method not in allowed:
                assert site.ask(talk, method, route)[0] in REFUSED, (method, route)
    assert len(site.heard) == before


@pytest.mark.parametrize("target", ["127.0.0.1:80", "engine:80", "*", "", "?", "http://", "/\x7f", "/v1/models/a/b"])
def test_targets_of_other_forms_are_no_way_in(site: Site, target: str) -> None:
    for method in (b"GET", b"POST", b"CONNECT", b"OPTIONS"):
        with socket.create_connection(("127.0.0.1", site.port), timeout=10) as talk:
            head = b"%b %b HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %b\r\nContent-Length: 0\r\n\r\n"
            talk.sendall(head % (method, target.encode(), site.key.encode()))
            assert talk.recv(65_536)[9:12] in (b"400", b"404", b"405")
    assert not [one for one in site.heard if target and target.encode() in one]


def unknown(names: frozenset[str] | tuple[str, ...], wire: type[msgspec.Struct]) -> list[str]:
    return sorted(set(names) - {one.encode_name for one in msgspec.structs.fields(wire)})


@pytest.mark.parametrize("route", BODIES)
def test_no_field_that_only_engines_know_is_taken(site: Site, route: str) -> None:
    names = unknown(frozenset(llamacpp_fields()) | VLLM_FIELDS, WIRE[route])
    assert {"n_discard", "cache_prompt", "id_slot", "grammar", "lora", "samplers", "prompt_embeds"} <= set(names)
    before = len(site.heard)
    with site.talk() as talk:
        for name in names:
            for value in (1, -1, True, None, MARK, [MARK], {"a": 1}):
                body = BODIES[route] | {name: value}
                status, answer = site.ask(talk, "POST", route, json.dumps(body).encode())
                error = json.loads(answer)["error"]
                assert (status, error["code"], error["param"]) == (400, "unknown_field", name), (name, value)
                assert f"`{name}`" in error["message"]
    assert len(names) > 150
    assert len(site.heard) == before


TOOL = {"tools": [{"type": "function", "function": {"name": "f"}}]}
FORMAT = {"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": {}}}}
NESTED: dict[str, dict[str, Any]] = {
    "messages[]": {},
    "tools[]": TOOL,
    "tools[].function": TOOL,
    "stream_options": {"stream": True, "stream_options": {}},
    "response_format": FORMAT,
    "response_format.json_schema": FORMAT,
}


@pytest.mark.parametrize("place", NESTED)
def test_no_such_field_is_taken_anywhere_inside_either(site: Site, place: str) -> None:
    before = len(site.heard)
    with site.talk() as talk:
        for name in sorted({*llamacpp_fields(), *VLLM_FIELDS} - {"filename", "schema", "name", "include_usage"}):
            body = json.loads(json.dumps(BODIES["/v1/chat/completions"] | NESTED[place]))
            inner = body
            for step in place.split("."):
                inner = inner[step.removesuffix("[]")]
                inner = inner[0] if step.endswith("[]") else inner
            inner[name] = MARK
            status, answer = site.ask(talk, "POST", "/v1/chat/completions", json.dumps(body).encode())
            assert status == 400, (place, name, answer)
            assert name in json.loads(answer)["error"]["param"], (place, name, answer)
    assert len(site.heard) == before


@pytest.mark.parametrize(
    "raw",
    [
        b'"\\u006e_discard":-1',
        b'"N_DISCARD":-1',
        b'"n_discard ":-1',
        b'"n_discard\\u0000":-1',
        b'"n_discard":-1,"n_discard":1',
        b'"__proto__":{"n_discard":-1}',
        b'"extra_body":{"n_discard":-1}',
        b'"":1',
    ],
)
def test_no_way_of_writing_such_a_field_hides_it(site: Site, raw: bytes) -> None:
    before = len(site.heard)
    body = json.dumps(BODIES["/v1/chat/completions"]).encode()[:-1] + b"," + raw + b"}"
    with site.talk() as talk:
        status, answer = site.ask(talk, "POST", "/v1/chat/completions", body)
    assert (status, json.loads(answer)["error"]["code"]) == (400, "unknown_field")
    assert len(site.heard) == before


def test_what_reaches_an_engine_is_written_by_us_and_says_nothing_that_has_no_effect(site: Site) -> None:
    """The recorder hears an honest request; of fields that are accepted and change nothing it hears nothing."""
    silent = {
        "user": MARK, "safety_identifier": MARK, "metadata": {MARK: MARK}, "prompt_cache_key": MARK, "store": False,
        "service_tier": "auto", "verbosity": "medium", "seed": 5, "temperature": 0.5, "logit_bias": {"1": 2},
    }  # fmt: skip
    before = [len(engine.heard) for engine in site.engines]
    with site.talk() as talk:
        body = json.dumps(BODIES["/v1/chat/completions"] | silent).encode()
        assert site.ask(talk, "POST", "/v1/chat/completions", body)[0] == 502, "the recorder answers nothing"
    for heard in tries_since(site, before):
        head, _, asked = heard.partition(b"\r\n\r\n")
        assert head.startswith(b"POST /v1/chat/completions HTTP/1.1\r\n")
        assert MARK.encode() not in heard
        assert site.key.encode() not in heard, "no credential goes on to an engine"
        assert b"fastness-marking" not in head.lower()
        assert not {"user", "metadata", "store", "service_tier", "model"} & json.loads(asked).keys()


def tries_since(site: Site, before: list[int]) -> list[bytes]:
    """What one request made engines hear: a recorder never answers, so it is tried a few times."""
    heard = [one for engine, count in zip(site.engines, before, strict=True) for one in engine.heard[count:]]
    assert 1 <= len(heard) <= TrafficSettings().attempts_max
    return heard


def test_no_header_of_the_client_reaches_an_engine(site: Site) -> None:
    before = [len(engine.heard) for engine in site.engines]
    with socket.create_connection(("127.0.0.1", site.port), timeout=10) as talk:
        body = json.dumps(BODIES["/v1/chat/completions"]).encode()
        talk.sendall(
            b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %b\r\nX-Slot: %b\r\n"
            b"X-HTTP-Method-Override: GET\r\nX-Original-URL: /props\r\nX-Rewrite-URL: /slots\r\nForwarded: host=%b\r\n"
            b"Content-Length: %d\r\n\r\n%b" % (site.key.encode(), MARK.encode(), MARK.encode(), len(body), body)
        )
        assert talk.recv(65_536).startswith(b"HTTP/1.1 502")
    for heard in tries_since(site, before):
        assert heard.startswith(b"POST /v1/chat/completions ")
        assert MARK.encode() not in heard
        assert b"/props" not in heard


@pytest.mark.slow
def test_an_engine_has_no_other_door(installation: Installation) -> None:
    """The engines of an installation listen at one file each, in a directory that only its owner may enter."""
    for one in installation.replicas():
        path = Path(str(one["socket"]))
        assert path.is_socket()
        assert run_directory(installation.home, os.getuid()).stat().st_mode & 0o077 == 0
        assert run_directory(installation.home, os.getuid()) in path.parents
