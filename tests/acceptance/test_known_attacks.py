"""Attacks that took other inference servers, tried on a whole installation. SECURITY.md says which is which."""

from __future__ import annotations

import json
import os
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from installation import CHAT, Installation

MARK = "zebra-quartz-7719"
SQL = [
    "' OR '1'='1",
    "fst_' OR 1=1 --",
    "fst_x'; DROP TABLE api_keys; --",
    "fst_admin_' UNION SELECT mac FROM api_keys --",
    "fst_'||(SELECT CASE WHEN 1=1 THEN pg_sleep(5) ELSE '' END)||'",
    "fst_%27%20OR%201%3D1",
    'fst_" OR ""="',
    "fst_\\' OR 1=1 #",
    "fst_1); ATTACH DATABASE '/tmp/x' AS y; --",
]


@pytest.fixture
def http(installation: Installation) -> Iterator[httpx.Client]:
    headers = {"authorization": f"Bearer {installation.admin_key}"}
    with httpx.Client(base_url=installation.root, headers=headers, timeout=30) as one:
        yield one


def ask(http: httpx.Client, **fields: object) -> httpx.Response:
    body = {"model": CHAT, "messages": [{"role": "user", "content": "hi"}], "max_tokens": 2} | fields
    return http.post("/v1/chat/completions", json=body)


def keys(installation: Installation) -> list[str]:
    return [one["id"] for one in json.loads(installation.run("keys", "--json").stdout)["keys"]]


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["Bearer ", "Basic ", ""])
def test_sql_in_the_authorization_header_opens_nothing_and_changes_nothing(installation, scheme):
    """LiteLLM, CVE-2026-42208: the key check built SQL out of the header."""
    known = keys(installation)
    with httpx.Client(base_url=installation.root, timeout=30) as stranger:
        for payload in SQL:
            began = time.monotonic()
            for header in ("authorization", "x-api-key", "api-key", "x-litellm-api-key"):
                answer = stranger.get("/v1/models", headers={header: scheme + payload})
                assert answer.status_code == 401, payload
                assert payload not in answer.text
            assert time.monotonic() - began < 4, f"{payload} was executed somewhere: it took its time"
    assert keys(installation) == known


@pytest.mark.slow
@pytest.mark.parametrize(
    "kind", ["image_url", "input_image", "video_url", "audio_url", "input_audio", "file", "input_file"]
)
def test_media_in_a_message_is_refused_and_nothing_is_fetched(http, kind):
    """vLLM, CVE-2026-22778 and its requests to anywhere: here there is no media, and no URL is followed."""
    with socket.create_server(("127.0.0.1", 0)) as canary:
        canary.setblocking(False)
        url = f"http://127.0.0.1:{canary.getsockname()[1]}/canary"
        for value in ({"url": url}, url, {"url": "file:///etc/passwd"}, {"data": "AAAA", "format": "mp4"}):
            part = {"type": kind, kind: value}
            answer = ask(http, messages=[{"role": "user", "content": [part]}])
            assert answer.status_code == 400, (value, answer.text)
            assert "0x" not in answer.text, "no address of memory in an error"
        time.sleep(0.2)  # whoever fetches in the background has had the time
        with pytest.raises(BlockingIOError):
            canary.accept()


@pytest.mark.slow
def test_an_installation_listens_at_one_address_only(installation):
    """Ray's dashboard, ZeroMQ and gRPC buses, debug ports: whatever listens is a way in."""
    inodes = {inode for pid in family(installation.process.pid) for inode in socket_inodes(pid)}
    port = int(installation.root.rpartition(":")[2])
    listening = [
        (name, local)
        for name in ("tcp", "tcp6", "udp", "udp6", "raw", "raw6")
        for local, state, inode in rows(name)
        if inode in inodes and (state == "0A" or not name.startswith("tcp"))
    ]
    assert [(name, int(local.rpartition(":")[2], 16)) for name, local in listening] == [("tcp", port)]
    assert listening[0][1].startswith("0100007F"), "127.0.0.1 unless somebody says otherwise"


@pytest.mark.slow
def test_no_page_shows_what_was_asked(installation, http):
    """GPUStack's /serveLogs, llama.cpp's /slots and /props: prompts for whoever asks."""
    assert ask(http, messages=[{"role": "user", "content": MARK}]).status_code == 200
    for path in (
        *("/slots", "/props", "/serveLogs", "/logs", "/v1/slots", "/metrics", "/debug", "/debug/pprof", "/v1/logs"),
        *("/v1/traces", "/health", "/v1/models", f"/v1/models/{CHAT}", "/openapi.json", "/docs", "/server_info"),
        *("/get_server_info", "/get_load", "/dump", "/api/v1/logs", "/version", "/readyz", "/livez", "/.env"),
    ):
        for method in ("GET", "POST", "HEAD"):
            answer = http.request(method, path)
            assert MARK not in answer.text, path
            assert answer.status_code in (200, 404, 405), path


@pytest.mark.slow
def test_one_request_stops_nothing(installation, http):
    """vLLM, CVE-2025-48956, -62426, -48944: one request that a server dies of. Here it is refused, and soon."""
    deep: object = {"type": "string"}
    for _ in range(5_000):
        deep = {"type": "array", "items": deep}
    tool = {"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}
    bomb = {"type": "string", "pattern": "(" * 200 + "a" + "){1,1000}" * 200}
    worst: list[dict[str, object]] = [
        {"n": 16_384},
        {"stop": ["x"] * 100_000},
        {"logit_bias": {str(number): 1 for number in range(200_000)}},
        {"tools": [tool] * 10_000},
        {"tools": [tool | {"function": {"name": "f", "parameters": bomb}}], "tool_choice": "required"},
        {"chat_template_kwargs": {"chat_template": "{% for i in range(10**9) %}x{% endfor %}", "tokenize": True}},
        {"response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": bomb}}},
        {"max_tokens": 10**18},
        {"messages": [{"role": "user", "content": "a"}] * 50_000},
        {"messages": [{"role": "user", "content": "word " * 400_000}]},
    ]
    pid = installation.engine_pid()
    for fields in worst:
        began = time.monotonic()
        answer = ask(http, **fields)
        assert 400 <= answer.status_code < 500, (list(fields), answer.status_code, answer.text[:200])
        assert time.monotonic() - began < 10, list(fields)
    depth = '{"model": "m", "response_format": ' + '{"a":' * 100_000 + "1" + "}" * 100_000 + "}"
    assert http.post("/v1/chat/completions", content=depth).status_code == 400
    assert huge_header(installation) in (400, 431)
    assert ask(http).status_code == 200
    assert installation.engine_pid() == pid, "the engine was never even disturbed"


@pytest.mark.slow
def test_a_flood_of_strangers_learns_nothing_and_stops_nobody(installation, http):
    """Wrong keys from many connections at once, while a rightful caller goes on being answered."""
    seen: list[int] = []

    def storm() -> None:
        with httpx.Client(base_url=installation.root, timeout=30) as stranger:
            for number in range(100):
                answer = stranger.get("/v1/models", headers={"authorization": f"Bearer fst_{number:049d}"})
                seen.append(answer.status_code)

    storms = [threading.Thread(target=storm) for _ in range(8)]
    for one in storms:
        one.start()
    answers = [ask(http).status_code for _ in range(3)]
    for one in storms:
        one.join()
    assert answers == [200, 200, 200]
    assert set(seen) == {401}


def huge_header(installation: Installation) -> int:
    """Send a header of 30 MB for as long as the gateway listens; return its answer's status."""
    host, _, port = installation.root.removeprefix("http://").partition(":")
    with socket.create_connection((host, int(port)), 30) as opened:
        opened.sendall(b"GET /v1/models HTTP/1.1\r\nhost: x\r\nx: ")
        try:
            for _ in range(30):
                opened.sendall(b"a" * 1_000_000)
        except OSError:
            pass  # it has been closed on us, as it should
        try:
            return int(opened.recv(64).split()[1])
        except (OSError, IndexError):
            return 431  # the answer was lost with the connection


def family(pid: int) -> list[int]:
    """A process and all its descendants."""
    parents = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            parents[int(folder.name)] = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
        except (OSError, ValueError):
            continue
    found = [pid]
    for one in found:
        found.extend(child for child, parent in parents.items() if parent == one)
    return found


def socket_inodes(pid: int) -> set[str]:
    found = set()
    for link in Path(f"/proc/{pid}/fd").iterdir():
        try:
            target = os.readlink(link)
        except OSError:
            continue
        if target.startswith("socket:["):
            found.add(target[8:-1])
    return found


def rows(name: str) -> list[tuple[str, str, str]]:
    """Local address, state and inode of each socket of a kind, as the kernel of this network namespace lists them."""
    try:
        lines = Path(f"/proc/net/{name}").read_text().splitlines()[1:]
    except FileNotFoundError:
        return []
    return [(words[1], words[3], words[9]) for words in map(str.split, lines)]
