"""A control process, gateway processes and a fake engine, without a supervisor: what a test kills stays dead."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import msgspec

from fastness.config import run_directory
from fastness.core.deployment import Deployment
from fastness.core.gateways import gateway_names
from fastness.core.limit import Metric
from fastness.core.marking import Label, Node
from fastness.core.model import ModelCard, ModelKind
from fastness.core.replica import Replica, ReplicaState, RoutingSnapshot
from fastness.engines.fake.behaviour import Behaviour, Task
from fastness.ledger.reading import read
from fastness.main.process import GATEWAY_VARIABLE, LISTENER_VARIABLE
from fastness.store.snapshot_file import write_snapshot

PROGRAM = (sys.executable, "-c", "from fastness.main import main; main()")
OPEN = Label("OFFICIAL")
GATEWAYS = gateway_names(2)
"""Those that may be started."""


def until(true: Callable[[], bool], what: str, limit_s: float = 60.0) -> None:
    deadline = time.monotonic() + limit_s
    while not true():
        assert time.monotonic() < deadline, f"not within {limit_s} s: {what}"
        time.sleep(0.02)


def listens(path: str) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        return probe.connect_ex(path) == 0


class World:
    def __init__(self, home: Path, store_url: str = "") -> None:
        self.home, self.run = home, run_directory(home, os.getuid())
        self.run.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.environ = os.environ | {"FASTNESS_HOME": str(home), "FASTNESS__GATEWAY__PROCESSES": str(len(GATEWAYS))}
        if store_url:
            self.environ["FASTNESS__STORE__URL"] = store_url
        self.processes: list[subprocess.Popen[bytes]] = []
        self.listeners: dict[str, socket.socket] = {}
        self.control = httpx.Client(
            transport=httpx.HTTPTransport(uds=str(self.run / "control.sock")), base_url="http://control/api/v1"
        )

    def start(self, *argv: str, fds: tuple[int, ...] = (), **environ: str) -> subprocess.Popen[bytes]:
        process = subprocess.Popen(
            argv, env=self.environ | environ, pass_fds=fds, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        self.processes.append(process)
        return process

    def start_control(self) -> subprocess.Popen[bytes]:
        process = self.start(*PROGRAM, "control")
        until(lambda: listens(str(self.run / "control.sock")), "control listens")
        return process

    def start_engine(self, behaviour: Behaviour) -> None:
        at = str(self.run / "engine.sock")
        task = msgspec.json.encode(Task(at, slots=32, behaviour=behaviour)).decode()
        self.start(sys.executable, "-I", "-m", "fastness.engines.fake", task)
        until(lambda: listens(at), "the engine listens")
        card = ModelCard("small", ModelKind.CHAT, "ab" * 32, 1, "MIT", 2_048, 0)
        replica = Replica("small-0", "small", "fake", ReplicaState.READY, at, 32, 2_048, 1, sealed=True)
        node, deployment = Node("local", "GB", "", "", OPEN), Deployment("small", "small", OPEN, OPEN)
        snapshot = RoutingSnapshot(1, (card,), (replica,), (deployment,), (node,), GATEWAYS)
        write_snapshot(self.run / "routing.json", snapshot)

    def start_gateway(self, name: str = "gateway-0") -> subprocess.Popen[bytes]:
        """Start it, or start it anew: on the same listener, as the supervisor does."""
        if name not in self.listeners:
            self.listeners[name] = socket.create_server(("127.0.0.1", 0))
        fd = self.listeners[name].fileno()
        process = self.start(*PROGRAM, "gateway", fds=(fd,), **{LISTENER_VARIABLE: str(fd), GATEWAY_VARIABLE: name})
        until(lambda: self.ask(name, "", "/readyz", method="GET")[0] == 200, f"{name} is ready")
        return process

    def ask(
        self, name: str, key: str, path: str = "/v1/chat/completions", body: Any = None, method: str = "POST"
    ) -> tuple[int, dict[str, str], bytes]:
        """Ask a gateway; status 0: it was lost before the answer was whole."""
        port = self.listeners[name].getsockname()[1]
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
        try:
            raw = None if body is None else json.dumps(body)
            connection.request(method, path, raw, {"authorization": f"Bearer {key}"} if key else {})
            answer = connection.getresponse()
            return answer.status, {one.lower(): value for one, value in answer.getheaders()}, answer.read()
        except (OSError, http.client.HTTPException):
            return 0, {}, b""
        finally:
            connection.close()

    def post(self, path: str, body: Any) -> Any:
        answer = self.control.post(path, json=body)
        assert answer.is_success, answer.text
        return answer.json()

    def usage(self) -> dict[tuple[str, str], Any]:
        answer = self.control.get("/usage").json()
        return {(one["id"], one["metric"]): one for one in answer["usage"]}

    def recorded(self, *names: str) -> tuple[int, int]:
        """Requests and tokens, as the ledgers of these gateways have them."""
        requests = tokens = 0
        for name in names:
            for entry in read(self.home / "ledger" / name):
                fields = entry.fields
                if "admitted_s" in fields and entry.type in ("inference.completed", "inference.failed"):
                    requests += 1
                    done = entry.type == "inference.completed"
                    spent = ("input_tokens", "output_tokens") if done else ("charged_tokens",)
                    tokens += sum(int(fields[one] or 0) for one in spent)
        return requests, tokens

    def close(self) -> None:
        self.control.close()
        for process in self.processes:
            with suppress(ProcessLookupError):
                process.send_signal(signal.SIGKILL)
            process.wait()
        for listener in self.listeners.values():
            listener.close()


@contextmanager
def world(home: Path, store_url: str = "") -> Iterator[World]:
    made = World(home, store_url)
    try:
        yield made
    finally:
        made.close()


class Load:
    """Threads that ask and ask, half of them for streams, until told to stop; `statuses` counts what they heard.

    `refused` counts the refusals of each gateway: one may refuse hundreds of times while another still has some left.
    """

    def __init__(self, made: World, key: str, gateways: tuple[str, ...], threads: int = 8, **fields: Any) -> None:
        self.statuses: Counter[int] = Counter()
        self.refused: Counter[str] = Counter()
        self._stop = threading.Event()
        self._lock = threading.Lock()

        def ask(number: int) -> None:
            body = {"model": "small", "messages": [{"role": "user", "content": f"say {number}"}], "max_tokens": 12}
            while not self._stop.is_set():
                name = gateways[number % len(gateways)]
                status, _, _ = made.ask(name, key, body=body | {"stream": number % 2 == 0} | fields)
                with self._lock:
                    self.statuses[status] += 1
                    self.refused[name] += status == 429

        self._threads = [threading.Thread(target=ask, args=(number,)) for number in range(threads)]
        for thread in self._threads:
            thread.start()

    def until_all_refuse(self, names: tuple[str, ...], limit_s: float = 90.0) -> None:
        """Wait until each of these gateways has refused a hundred times from now on: then none has anything left."""
        before = Counter(self.refused)
        until(lambda: min(self.refused[name] - before[name] for name in names) >= 100, f"{names} refuse", limit_s)

    def stop(self) -> None:
        """Ask no more; what is under way goes on."""
        self._stop.set()

    def end(self) -> None:
        self.stop()
        for thread in self._threads:
            thread.join()


def day_left_s() -> float:
    """How long the present day of UTC goes on: a test of a day's limit needs some of it."""
    return Metric.REQUESTS_PER_DAY.window_s(time.time()) + 86_400 - time.time()
