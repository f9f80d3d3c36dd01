"""Law 3, against an attacker who has the disk: whatever was asked, and however it ended, no part of it was kept."""

from __future__ import annotations

import base64
import os
import random
import resource
import secrets
import signal
import socket
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest

from fastness.config import run_directory
from installation import CHAT, EMBEDDING, FASTNESS, Installation, eventually, start, stop
from killing import child, forget, processes_of
from traffic import Together

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]
WINDOW_CHARS = 12
"""A part of the canary of this length, anywhere, counts as the canary: what is cut or quoted in part is found too."""


class Canary:
    """Random text that occurs nowhere else, and the shapes it could be kept in."""

    def __init__(self) -> None:
        self.text = f"{secrets.token_hex(16)}é{secrets.token_hex(8)}"
        shapes = [self.text.encode(), self.text.encode("utf-16-le"), self.text.encode().hex().encode()]
        shapes += [base64.b64encode(bytes(lead) + self.text.encode())[4:-4] for lead in range(3)]
        shapes += [base64.b16encode(self.text.encode()), self.text.encode("unicode_escape"), self.text[::-1].encode()]
        shapes += [quote(self.text).encode(), self.text.upper().encode()]
        shapes += ["".join(f"\\u{ord(char):04x}" for char in self.text).encode()]
        widths = [WINDOW_CHARS * (2 if b"\0" in shape or index == 2 else 1) for index, shape in enumerate(shapes)]
        self._windows = tuple(
            {shape[at : at + width] for shape, width in zip(shapes, widths, strict=True)
             for at in range(0, len(shape) - width, 3)}
        )  # fmt: skip

    def within(self, text: bytes) -> bool:
        return any(window in text for window in self._windows)


@dataclass
class Watched:
    """An installation that was asked about the canary in every way, and what its surfaces showed meanwhile."""

    canary: Canary
    home: Path
    workplace: Path
    key: str
    surfaces: dict[str, bytes]


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    home, workplace = tmp_path_factory.mktemp("secret"), tmp_path_factory.mktemp("workplace")
    _, hard = before = resource.getrlimit(resource.RLIMIT_CORE)
    environ = {"FASTNESS__TELEMETRY__LOG_LEVEL": "debug", "FASTNESS__ENGINE__THREADS": "1", "TMPDIR": str(workplace)}
    canary = Canary()
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(workplace)
        resource.setrlimit(resource.RLIMIT_CORE, (hard, hard))  # whatever wants to dump core may
        try:
            running = start(home, environ=environ)
        finally:
            resource.setrlimit(resource.RLIMIT_CORE, before)
    try:
        ask_in_every_way(running, canary.text)
        surfaces = crash_in_every_way(running, canary.text) | seen(running)
        assert stop(running) == 0
        yield Watched(canary, home, workplace, running.admin_key, surfaces)
    finally:
        forget(home)


def ask_in_every_way(running: Installation, text: str) -> None:
    """Whole answers, streams, refusals at every step, and things that are not even HTTP."""
    asks = Together(running, [*served(text), *refused(text)]).heard()
    assert all(one.status for one in asks)
    assert sum(one.whole for one in asks) == len(served(text)), [one for one in asks if one.status != 200]
    host = running.root.removeprefix("http://")
    headers = {"authorization": f"Bearer {running.admin_key}", "x-canary": text.encode()}
    httpx.get(f"{running.base_url}/models/{text}?{text}={text}", headers=headers)
    httpx.post(f"{running.base_url}/{text}", content=text.encode(), headers=headers)
    httpx.post(f"{running.base_url}/chat/completions", content=b'{"model": "' + text.encode(), headers=headers)
    httpx.post(f"{running.base_url}/embeddings", json={}, headers={"authorization": f"Bearer fst_{quote(text)}"})
    for wire in (f"{text} / HTTP/1.1\r\n\r\n", f"GET /{text} HTTP/1.1\r\nHost: a\r\n{text}\r\n\r\n"):
        with socket.create_connection(tuple(host.split(":")), timeout=10) as talk:
            talk.sendall(wire.encode())
            assert talk.recv(4_096).startswith(b"HTTP/1.1 400")
    environ = os.environ | {"FASTNESS_HOME": str(running.home)}
    command = [FASTNESS, "run", CHAT, "-", "--system", text, "--max-tokens", "4", "--json"]
    said = subprocess.run(command, input=text, capture_output=True, text=True, env=environ, timeout=60, check=False)
    assert said.returncode == 0, said.stderr


def served(text: str) -> list[tuple[str, dict[str, Any]]]:
    """Requests that are answered, with the canary in every field that takes text."""
    user = {"role": "user", "content": text, "name": "n"}
    system = {"role": "system", "content": [{"type": "text", "text": text}]}
    schema = {"type": "object", "properties": {"a": {"enum": [text]}}, "required": ["a"], "additionalProperties": False}
    tool = {"type": "function", "function": {"name": "f", "description": text, "parameters": schema}}
    call = {"id": text, "type": "function", "function": {"name": "f", "arguments": f'{{"a":"{text}"}}'}}
    turns = [user, {"role": "assistant", "content": text, "tool_calls": [call]},
             {"role": "tool", "tool_call_id": text, "content": text}]  # fmt: skip
    form = {"type": "json_schema", "json_schema": {"name": "f", "description": text, "schema": schema}}
    marks = {"user": text, "metadata": {"k": text}, "stop": [text], "safety_identifier": text, "prompt_cache_key": text}
    chat = {"model": CHAT, "messages": [system, user], "max_tokens": 4}
    route = "/chat/completions"
    return [
        (route, chat),
        (route, chat | {"stream": True, "n": 2, **marks}),
        (route, chat | {"messages": turns, "tools": [tool], "tool_choice": "none", "logprobs": True}),
        (route, chat | {"response_format": form, "max_tokens": 90}),
        (route, chat | {"tools": [tool], "tool_choice": "required", "stream": True, "max_tokens": 120}),
        ("/completions", {"model": CHAT, "prompt": [text, text], "max_tokens": 3, "echo": True, "user": text}),
        ("/completions", {"model": CHAT, "prompt": text, "max_tokens": 3, "stream": True}),
        ("/embeddings", {"model": EMBEDDING, "input": [text, text * 3], "user": text}),
    ]


def refused(text: str) -> list[tuple[str, dict[str, Any]]]:
    """Requests that are refused, each at another step."""
    chat = {"model": CHAT, "messages": [{"role": "user", "content": text}], "max_tokens": 4}
    not_enforceable = {"name": "f", "schema": {"type": "object", "properties": {text: {"not": {"const": text}}}}}
    route = "/chat/completions"
    return [
        (route, chat | {"model": text}),
        (route, chat | {text: text}),
        (route, chat | {"messages": [{"role": text, "content": text}]}),
        (route, chat | {"tool_choice": text}),
        (route, chat | {"logit_bias": {text: 1}}),
        (route, chat | {"stop": [text] * 9}),
        (route, chat | {"messages": [{"role": "user", "content": f"{text} " * 900}]}),
        (route, chat | {"response_format": {"type": "json_schema", "json_schema": not_enforceable}}),
        (route, chat | {"response_format": {"type": "json_schema", "json_schema": {"name": text, "schema": {}}}}),
        ("/embeddings", {"model": EMBEDDING, "input": f"{text} " * 900}),
        ("/embeddings", {"model": EMBEDDING, "input": text, "encoding_format": text}),
        ("/completions", {"model": CHAT, "prompt": text, "suffix": text}),
    ]


def crash_in_every_way(running: Installation, text: str) -> dict[str, bytes]:
    """Clients that leave, then processes that end badly while they hold the canary in memory."""
    surfaces = {}
    chats = [long_chat(text) for _ in range(4)]
    headers = {"authorization": f"Bearer {running.admin_key}"}
    with httpx.stream(
        "POST", f"{running.base_url}{chats[0][0]}", json=chats[0][1], headers=headers, timeout=30
    ) as left:
        next(left.iter_lines())
    for name, signal_number in (("engine", signal.SIGSEGV), ("engine", signal.SIGABRT), ("gateway", signal.SIGABRT)):
        answers = eventually(lambda: ready(running), "everything serves", 30)
        assert answers
        under_way = Together(running, chats)
        eventually(lambda: running.busy_slots() == len(chats), "the engine works on the canary", 30)
        os.kill(running.engine_pid() if name == "engine" else child(running, "gateway"), signal_number)
        if name == "engine":
            surfaces[f"ps after {signal_number.name}"] = running.run("ps", "--json").stdout.encode()
        under_way.heard()
    eventually(lambda: ready(running), "everything serves again", 30)
    return surfaces


def long_chat(text: str) -> tuple[str, dict[str, Any]]:
    said = [{"role": "user", "content": f"{random.random()} Write a long story about {text}."}]
    return "/chat/completions", {"model": CHAT, "messages": said, "max_tokens": 200, "stream": True}


def ready(running: Installation) -> bool:
    try:
        return httpx.get(f"{running.root}/readyz", timeout=5).status_code == 200
    except httpx.HTTPError:
        return False


def seen(running: Installation) -> dict[str, bytes]:
    """What is shown to people and to other programs."""
    verbs = [("ps",), ("ps", "--json"), ("logs", "-n", "5000"), ("logs", "-n", "5000", "--json"), ("models", "--json"),
             ("ledger", "tail", "-n", "500", "--json"), ("keys", "list", "--json"), ("config", "explain")]  # fmt: skip
    shown = {" ".join(verb): running.run(*verb) for verb in verbs}
    assert all(one.returncode == 0 for one in shown.values()), shown
    said = {name: (one.stdout + one.stderr).encode() for name, one in shown.items()}
    environs = {f"environ of {pid}": Path(f"/proc/{pid}/environ").read_bytes() for pid in processes_of(running.home)}
    return said | environs | {"metrics": httpx.get(f"{running.root}/metrics").content}


def files(*directories: Path) -> list[Path]:
    """Every file, but for the weights, which are as they were admitted."""
    return [path for one in directories for path in one.rglob("*") if path.is_file() and path.suffix != ".gguf"]


def test_no_file_holds_any_part_of_what_was_asked(watched):
    kept = files(watched.home, watched.workplace, run_directory(watched.home, os.getuid()))
    names = {path.name for path in kept}
    assert {"fastness.db", "up.stderr", "gateway-0.jsonl", "supervisor.jsonl", "head.json"} <= names
    assert [path for path in kept if watched.canary.within(path.read_bytes())] == []
    assert [path for path in kept if watched.canary.within(path.name.encode())] == []


def test_no_surface_shows_any_part_of_what_was_asked(watched):
    assert [name for name, text in watched.surfaces.items() if watched.canary.within(text)] == []


def test_no_process_dumps_core_while_it_holds_what_was_asked(watched):
    assert [path for path in files(watched.home, watched.workplace) if path.name.startswith("core")] == []


def test_no_file_holds_a_key(watched):
    secret = watched.key.removeprefix("fst_admin_")[8:24].encode()
    kept = files(watched.home, watched.workplace, run_directory(watched.home, os.getuid()))
    assert [path for path in kept if secret in path.read_bytes()] == []
    assert [name for name, text in watched.surfaces.items() if secret in text] == []


def test_the_canary_would_be_found():
    canary = Canary()
    for kept in (canary.text.encode(), canary.text[5:20].encode(), base64.b64encode(f"{{..{canary.text}".encode()),
                 f'{{"a": "{canary.text}"}}'.encode("unicode_escape"), canary.text.encode("utf-16-le")):  # fmt: skip
        assert canary.within(b"something " + kept + b" else")
    assert not canary.within(Canary().text.encode())
