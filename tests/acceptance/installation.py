"""A running installation, started as a script would: `fastness up --json --port 0`."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest
from openai import OpenAI

FASTNESS = Path(sys.executable).with_name("fastness")
CHAT = "smollm2-135m-instruct"
EMBEDDING = "minilm-l6-v2"


@dataclass
class Installation:
    """A running installation and how to reach it."""

    home: Path
    process: subprocess.Popen[str]
    base_url: str
    admin_key: str
    sockets: dict[str, str] = field(default_factory=dict)

    @property
    def root(self) -> str:
        return self.base_url.removesuffix("/v1")

    def client(self, key: str | None = None) -> OpenAI:
        return OpenAI(base_url=self.base_url, api_key=key or self.admin_key, max_retries=0, timeout=120)

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run a verb against this installation."""
        environ = os.environ | {"FASTNESS_HOME": str(self.home)}
        return subprocess.run(
            [FASTNESS, *arguments], capture_output=True, text=True, env=environ, timeout=60, check=False
        )

    def replicas(self) -> list[dict[str, object]]:
        done = self.run("ps", "--json")
        assert done.returncode == 0, done.stderr
        found = json.loads(done.stdout)
        return found["replicas"] if isinstance(found, dict) else found

    def engine_pid(self, model: str = CHAT) -> int:
        return next(int(str(one["pid"])) for one in self.replicas() if one["model"] == model)

    def engine(self, model: str = CHAT) -> httpx.Client:
        """A client of the engine's own socket, to see what it really does."""
        if model not in self.sockets:
            self.sockets |= {str(one["model"]): str(one["socket"]) for one in self.replicas()}
        socket = self.sockets[model]
        return httpx.Client(transport=httpx.HTTPTransport(uds=socket), base_url="http://engine", timeout=30)

    def busy_slots(self, model: str = CHAT) -> int:
        """How many slots the engine itself says are working."""
        with self.engine(model) as engine:
            return sum(bool(slot["is_processing"]) for slot in engine.get("/slots").json())


def start(home: Path, *arguments: str, environ: dict[str, str] | None = None) -> Installation:
    """Start an installation and wait for its line of JSON."""
    with (home / "up.stderr").open("a") as talk:
        process = subprocess.Popen(
            [FASTNESS, "up", "--json", "--port", "0", *arguments],
            stdout=subprocess.PIPE,
            stderr=talk,
            text=True,
            env=os.environ | {"FASTNESS_HOME": str(home)} | (environ or {}),
        )
    assert process.stdout is not None
    line = process.stdout.readline()
    assert line, (home / "up.stderr").read_text()
    ready = json.loads(line)
    return Installation(home, process, ready["base_url"], ready["admin_key"])


def stop(installation: Installation) -> int:
    """SIGTERM, and the exit code."""
    if installation.process.poll() is None:
        installation.process.send_signal(signal.SIGTERM)
    code = installation.process.wait(timeout=60)
    assert installation.process.stdout is not None
    installation.process.stdout.close()
    return code


def eventually(condition, what: str, limit_s: float = 60.0, period_s: float = 0.02):
    """Poll until `condition()` is true and return its value; fail after `limit_s`.

    A machine too busy to look as often as it should is too busy for what is waited for: it is looked for longer.
    """
    deadline, looks = time.monotonic() + limit_s, limit_s / period_s / 4
    while time.monotonic() < deadline or looks > 0:
        if value := condition():
            return value
        time.sleep(period_s)
        looks -= 1
    pytest.fail(f"not within {limit_s} s: {what}")
