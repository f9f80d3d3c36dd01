"""Law 3, against an attacker who has the disk: whatever was asked, and however it ended, no part of it was kept."""

from __future__ import annotations

import base64
import json
import os
import random
import resource
import signal
import socket
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest

from canaries import Canary
from fastness.config import run_directory
from fastness.core.retention import Selection
from fastness.sealed.box import Damaged
from fastness.sealed.key_files import KeyFiles
from fastness.sealed.keyring import Keyring
from fastness.sealed.safe import Safe
from installation import CHAT, EMBEDDING, FASTNESS, Installation, eventually, start, stop
from killing import child, forget, processes_of
from traffic import Together

pytestmark = [pytest.mark.slow, pytest.mark.timeout(500)]


@dataclass
class Watched:
    """An installation that was asked about canaries in every way, and what its surfaces showed meanwhile.

    One tenant has nothing kept of what it asked, which is `canary`; another one, `keeper`, has it kept: `kept`.
    """

    canary: Canary
    kept: Canary
    delivered: set[str]
    auditors: tuple[str, str]
    home: Path
    workplace: Path
    key: str
    surfaces: dict[str, bytes]


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    home, workplace = tmp_path_factory.mktemp("secret"), tmp_path_factory.mktemp("workplace")
    _, hard = before = resource.getrlimit(resource.RLIMIT_CORE)
    environ = {"FASTNESS__TELEMETRY__LOG_LEVEL": "debug", "FASTNESS__ENGINE__THREADS": "1", "TMPDIR": str(workplace)}
    canary, kept = Canary(), Canary()
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(workplace)
        resource.setrlimit(resource.RLIMIT_CORE, (hard, hard))  # whatever wants to dump core may
        try:
            running = start(home, environ=environ)
        finally:
            resource.setrlimit(resource.RLIMIT_CORE, before)
    try:
        ask_in_every_way(running, canary.text)
        surfaces = crash_in_every_way(running, canary.text)
        developer, *auditors = keeper(running)
        ask_in_every_way(replace(running, admin_key=developer), kept.text)
        delivered = kill_while_it_is_kept(replace(running, admin_key=developer), kept.text)
        surfaces |= seen(running)
        assert stop(running) == 0
        yield Watched(canary, kept, delivered, (auditors[0], auditors[1]), home, workplace, running.admin_key, surfaces)
    finally:
        forget(home)


def keeper(running: Installation) -> list[str]:
    """A tenant that has everything kept: the keys of a developer and of two auditors."""
    assert running.run("tenants", "create", "keeper").returncode == 0
    assert running.run("retention", "set", "keeper", "sealed", "--days", "30").returncode == 0
    made = [
        running.run("keys", "create", "--tenant", "keeper", "--name", name, "--role", role, "--json")
        for name, role in (("dev", "developer"), ("ann", "auditor"), ("bob", "auditor"))
    ]
    return [json.loads(one.stdout)["key"] for one in made]


def kill_while_it_is_kept(running: Installation, text: str) -> set[str]:
    """`kill -9` of a gateway and of control in the middle of answers that are to be kept.

    Returns the ids of those that were delivered in full all the same.
    """
    chats, delivered = [*(long_chat(text) for _ in range(4)), *served(text)[-3:-1]], set()
    leave(running, chats[0])
    for name in ("gateway", "control"):
        eventually(lambda: ready(running), "everything serves")
        under_way = Together(running, chats)
        eventually(lambda: running.busy_slots() >= 4, "the engine works on the canary")
        os.kill(child(running, name), signal.SIGKILL)
        delivered |= {one.request_id for one in under_way.heard() if one.whole and one.request_id}
    eventually(lambda: ready(running), "everything serves again")
    return delivered


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
    leave(running, chats[0])
    for name, signal_number in (("engine", signal.SIGSEGV), ("engine", signal.SIGABRT), ("gateway", signal.SIGABRT)):
        answers = eventually(lambda: ready(running), "everything serves")
        assert answers
        under_way = Together(running, chats)
        eventually(lambda: running.busy_slots() == len(chats), "the engine works on the canary")
        os.kill(running.engine_pid() if name == "engine" else child(running, "gateway"), signal_number)
        if name == "engine":
            surfaces[f"ps after {signal_number.name}"] = running.run("ps", "--json").stdout.encode()
        under_way.heard()
    eventually(lambda: ready(running), "everything serves again")
    return surfaces


def leave(running: Installation, asked: tuple[str, dict[str, Any]]) -> None:
    """Begin to read a stream, and go."""
    headers = {"authorization": f"Bearer {running.admin_key}"}
    with httpx.stream("POST", f"{running.base_url}{asked[0]}", json=asked[1], headers=headers, timeout=30) as left:
        next(left.iter_lines())


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


def test_what_a_department_had_kept_is_nowhere_but_under_its_keys(watched):
    """No file and no surface has any part of it; with the keys it opens, to the byte."""
    kept = files(watched.home, watched.workplace, run_directory(watched.home, os.getuid()))
    assert any(path.suffix == ".seg" for path in kept)
    assert [path for path in kept if watched.kept.within(path.read_bytes())] == []
    assert [path for path in kept if watched.kept.within(path.name.encode())] == []
    assert [name for name, text in watched.surfaces.items() if watched.kept.within(text)] == []
    safe = Safe(Keyring(watched.home / "sealed", KeyFiles(watched.home / "secrets/tenants")))
    found = safe.find("keeper", Selection())
    opened = [safe.open(one) for one in found]
    assert len(opened) >= len(served("")), "every answer is there"
    assert all(watched.kept.within(one.request) for one in opened)
    assert any(watched.kept.within(one.answer) for one in opened), "echo is on"
    assert {one.whole for one in opened} == {True, False}, "what was killed in the middle is there as far as it came"
    assert watched.delivered
    assert watched.delivered <= {one.head.request_id for one in found}, "what was delivered in full is there"
    assert len(safe.find("keeper", Selection(end_user=watched.kept.text))) >= 3
    assert safe.find("default", Selection()) == []
    stolen = Safe(Keyring(watched.home / "sealed", KeyFiles(watched.workplace / "elsewhere")))
    with pytest.raises(Damaged):
        stolen.open(found[0])


def test_after_it_was_shredded_nothing_of_it_opens_and_the_ledger_verifies(watched, monkeypatch):
    here = Installation(watched.home, None, "", "")  # type: ignore[arg-type]  # it is stopped
    copy = {path: path.read_bytes() for path in (watched.home / "sealed").rglob("*") if path.is_file()}
    ann, bob = watched.auditors
    monkeypatch.setenv("FASTNESS_KEY", ann)
    asked = here.run("retention", "ask", "shred", "--tenant", "keeper", "--everything", "--reason", "it leaves", "-q")
    disclosure = asked.stdout.strip()
    monkeypatch.setenv("FASTNESS_KEY", bob)
    assert here.run("retention", "approve", disclosure, "--yes").returncode == 0
    monkeypatch.setenv("FASTNESS_KEY", ann)
    certificate = watched.workplace / "certificate.json"
    done = here.run("retention", "shred", disclosure, "-o", str(certificate), "--yes")
    assert done.returncode == 0, done.stderr
    assert here.run("retention", "verify", str(certificate)).returncode == 0
    for path, content in copy.items():  # somebody has a backup of everything but the tenant's key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    safe = Safe(Keyring(watched.home / "sealed", KeyFiles(watched.home / "secrets/tenants")))
    found = safe.find("keeper", Selection())
    assert found
    assert safe.opens(found) == 0
    assert here.run("ledger", "verify").returncode == 0


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
