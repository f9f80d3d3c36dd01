"""Law 3: a marker sent in every field that takes text is found nowhere afterwards."""

from __future__ import annotations

import base64
import os
import signal
import time
from pathlib import Path

import httpx
import pytest

from fastness.config import run_directory
from installation import CHAT, EMBEDDING, Installation, start, stop

pytestmark = pytest.mark.slow
MARKER = "Zq7canaryXk"
SHAPES = tuple(
    shape.encode() if isinstance(shape, str) else shape
    for shape in (
        MARKER,
        base64.b64encode(MARKER.encode()).rstrip(b"="),
        base64.b64encode(b"." + MARKER.encode())[2:-2],
        MARKER.encode("utf-16-le"),
        "".join(f"\\u{ord(char):04x}" for char in MARKER),
        MARKER.encode().hex(),
    )
)


def ask(installation: Installation, route: str, body: object) -> int:
    headers = {"authorization": f"Bearer {installation.admin_key}"}
    try:
        return httpx.post(f"{installation.base_url}/{route}", json=body, headers=headers, timeout=30).status_code
    except httpx.HTTPError:
        return 0


def ask_in_every_way(installation: Installation) -> list[int]:
    says = [{"role": "user", "content": f"Repeat: {MARKER}"}]
    schema = {
        "type": "object",
        "properties": {MARKER: {"enum": [MARKER]}},
        "required": [MARKER],
        "additionalProperties": False,
    }
    tool = {"type": "function", "function": {"name": MARKER, "description": MARKER, "parameters": schema}}
    chat = {"model": CHAT, "messages": says, "max_tokens": 30, "temperature": 0}
    form = {"type": "json_schema", "json_schema": {"name": MARKER, "schema": schema}}
    bad_form = {"type": "json_schema", "json_schema": {"name": MARKER, "schema": {"not": {"const": MARKER}}}}
    return [
        ask(installation, "chat/completions", chat),
        ask(installation, "chat/completions", chat | {"stream": True}),
        ask(installation, "chat/completions", chat | {"messages": [{"role": "system", "content": MARKER}, *says]}),
        ask(installation, "chat/completions", chat | {"user": MARKER, "metadata": {MARKER: MARKER}, "stop": [MARKER]}),
        ask(installation, "chat/completions", chat | {"response_format": form}),
        ask(installation, "chat/completions", chat | {"response_format": bad_form}),
        ask(installation, "chat/completions", chat | {"tools": [tool], "tool_choice": "required"}),
        ask(installation, "chat/completions", chat | {"model": MARKER}),
        ask(installation, "chat/completions", chat | {MARKER: MARKER}),
        ask(installation, "chat/completions", chat | {"messages": [{"role": MARKER, "content": MARKER}]}),
        ask(installation, "chat/completions", chat | {"messages": [{"role": "user", "content": f"{MARKER} " * 3_000}]}),
        ask(installation, "completions", {"model": CHAT, "prompt": MARKER, "max_tokens": 5, "echo": True}),
        ask(installation, "embeddings", {"model": EMBEDDING, "input": [MARKER, MARKER * 2]}),
        ask(installation, f"models/{MARKER}", chat),
        ask(installation, f"{MARKER}?{MARKER}={MARKER}", chat),
    ]


def found_below(directory: Path) -> list[Path]:
    return [
        path
        for path in directory.rglob("*")
        if path.is_file() and path.suffix != ".gguf" and any(shape in path.read_bytes() for shape in SHAPES)
    ]


def test_a_marked_prompt_is_found_nowhere_on_disk_in_logs_metrics_or_ledger(tmp_path):
    running = start(tmp_path)
    try:
        statuses = ask_in_every_way(running)
        assert statuses.count(200) >= 8, statuses
        assert not any(status >= 500 for status in statuses), statuses
        # An engine that dies while it works on the marker, and one that dies with it in its queue.
        pid = running.engine_pid()
        with httpx.stream(
            "POST",
            f"{running.base_url}/chat/completions",
            json={"model": CHAT, "messages": [{"role": "user", "content": f"Write about {MARKER}."}], "stream": True},
            headers={"authorization": f"Bearer {running.admin_key}"},
            timeout=30,
        ) as stream:
            lines = stream.iter_lines()
            next(lines)
            os.kill(pid, signal.SIGABRT)
            assert any('"error"' in line or "[DONE]" in line for line in lines)
        metrics = httpx.get(f"{running.root}/metrics").content
        shown = running.run("ps", "--json").stdout + running.run("logs", "-n", "1000", "--json").stdout
        time.sleep(0.5)  # the logs are flushed several times a second
    finally:
        code = stop(running)
    assert code == 0
    assert not any(shape in metrics + shown.encode() for shape in SHAPES)
    assert found_below(tmp_path) == []
    assert found_below(run_directory(tmp_path, os.getuid())) == []
    assert not list(tmp_path.rglob("core*"))
    (segment,) = (tmp_path / "ledger/gateway-0").glob("*.jsonl")
    assert len(segment.read_text().splitlines()) >= 12, "it was all recorded, without content"
