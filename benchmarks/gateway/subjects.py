"""Who is measured, running: Fastness with everything on, each peer that starts, and nothing at all in between."""

from __future__ import annotations

import http.client
import importlib.util
import os
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks import processes
from benchmarks.bodies import CHAT_PATH, sized_body
from benchmarks.gateway.peers import ENV, PEERS, Peer, Start
from benchmarks.gateway_process import ON, prepare
from benchmarks.upstream import CHUNKS
from fastness.config import run_directory

REPLICAS = 4
SLOTS = 256
"""Of a replica: the most that one may be set to."""
START_TIMEOUT_S = 60.0
FASTNESS = {"fastness": "fake", "fastness-llamacpp": "llamacpp"}
"""The rows of Fastness, which are two models of one gateway, and the engine that it takes the stand-in for.

llama.cpp would not stop a whole answer that nobody waits for any more, so the gateway asks it for streams, and a whole
answer of its costs the reading of all its events. Other engines are asked for whole answers, as all peers ask them.
"""
DIRECT = "direct"
MODEL = "mock"
"""As peers know it."""
EVERYTHING = (
    "keys",
    "markings and policy",
    "limits",
    "fair queue",
    "routing",
    "ledger with fdatasync",
    "logs",
    "metrics",
)
QUEUE = "fastness.traffic.fair_queue"
"""Where this module is, the fair queue is on: nothing has to be prepared for it."""


@dataclass(frozen=True, slots=True)
class Subject:
    """One gateway, running. `pid` is 0 for none: then requests go straight to the stand-in."""

    name: str
    version: str
    port: int
    pid: int
    model: str = MODEL
    key: str = "none"
    start_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Missing:
    """A gateway that could not be measured, and why."""

    name: str
    version: str
    why: str


@dataclass(frozen=True, slots=True)
class Engines:
    """The stand-ins, as seen from each side."""

    sockets: tuple[Path, ...]
    ports: tuple[int, ...]


def features() -> tuple[list[str], list[str]]:
    """Tell what is on in Fastness, and what is not: not in this version, or not in the home that was prepared."""
    queue = {"fair queue"} if importlib.util.find_spec(QUEUE) else set()
    there = queue.union(ON)
    return [one for one in EVERYTHING if one in there], [one for one in EVERYTHING if one not in there]


@contextmanager
def engines(folder: Path) -> Iterator[Engines]:
    """Run the stand-ins. Each listens at a Unix socket and at a port."""
    with ExitStack() as stack:
        sockets = tuple(folder / f"engine-{n}.sock" for n in range(REPLICAS))
        ports = []
        for path in sockets:
            argv = ("-m", "benchmarks.upstream", str(path), "0", str(CHUNKS), "tcp")
            ports.append(int(processes.line_of(stack.enter_context(processes.running(*argv)))))
        yield Engines(sockets, tuple(ports))


@contextmanager
def fastness(
    folder: Path,
    behind: Engines,
    under: Sequence[str] = (),
    environ: Mapping[str, str] | None = None,
    slots: int = SLOTS,
) -> Iterator[list[Subject]]:
    """Run the gateway as it ships, maybe `under` another program; return its rows."""
    home = Path(tempfile.mkdtemp(prefix="home-", dir=folder))
    key = prepare(home, {name: (engine, *behind.sockets) for name, engine in FASTNESS.items()}, slots)
    program, *argv = [*under, sys.executable, "-m", "benchmarks.gateway_process", str(home)]
    control = run_directory(home, os.getuid()) / "control.sock"
    began = time.perf_counter()
    with (
        processes.running("-m", "benchmarks.grants", str(control)) as grants,
        processes.running(*argv, program=program, environ=environ, quiet=bool(under), grace_s=40.0) as process,
    ):
        processes.line_of(grants)
        port = int(processes.line_of(process))
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=START_TIMEOUT_S) as answer:
            assert answer.status == 200
        took_s = time.perf_counter() - began
        yield [Subject(name, "this", port, process.pid, name, key, took_s) for name in FASTNESS]


@contextmanager
def peer(one: Peer, folder: Path, behind: Engines, under: Sequence[str] = ()) -> Iterator[Subject]:
    """Run a peer until it answers. Raises RuntimeError with what it said last, if it does not."""
    place = Path(tempfile.mkdtemp(prefix=f"{one.name}-", dir=folder))
    port, spare_port = _free_ports(2)
    program, *argv = [*under, *one.start(Start(one.place, place, port, spare_port, behind.ports))]
    began = time.perf_counter()
    with (
        (place / "output").open("wb") as output,
        processes.running(*argv, program=program, environ=dict(ENV), output=output) as process,
    ):
        if why := _wait_for_answer(port, process):
            said = (place / "output").read_text(errors="replace").strip().splitlines()
            raise RuntimeError(f"{why}; it said: {said[-1][:300] if said else 'nothing'}")
        yield Subject(one.name, one.version, port, process.pid, start_s=time.perf_counter() - began)


@contextmanager
def subjects(folder: Path, only: Sequence[str]) -> Iterator[tuple[list[Subject], list[Missing]]]:
    """Run everyone of `only`, and nothing in between; peers that are not to be had come second, with the reason."""
    running, missing = list[Subject](), list[Missing]()
    with ExitStack() as stack:
        behind = stack.enter_context(engines(folder))
        running.append(Subject(DIRECT, "", behind.ports[0], 0))
        if any(name in only for name in FASTNESS):
            ours = stack.enter_context(fastness(folder, behind))
            running += [one for one in ours if one.name in only]
        for one in PEERS:
            if one.name not in only:
                continue
            why = one.ready()
            try:
                if not why:
                    running.append(stack.enter_context(peer(one, folder, behind)))
            except (OSError, RuntimeError) as error:
                why = f"it did not start: {error}"
            if why:
                missing.append(Missing(one.name, one.version, why))
        yield running, missing


def _wait_for_answer(port: int, process: subprocess.Popen[bytes]) -> str:
    """Ask until it answers; return why it does not, after START_TIMEOUT_S or its end."""
    ends, why = time.monotonic() + START_TIMEOUT_S, "it answered nothing"
    body = sized_body(MODEL, 64, stream=False)
    while time.monotonic() < ends:
        if process.poll() is not None:
            return f"it ended with {process.returncode}"
        try:
            with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=10)) as line:
                line.request("POST", CHAT_PATH, body, {"content-type": "application/json", "authorization": "Bearer x"})
                status = line.getresponse().status
        except (OSError, http.client.HTTPException) as error:
            why = f"{type(error).__name__}: {error}"
        else:
            if status == 200:
                return ""
            why = f"it answered {status}"
        time.sleep(0.1)
    return f"within {START_TIMEOUT_S:g} s no answer: {why}"


def _free_ports(count: int) -> list[int]:
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [one.getsockname()[1] for one in sockets]
