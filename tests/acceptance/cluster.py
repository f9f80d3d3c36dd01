"""A cluster of real hosts on one machine: each a network namespace with its own Ray, engines and home.

The head is one of them, and has engines, too. Clients ask from the head's host.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from cluster_world import World, claims
from fastness.config import run_directory
from fastness.control.fleet_log import history
from fastness.control.post import MARK_BYTES, WORD
from fastness.core.fleet_event import FleetEvent, NodeLost, NodeReturned, ReplicaPlaced
from fastness.core.fleet_state import FleetState, fold
from fastness.identity.cluster.counters import Counters
from fastness.identity.cluster.folder import cluster_folder
from fastness.identity.cluster.membership import Membership
from fastness.identity.cluster.vouching import open_vouched
from fastness.ledger.verify import read
from fastness.main.outside import ray_directory
from hosts_world import Hosts, enter, hosts
from installation import CHAT, FASTNESS, Installation, eventually
from killing import QUICK, forget, management
from losing import Stream, _take

HEAD, OTHERS = "head", ("bristol", "leeds")
SETTINGS = QUICK | {
    "FASTNESS__ENGINE__SLOTS": "8",
    "FASTNESS__ENGINE__SLOT_CONTEXT_TOKENS": "256",
    "FASTNESS__ENGINE__CHAT_MODEL": "",
    "FASTNESS__NODE__CPU_SLOTS": "2",
}
OUTSIDE = b"-c\0from fastness.main.outside import"
"""In the command line of the process that keeps up what speaks to other hosts, and not in that of who keeps that up."""
DEPLOYMENT = f"""
[[deployment]]
name = "{CHAT}"
model = "{CHAT}"
[deployment.parameters]
slots = 8
slot_context_tokens = 256
threads = 1
[deployment.scaling]
min = %d
"""


@dataclass
class Cluster:
    """The head's installation, and the hosts that joined it."""

    net: Hosts
    folder: Path
    head: Installation | None = None
    nodes: dict[str, subprocess.Popen[str]] = field(default_factory=dict)
    own: dict[str, dict[str, str]] = field(default_factory=dict)
    """Settings of single hosts."""
    programs: dict[str, Path] = field(default_factory=dict)
    """What is installed on single hosts, where that is another release than the one that is tested."""

    def home(self, name: str) -> Path:
        return self.folder / name

    def environ(self, name: str) -> dict[str, str]:
        return {**os.environ, **SETTINGS, **self.own.get(name, {}), "FASTNESS_HOME": str(self.home(name))}

    def verb(self, name: str, *arguments: str) -> str:
        """Run a verb on a host."""
        return self.net[name].call([self.program(name), *arguments], self.environ(name))

    def program(self, name: str) -> str:
        return str(self.programs.get(name, FASTNESS))

    def begin(self) -> None:
        """Make the cluster, invite everybody, and start the head."""
        for name in self.net.hosts:
            self.home(name).mkdir(exist_ok=True)
        address = self.net[HEAD].address
        self.verb(HEAD, "init", "cluster", "--name", HEAD, "--address", address)
        for name in self.net.hosts:
            if name != HEAD:
                self.invite(name)
        self.start_head()

    def invite(self, name: str) -> None:
        file = self.folder / f"{name}.invitation"
        self.verb(HEAD, "node", "invite", name, "--address", self.net[name].address, "--out", str(file))
        self.verb(name, "node", "join", "--install", str(file))

    def start_head(self) -> None:
        address = self.net[HEAD].address
        with (self.home(HEAD) / "up.stderr").open("a") as talk:
            process = self.net[HEAD].popen(
                [self.program(HEAD), "up", "--json", "--host", address, "--port", "8080", "--ray", address],
                self.environ(HEAD), stdout=subprocess.PIPE, stderr=talk, text=True,
            )  # fmt: skip
        assert process.stdout
        line = process.stdout.readline()
        assert line, (self.home(HEAD) / "up.stderr").read_text()
        ready = json.loads(line)
        key = ready["admin_key"] or (self.head.admin_key if self.head else "")
        self.head = Installation(self.home(HEAD), process, ready["base_url"], key)

    def join(self, name: str) -> None:
        """Start a host; returns at once."""
        with (self.home(name) / "join.stderr").open("a") as talk:
            self.nodes[name] = self.net[name].popen(
                [self.program(name), "node", "join", "--json"], self.environ(name),
                stdout=subprocess.DEVNULL, stderr=talk, text=True,
            )  # fmt: skip

    def stop(self, name: str) -> None:
        process = self.nodes.pop(name)
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0, (self.home(name) / "join.stderr").read_text()

    def stop_head(self) -> None:
        assert self.head and self.head.process.stdout
        self.head.process.send_signal(signal.SIGTERM)
        assert self.head.process.wait(300) == 0, (self.home(HEAD) / "up.stderr").read_text()
        self.head.process.stdout.close()

    def answered_by(self, streams: list[Stream]) -> set[str]:
        """The replicas that answered these, by the ledger."""
        asked = {one.request_id for one in streams}
        entries = read(self.home(HEAD) / "ledger/gateway-0")
        return {str(one.fields["replica"]) for one in entries if one.fields.get("request_id") in asked}

    def forge_label(self, name: str, label: str) -> None:
        """Have the Ray of a host say that it is another one, as whoever owns that host can."""
        folder = self.folder / "forged"
        folder.mkdir()
        text = f"import os\nos.environ['RAY_OVERRIDE_LABELS'] = '{{\"fastness.io/node\": \"{label}\"}}'\n"
        (folder / "sitecustomize.py").write_text(text)
        self.own[name] = self.own.get(name, {}) | {"PYTHONPATH": str(folder)}

    def certified_by_another(self, folder: Path, name: str) -> dict[str, bytes]:
        """Certificate and key of a host of that name, by an authority that nobody here knows."""
        stranger = World(folder, time.time())
        issued = stranger.issue(claims(name, addresses=(self.net[name].address,)))
        return {"node.pem": issued.certificate_pem, "node.key": issued.key_pem}

    def opened(self, name: str) -> bytes:
        """What the head wrote to a host last, opened with its certificate, without the marks of both runs."""
        letter = (run_directory(self.home(name), os.getuid()) / "letters/in/head").read_bytes()
        member = Membership(cluster_folder(self.home(name)))
        return open_vouched(letter, member, WORD, Counters(), time.time()).body[2 * MARK_BYTES :]

    def kill(self, name: str) -> None:
        """`kill -9` of everything on a host."""
        self.net.kill(name)
        self.nodes.pop(name).wait()

    def api(self, path: str) -> dict[str, Any]:
        assert self.head
        with management(self.head) as api:
            answer = api.get(path)
        assert answer.is_success, answer.text
        return dict(answer.json())

    def seen(self) -> dict[str, dict[str, Any]]:
        """The nodes that control knows, by name."""
        return {one["name"]: one for one in self.api("/nodes")["nodes"]}

    def ready(self) -> dict[str, str]:
        """The ready replicas of the deployment as gateways are told of them, each with its node."""
        found = json.loads((run_directory(self.home(HEAD), os.getuid()) / "routing.json").read_text())
        return {one["id"]: one["node"] for one in found["replicas"] if one["state"] == "ready"}

    def engines(self, name: str) -> list[int]:
        """The engines' processes on a host. They have a network of their own, so their run directory tells."""
        mark = f"{run_directory(self.home(name), os.getuid())}/engines/".encode()
        found = []
        for entry in Path("/proc").iterdir():
            with suppress(OSError):
                if entry.name.isdigit() and mark in (entry / "cmdline").read_bytes():
                    found.append(int(entry.name))
        return found

    def running(self, name: str, mark: bytes) -> list[int]:
        """The processes in a host's network with `mark` in their command line."""
        found = []
        for pid in self.net[name].processes():
            with suppress(OSError):
                if mark in Path(f"/proc/{pid}/cmdline").read_bytes():
                    found.append(pid)
        return found

    @contextmanager
    def without_ray(self) -> Iterator[None]:
        """Kill what is of Ray on the head, and see to it that nothing starts it again."""
        (keeps,) = self.running(HEAD, OUTSIDE)
        os.kill(keeps, signal.SIGSTOP)
        try:
            for mark in (b"gcs_server", b"raylet/raylet", b"fastness.main.carrier"):
                (pid,) = self.running(HEAD, mark)
                os.kill(pid, signal.SIGKILL)
            yield
        finally:
            os.kill(keeps, signal.SIGCONT)

    def ways(self, *names: str) -> set[str]:
        """By which ways control hears of these nodes."""
        return {one["way"] for name, one in self.seen().items() if name in names}

    def heard(self, name: str) -> float:
        """When the head heard of a node last, in seconds since 1970."""
        file = run_directory(self.home(HEAD), os.getuid()) / f"nodes/{name}.json"
        return file.stat().st_mtime if file.exists() else 0.0

    def events(self) -> list[tuple[float, FleetEvent]]:
        """What control decided, with the time of day in seconds."""
        return [(entry.time_ms / 1_000, event) for entry, event in history(self.home(HEAD) / "ledger/control")]

    def state(self) -> FleetState:
        """The fold of all that: `apply` refuses a device that is given twice, so it proves that none was."""
        return fold([event for _, event in self.events()])

    def told(self, name: str, type_: str) -> list[float]:
        """When a node wrote an event of this type into its ledger, in seconds since 1970."""
        return [one.time_ms / 1_000 for one in read(self.home(name) / "ledger/node") if one.type == type_]

    def close(self) -> None:
        for name in tuple(self.nodes):
            self.stop(name)
        if self.head:
            self.stop_head()

    def reap(self) -> None:
        for process in (*self.nodes.values(), *([self.head.process] if self.head else [])):
            process.wait()
            if process.stdout:
                process.stdout.close()


def lost_at(cluster: Cluster, node: str, after_s: float) -> float | None:
    """When control took a node for lost."""
    return next((at for at, e in cluster.events() if at > after_s and isinstance(e, NodeLost) and e.node == node), None)


def returned_at(cluster: Cluster, node: str, after_s: float) -> float | None:
    found = (at for at, e in cluster.events() if at > after_s and isinstance(e, NodeReturned) and e.node == node)
    return next(found, None)


def placed_at(cluster: Cluster, after_s: float) -> float | None:
    """When the first replica after that was given devices."""
    return next((at for at, event in cluster.events() if at > after_s and isinstance(event, ReplicaPlaced)), None)


class Load:
    """Streams on the head's host, so many at any time, until `close`."""

    def __init__(
        self, cluster: Cluster, together: int, output_tokens: int, about: str = "This", models: Sequence[str] = (CHAT,)
    ) -> None:
        """Ask these models in turn."""
        assert cluster.head
        self.ended: list[Stream] = []
        self._pid = cluster.net[HEAD].holder.pid
        self._head, self._together, self._output_tokens = cluster.head, together, output_tokens
        self._over, self._about, self._models = threading.Event(), about, models
        self.failure: BaseException | None = None
        self._thread = threading.Thread(target=self._begin)
        self._thread.start()

    def close(self) -> list[Stream]:
        """Wait for the last answers; return every stream there was."""
        self._over.set()
        self._thread.join(120)
        assert not self._thread.is_alive(), "a client is kept in silence"
        assert self.failure is None, self.failure
        return self.ended

    def _begin(self) -> None:
        try:
            enter(self._pid)
            asyncio.run(self._run())
        except BaseException as error:
            self.failure = error

    async def _run(self) -> None:
        headers = {"authorization": f"Bearer {self._head.admin_key}"}
        async with httpx.AsyncClient(
            base_url=self._head.base_url, headers=headers, timeout=60, trust_env=False
        ) as client:
            await asyncio.gather(*(self._ask(client, number) for number in range(self._together)))

    async def _ask(self, client: httpx.AsyncClient, number: int) -> None:
        while not self._over.is_set():
            one = Stream(f"{self._about} {number} is {len(self.ended)}, and")
            body = {
                "model": self._models[number % len(self._models)], "prompt": one.prompt,
                "max_tokens": self._output_tokens, "stream": True, "stream_options": {"include_usage": True},
            }  # fmt: skip
            one.at_s.append(time.monotonic())
            try:
                async with client.stream("POST", "/completions", json=body) as answer:
                    one.request_id = answer.headers.get("x-request-id", "")
                    async for line in answer.aiter_lines():
                        _take(one, line)
            except httpx.HTTPError as error:
                one.error = repr(error)
            self.ended.append(one)


def longest_pause_s(streams: list[Stream]) -> float:
    """The longest time between two events of a stream."""
    return max((b - a for one in streams for a, b in zip(one.at_s, one.at_s[1:], strict=False)), default=0.0)


def failures(streams: list[Stream]) -> list[str]:
    return [f"{one.prompt}: {one.error}, {one.text!r}" for one in streams if one.error or not one.whole]


@contextmanager
def cluster(
    folder: Path,
    *names: str,
    own: dict[str, dict[str, str]] | None = None,
    programs: dict[str, Path] | None = None,
) -> Iterator[Cluster]:
    """Have a cluster of a head and these hosts, with settings and releases of their own; nothing is left behind."""
    with hosts(HEAD, *names) as net:
        made = Cluster(net, folder, own=dict(own or {}), programs=dict(programs or {}))
        try:
            made.begin()
            yield made
            made.close()
        finally:
            for name in net.hosts:
                net.kill(name)
                forget(made.home(name))
                shutil.rmtree(ray_directory(run_directory(made.home(name), os.getuid())).parent, ignore_errors=True)
            made.reap()


def join_all(made: Cluster, *names: str) -> None:
    """Start these hosts, and wait until the head has heard of each."""
    for name in names:
        made.join(name)
    eventually(
        lambda: [one for one in names if made.seen().get(one, {}).get("heard_s") is None] == [], "all joined", 90
    )


def deploy(made: Cluster, count: int = 3) -> None:
    """Deploy so many replicas, for three one on each host, and wait until so many are ready and run."""
    file = made.folder / "deployment.toml"
    file.write_text(DEPLOYMENT % count)
    made.verb(HEAD, "apply", str(file), "--yes")
    eventually(lambda: len(made.ready()) == count, f"{count} replicas are ready", 120)
    eventually(lambda: sum(map(len, map(made.engines, made.net.hosts))) == count, f"{count} engines run", 60)
