"""The fake engine fails as it is told, and answers the same for the same."""

from __future__ import annotations

import http.client
import json
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from fastness.core.model import ModelCard, ModelKind
from fastness.core.request import Generation, JsonConstraint, Message, Sampling, Tool, ToolConstraint, ToolMode
from fastness.engines.fake.answer import Ask, answer
from fastness.engines.fake.answer import Message as AskMessage
from fastness.engines.fake.behaviour import Behaviour
from fastness.engines.fake.engine import FakeDialect, FakeEngine
from fastness.engines.fake.sample import constrained
from fastness.engines.llamacpp.grammar import grammar
from fastness.engines.port import EngineTask


class Connection(http.client.HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("engine", timeout=10)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(10)
        self.sock.connect(str(self._path))


@contextmanager
def running(folder: Path, behaviour: Behaviour, slots: int = 2) -> Iterator[tuple[subprocess.Popen[bytes], Path]]:
    card = ModelCard("m", ModelKind.CHAT, "", 0, "MIT", 2_048, 0)
    task = EngineTask(card, folder / "none", folder / "e.sock", folder, slots, 2_048, 1)
    launch = FakeEngine(behaviour).launch(task)
    process = subprocess.Popen(launch.argv, env=launch.environ)
    try:
        deadline = time.monotonic() + 60
        while True:
            try:
                assert get(task.socket, "/health")[0] == 200
                break
            except OSError:
                assert process.poll() is None
                assert time.monotonic() < deadline
                time.sleep(0.01)
        yield process, task.socket
    finally:
        process.terminate()
        process.wait(10)


def get(path: Path, route: str, body: bytes | None = None) -> tuple[int, bytes]:
    connection = Connection(path)
    try:
        connection.request("GET" if body is None else "POST", route, body)
        said = connection.getresponse()
        return said.status, said.read()
    finally:
        connection.close()


def body(stream: bool = False, **more: object) -> bytes:
    return json.dumps({"messages": [{"role": "user", "content": "Hello"}], "stream": stream, **more}).encode()


CHAT = "/v1/chat/completions"


def test_it_crashes_after_so_many_tokens(tmp_path: Path) -> None:
    with running(tmp_path, Behaviour(crash_after_tokens=20, token_ms=0.1)) as (process, path):
        assert get(path, CHAT, body())[0] == 200
        with pytest.raises(http.client.HTTPException):
            get(path, CHAT, body(stream=True))
        assert process.wait(5) == -signal.SIGKILL


def test_it_closes_in_the_middle_of_a_stream(tmp_path: Path) -> None:
    with running(tmp_path, Behaviour(close_after_tokens=3)) as (_, path):
        with pytest.raises(http.client.IncompleteRead) as caught:
            get(path, CHAT, body(stream=True))
        assert caught.value.partial.count(b"data: ") == 4


def test_it_hangs_until_the_client_leaves(tmp_path: Path) -> None:
    with running(tmp_path, Behaviour(hang_after_tokens=2), slots=1) as (_, path):
        connection = Connection(path)
        connection.request("POST", CHAT, body(stream=True))
        said = connection.getresponse()
        assert said.readline()
        assert json.loads(get(path, "/slots")[1]) == [{"id": 0, "is_processing": True}]
        said.close()
        connection.close()
        deadline = time.monotonic() + 60
        while b"fake_cancelled_total 1" not in get(path, "/metrics")[1]:
            assert time.monotonic() < deadline
            time.sleep(0.005)
        assert json.loads(get(path, "/slots")[1]) == [{"id": 0, "is_processing": False}]


def test_it_fails_every_third_generation(tmp_path: Path) -> None:
    with running(tmp_path, Behaviour(fail_every=3)) as (_, path):
        assert [get(path, CHAT, body())[0] for _ in range(6)] == [200, 200, 500, 200, 200, 500]


def test_a_full_engine_lets_requests_wait(tmp_path: Path) -> None:
    with running(tmp_path, Behaviour(token_ms=2.0), slots=1) as (_, path):
        connections = [Connection(path) for _ in range(3)]
        for connection in connections:
            connection.request("POST", CHAT, body(max_tokens=5))
        assert [connection.getresponse().status for connection in connections] == [200, 200, 200]
        for connection in connections:
            connection.close()


def test_it_starts_as_slowly_as_it_is_told(tmp_path: Path) -> None:
    begun = time.monotonic()
    with running(tmp_path, Behaviour(start_ms=300)):
        assert time.monotonic() - begun > 0.3


def test_nonsense_is_answered_400(tmp_path: Path) -> None:
    with running(tmp_path, Behaviour()) as (_, path):
        assert get(path, CHAT, b"{")[0] == 400
        assert get(path, CHAT, body(grammar="start: what"))[0] == 400
        assert get(path, "/nowhere")[0] == 404


def test_the_same_is_answered_the_same() -> None:
    def said(seed: int | None, text: str = "Hello", temperature: float = 1.0) -> list[str]:
        return answer(Ask(messages=[AskMessage("user", text)], seed=seed, temperature=temperature), 8, 2_048).tokens

    assert said(1) == said(1)
    assert said(1) != said(2)
    assert said(1, temperature=0) == said(2, temperature=0)
    assert said(1) != said(1, "Bye")


@pytest.mark.parametrize(
    ("schema", "text"),
    [
        (b'{"type":"object","properties":{"a":{"enum":["x"]},"b":{"type":"integer","minimum":3}},"required":["b","a"]}',
         '{"b": 3, "a": "x"}'),
        (b'{"type":"array","items":{"type":["string","null"],"minLength":9},"minItems":1}', '["lanternla"]'),
        (b'{"$ref":"#/$defs/t","$defs":{"t":{"properties":{"n":{"anyOf":[{"$ref":"#/$defs/t"},{"type":"null"}]}},'
         b'"required":["n"]}}}', '{"n": null}'),
        (b'{"type":"number","minimum":0.5,"maximum":0.75}', "0.5"),
        (b'{"type":"boolean"}', "true"),
    ],
)  # fmt: skip
def test_simple_schemas_are_followed(schema: bytes, text: str) -> None:
    assert constrained(grammar(JsonConstraint(schema)), "") == text


def test_a_tool_of_choice_is_called_when_it_is_named() -> None:
    tools = (Tool("first", "", b"{}"), Tool("second", "", b"{}"))
    said = grammar(ToolConstraint(tools, ToolMode.AUTO, "<c>", "</c>", 1))
    assert constrained(said, "Hello") is None
    assert constrained(said, "Call second!") == '<c>{"name": "second", "arguments": {}}</c>'


def test_what_is_too_much_for_it_is_named() -> None:
    pattern = JsonConstraint(b'{"type":"string","pattern":"^a$"}')
    why = FakeDialect().unsupported(Generation(Sampling(), (Message("user", ""),), constraint=pattern))
    assert why is not None
    assert "`pattern`" in why
