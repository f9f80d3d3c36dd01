"""An installation whose fleet is changed while clients ask, and what its ledger says of that."""

from __future__ import annotations

import os
import signal
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import msgspec

from fastness.config import run_directory
from fastness.control.fleet_log import history
from fastness.core.fleet_event import FleetEvent
from fastness.core.fleet_state import FleetState, fold
from fastness.core.replica import ReplicaState, RoutingSnapshot
from installation import CHAT, Installation, eventually
from killing import QUICK, child, kill, management
from traffic import Heard

SMALL = QUICK | {
    "FASTNESS__ENGINE__SLOTS": "4",
    "FASTNESS__ENGINE__BACKOFF_MAX_S": "0.5",
    "FASTNESS__TRAFFIC__QUEUE_TIMEOUT_S": "60",
}
LIMIT_S = 90.0


@dataclass
class Fleet:
    """The fleet of an installation, through its management API."""

    installation: Installation

    def post(self, path: str, **body: Any) -> dict[str, Any]:
        with management(self.installation) as api:
            answer = api.post(path, json=body)
        assert answer.is_success, answer.text
        return dict(answer.json())

    def get(self, path: str) -> dict[str, Any]:
        with management(self.installation) as api:
            answer = api.get(path)
        assert answer.is_success, answer.text
        return dict(answer.json())

    def deployment(self, name: str = CHAT) -> dict[str, Any]:
        return self.get(f"/deployments/{name}")

    def settles(self, name: str = CHAT, *, replicas: int, limit_s: float = LIMIT_S) -> dict[str, Any]:
        """Wait until a deployment is as it is wanted, with so many replicas; return it."""

        def settled() -> dict[str, Any] | None:
            one = self.deployment(name)
            ready = [each for each in one["placed"] if each["state"] == "ready"]
            done = one["settled"] and one["revision"] == one["stable"]
            return one if done and len(one["placed"]) == len(ready) == replicas else None

        found = eventually(settled, f"{name} settles with {replicas}: {self.deployment(name)}", limit_s, 0.05)
        return dict(found)

    def eventually(self, condition: Callable[[dict[str, Any]], Any], what: str, name: str = CHAT) -> None:
        """Wait until something is so of a deployment."""
        eventually(lambda: condition(self.deployment(name)), what, LIMIT_S, 0.05)

    def pid_of_revision(self, revision: int, name: str = CHAT) -> int:
        """Wait until the engine of a replica of a revision is ready; return its process id."""

        def pid() -> int | None:
            every = self.get("/replicas")["replicas"]
            ours = [one for one in every if (one["deployment"], one["revision"]) == (name, revision)]
            return next((int(one["pid"]) for one in ours if one["state"] == "ready"), None)

        return int(eventually(pid, f"revision {revision} is ready", LIMIT_S, 0.05))

    def scale(self, low: int, high: int, replicas: int, name: str = CHAT) -> None:
        self.post(f"/deployments/{name}/scale", min=low, max=high, replicas=replicas)

    def pids(self, name: str = CHAT) -> dict[str, int]:
        return {one["id"]: one["pid"] for one in self.get("/replicas")["replicas"] if one["deployment"] == name}

    def happened(self) -> list[FleetEvent]:
        """Every event of the fleet, as an auditor reads it in the ledger."""
        return [event for _, event in history(self.installation.home / "ledger/control")]

    def kill_control(self) -> None:
        """`kill -9` of the control process; returns when another one answers."""
        killed = child(self.installation, "control")
        kill(killed)

        def is_back() -> bool:
            with suppress(LookupError):
                return child(self.installation, "control") != killed and self.is_answered()
            return False

        eventually(is_back, "control is back", LIMIT_S, 0.05)

    def is_answered(self) -> bool:
        """Whether a control process answers: one that was killed may still take connections for a moment."""
        with socket.socket(socket.AF_UNIX) as probe:
            probe.settimeout(1)
            try:
                probe.connect(str(run_directory(self.installation.home, os.getuid()) / "control.sock"))
                probe.sendall(b"GET /api/v1/status HTTP/1.1\r\nhost: control\r\n\r\n")
                return probe.recv(64).startswith(b"HTTP/1.1 200")
            except OSError:
                return False


def shown(state: FleetState) -> dict[str, Any]:
    """A state as GET /deployments tells it, as far as it tells what was decided."""
    return {
        name: {
            "revision": one.revision,
            "stable": one.stable,
            "wanted": one.replicas,
            "by": one.by,
            "placed": sorted(
                (each.id, each.revision, each.phase.value, *(f"{p.node}/{d}" for p in each.parts for d in p.devices))
                for each in state.of(name)
            ),
        }
        for name, one in state.deployments.items()
    }


def told(fleet: Fleet) -> dict[str, Any]:
    """The same, as the running control plane tells it."""
    return {
        one["name"]: {
            **{field: one[field] for field in ("revision", "stable", "wanted", "by")},
            "placed": sorted((each["id"], each["revision"], each["phase"], *each["devices"]) for each in one["placed"]),
        }
        for one in fleet.get("/deployments")["deployments"]
    }


def folded(fleet: Fleet) -> FleetState:
    return fold(fleet.happened())


def unheard(heard: list[Heard]) -> list[Heard]:
    """The answers that did not come in full, whatever the reason."""
    return [one for one in heard if not one.whole]


class Slowed:
    """An engine's process that is stopped for most of the time, as on a machine that is too small for it."""

    def __init__(self, pid: int) -> None:
        self._pid, self._ended = pid, threading.Event()
        self._thread = threading.Thread(target=self._slow)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _slow(self) -> None:
        with suppress(ProcessLookupError):
            while not self._ended.is_set():
                os.kill(self._pid, signal.SIGSTOP)
                time.sleep(0.15)
                os.kill(self._pid, signal.SIGCONT)
                time.sleep(0.03)


class RoutingWatch:
    """Looks at what gateways are told all the time, and notes when a replica began not to be ready."""

    def __init__(self, installation: Installation) -> None:
        self._path = run_directory(installation.home, os.getuid()) / "routing.json"
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._look)
        self._unready_s: dict[str, float] = {}

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def told_s(self, replica: str) -> float:
        """Wait until gateways are told that a replica is not ready; return when that was, and forget it."""
        eventually(lambda: replica in self._unready_s, "gateways are told", 10, 0.005)
        return self._unready_s.pop(replica)

    def _look(self) -> None:
        before: dict[str, ReplicaState] = {}
        decoder = msgspec.json.Decoder(RoutingSnapshot)
        while not self._ended.wait(0.002):
            snapshot = decoder.decode(Path(self._path).read_bytes())
            now_s = time.monotonic()
            for one in snapshot.replicas:
                if before.get(one.id) is ReplicaState.READY and one.state is not ReplicaState.READY:
                    self._unready_s.setdefault(one.id, now_s)
                before[one.id] = one.state
