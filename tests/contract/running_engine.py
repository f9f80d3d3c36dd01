"""A running engine, as the contract tests speak to it."""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path

import pytest

import vllm_place
from fastness.core.model import ModelCard, ModelKind
from fastness.core.request import Delta, Generation
from fastness.engines.catalogue import dialect
from fastness.engines.port import Dialect, Engine, EngineCall, EngineTask

SLOTS = 4
CONTEXT_TOKENS = 1_024


class UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("engine", timeout=60)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(60)
        self.sock.connect(str(self._path))


@dataclass
class Running:
    """An engine that serves, and a way to speak to it."""

    dialect: Dialect
    socket: Path

    def request(self, method: str, path: str, body: bytes | None = None) -> tuple[int, bytes]:
        connection = UnixConnection(self.socket)
        try:
            connection.request(method, path, body, {"content-type": "application/json"})
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    def post(self, call: EngineCall) -> bytes:
        status, body = self.request("POST", call.path, call.body)
        if status != 200:
            raise self.dialect.error(status, body)
        return body

    def whole(self, work: Generation) -> Delta:
        assert self.dialect.unsupported(work) is None
        return self.dialect.answer(self.post(self.dialect.generation(work)))

    def streamed(self, work: Generation) -> list[Delta]:
        body = self.post(self.dialect.generation(replace(work, stream=True)))
        events = [event[6:] for event in body.split(b"\n\n") if event.startswith(b"data: ")]
        assert events[-1] == b"[DONE]"
        return [delta for event in events[:-1] if (delta := self.dialect.delta(event)) is not None]

    def busy(self) -> int:
        if self.dialect.name == "vllm":
            metrics = self.request("GET", "/metrics")[1].decode()
            return int(sum(map(float, re.findall(r"^vllm:num_requests_running\{.*\} (\S+)$", metrics, re.MULTILINE))))
        return sum(slot["is_processing"] for slot in json.loads(self.request("GET", "/slots")[1]))


def start(engine: Engine, task: EngineTask, log: Path) -> subprocess.Popen[bytes]:
    launch = engine.launch(task)
    with log.open("wb") as stderr:
        process = subprocess.Popen(launch.argv, env=launch.environ, stderr=stderr, start_new_session=True)
    try:
        wait_until_ready(Running(dialect(engine.name), task.socket), engine, process, log)
    except BaseException:
        ended(process)
        raise
    return process


def wait_until_ready(running: Running, engine: Engine, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + (400 if engine.name == "vllm" else 60)
    while True:
        try:
            if running.request("GET", engine.health())[0] == 200:
                return
        except OSError:
            pass
        assert process.poll() is None, log.read_text()
        assert time.monotonic() < deadline, "the engine did not become ready"
        time.sleep(0.02)


def weights(package: str, name: str) -> Path:
    spec = find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        pytest.skip(f"{package} is not installed: make run installs the starter models")
    return Path(spec.submodule_search_locations[0]) / name


def task(folder: Path, file: Path, kind: ModelKind, size: int = 0) -> EngineTask:
    dimensions = 384 if kind is ModelKind.EMBEDDING else None
    card = ModelCard("model", kind, "", size, "MIT", 8_192, 0, embedding_dimensions=dimensions)
    context = 512 if kind is ModelKind.EMBEDDING else CONTEXT_TOKENS
    threads = len(os.sched_getaffinity(0))
    return EngineTask(card, file, folder / "engine.sock", folder, SLOTS, context, threads)


def ended(process: subprocess.Popen[bytes]) -> int:
    process.terminate()
    try:
        return process.wait(30)
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def folder_task(folder: Path, model: Path, kind: ModelKind) -> EngineTask:
    files = vllm_place.files_of(model)
    size = sum(file.stat().st_size for _, file in files)
    python = str(vllm_place.python())
    return replace(task(folder, folder / "model", kind, size), files=files, python=python)


def until(holds: Callable[[], bool], otherwise: str) -> None:
    deadline = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < deadline, otherwise
        time.sleep(0.005)
