"""A real installation, as `fastness up` starts it: sealed engine, gateway, control. And how long starting takes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import msgspec

from benchmarks import processes
from benchmarks.bodies import CHAT_PATH, MODEL, exact_body
from benchmarks.figures import median
from benchmarks.load import Job
from fastness.config import run_directory
from fastness.core.replica import Replica, RoutingSnapshot

VERB_TIMEOUT_S: Final = 60.0


@dataclass(frozen=True, slots=True)
class Running:
    """An installation that is ready. Times are in seconds from the start of the command."""

    port: int
    key: str
    pid: int
    gateway_pid: int
    replica: Replica
    ready_s: float


@contextmanager
def installation(home: Path, key: str | None = None, settings: Mapping[str, str] | None = None) -> Iterator[Running]:
    """Run `fastness up` on `home`. The admin key is shown on the first start only: pass it on the next ones.

    `settings` are variables of the environment.
    """
    began = time.perf_counter()
    with processes.running(
        "-c",
        "from fastness.main import main; main()",
        "up",
        "--json",
        "--port",
        "0",
        environ={"FASTNESS_HOME": str(home), **(settings or {})},
        grace_s=60.0,
        quiet=True,
    ) as process:
        told = json.loads(processes.line_of(process))
        ready_s = time.perf_counter() - began
        port = int(told["base_url"].rpartition(":")[2].partition("/")[0])
        shown = told.get("admin_key") or key
        assert shown, "the admin key is shown once: it must be kept from the first start"
        yield Running(port, shown, process.pid, _gateway_of(process.pid), _chat_replica(home), ready_s)


def verb(home: Path, *arguments: str) -> dict[str, Any]:
    """Run a verb of the installation on `home` and return what it says in JSON; raises CalledProcessError."""
    code = "from fastness.main import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments, "--json"],
        capture_output=True,
        check=True,
        env=dict(os.environ) | {"FASTNESS_HOME": str(home)},
        timeout=VERB_TIMEOUT_S,
    )
    return dict(json.loads(done.stdout))


def tenant_key(home: Path, tenant: str, *options: str) -> str:
    """Make a tenant, and return a key of it."""
    verb(home, "tenants", "create", tenant, *options)
    return str(verb(home, "keys", "create", "--tenant", tenant, "--name", "bench")["key"])


def measure(home: Path, starts: int) -> tuple[dict[str, float], str]:
    """Start an installation once cold and `starts` times warm; return the warm medians, and the key."""
    with installation(home) as first:
        key, cold_s = first.key, first.ready_s
    ready, token, rss = [], [], []
    for _ in range(starts):
        with installation(home, key) as site:
            ready.append(site.ready_s)
            token.append(site.ready_s + first_token_s(site))
            rss.append(processes.resident_bytes(site.gateway_pid) / 2**20)
    seen = {
        "first_start_ready_s": cold_s,
        "ready_s": median(ready),
        "first_token_s": median(token),
        "gateway_rss_mib": median(rss),
        "starts": float(starts),
    }
    return seen, key


def first_token_s(site: Running) -> float:
    """Ask once, and return the seconds from the question to the first text."""
    with processes.load(Job(site.port, CHAT_PATH, [exact_body("Hello!", 4)], 1, site.key)) as client:
        seen = client.go()
    if seen.failures:
        raise RuntimeError("the installation said that it was ready and did not answer")
    return seen.first_s[0]


def report(seen: dict[str, float]) -> str:
    """Lay the results out as text."""
    return (
        f"`fastness up`, {seen['starts']:.0f} warm starts: ready in {seen['ready_s']:.2f} s, first token at "
        f"{seen['first_token_s']:.2f} s; first start (models admitted): ready in {seen['first_start_ready_s']:.2f} s\n"
        f"memory of the gateway then: {seen['gateway_rss_mib']:.0f} MiB"
    )


def _gateway_of(pid: int) -> int:
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    for child in map(int, children):
        if Path(f"/proc/{child}/cmdline").read_bytes().rstrip(b"\0").endswith(b"\0gateway"):
            return child
    raise RuntimeError(f"process {pid} has no gateway among its children {children}")


def _chat_replica(home: Path) -> Replica:
    written = (run_directory(home, os.getuid()) / "routing.json").read_bytes()
    snapshot = msgspec.json.decode(written, type=RoutingSnapshot)
    return next(replica for replica in snapshot.replicas if replica.model == MODEL)
