"""This machine as the site of the fleet's contract: the production node with processes that only look like engines.

Orders and reports travel through files, as between control and supervisor; time is the machine's.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from fastness.config import EngineSettings, Settings
from fastness.control.declaration import declare
from fastness.control.node_files import NodeFiles
from fastness.control.run_files import ORDERS
from fastness.control.this_node import ThisNode
from fastness.core.desired import DeploymentSpec, Needs
from fastness.core.marking import Label, Lattice
from fastness.core.model import ModelCard, ModelKind
from fastness.core.node import Device, DeviceKind, FleetNode
from fastness.core.observation import Assignment, NodeOrders
from fastness.core.replica import Diagnosis
from fastness.fleet.keeper import Execution, ReplicaKeeper
from fastness.fleet.local import LocalFleet
from fastness.fleet.node import LocalNode
from fastness.policy.profile import shipped_profile
from fastness.store.snapshot_file import SnapshotReader, write_snapshot

PROGRAM = """
import socket, sys
server = socket.socket(socket.AF_UNIX)
server.bind(sys.argv[1])
server.listen(64)
while True:
    connection, _ = server.accept()
    connection.recv(4096)
    connection.sendall(b"HTTP/1.1 200 OK\\r\\ncontent-length: 2\\r\\n\\r\\nok")
    connection.close()
"""
OFFICIAL = Label("OFFICIAL")
CARD = ModelCard("smol", ModelKind.CHAT, "ab" * 32, 1, "MIT", 16, 0)
LOOK_S = 0.01
BOUNDS = EngineSettings(start_timeout_s=20.0, stop_timeout_s=5.0, backoff_first_s=0.05, backoff_max_s=0.2)


class Bench:
    """In the place of the workshop that seals engines."""

    def __init__(self, run: Path) -> None:
        self._run = run

    async def prepare(self, assignment: Assignment, tell: Callable[[str], None]) -> Execution:
        tell("verify")
        scratch = self._run / assignment.replica
        socket, spec = scratch / "engine.sock", assignment.spec
        return Execution(
            id=assignment.replica,
            model=spec.model,
            engine="fake",
            argv=(sys.executable, "-I", "-S", "-c", PROGRAM, str(socket)),
            environ={},
            socket=socket,
            scratch=scratch,
            slots=1,
            context_tokens=16,
            health_path="/health",
            sealed=True,
            diagnose=lambda stderr, _: Diagnosis("seen", "It ended.", "Look.", stderr[-3:]),
            node=assignment.part.node,
            deployment=spec.name,
            revision=assignment.revision,
            model_digest=spec.model_digest,
            term=assignment.term,
        )

    def release(self, replica: str) -> None:
        pass


def engines_below(run: Path) -> dict[str, int]:
    """The engines' processes, by replica, as the kernel has them."""
    found = {}
    for entry in Path("/proc").iterdir():
        try:
            command = (entry / "cmdline").read_bytes().split(b"\0") if entry.name.isdigit() else []
        except OSError:
            continue
        socket = Path(os.fsdecode(command[-2])) if len(command) > 2 else Path()
        if socket.name == "engine.sock" and socket.parent.parent == run:
            found[socket.parent.name] = int(entry.name)
    return found


class LocalSite:
    """A node of this machine, looked after as the supervisor does."""

    patience_s = 30.0

    def __init__(self, run: Path) -> None:
        self.node, self.devices = "local", ("cpu-0", "cpu-1", "cpu-2")
        self.spec = DeploymentSpec("chat", "health", "smol", "ab" * 32, "chat", OFFICIAL, Needs(OFFICIAL, 1))
        files = NodeFiles(run)
        self.port = LocalFleet(files.reports, files.send)
        self._run = run
        self.ours = ThisNode(self._parts(run), lambda _replica: None, lambda _replicas: None, unsealed=False)
        self.ours.allowed.set()

    def _parts(self, run: Path) -> Any:
        settings = Settings(home=run)
        cpus = tuple(Device(one, DeviceKind.CPU, "cpu", 0) for one in self.devices)

        def node(_unsealed: bool, _allowed: asyncio.Event, tell: Callable[[Any], None]) -> LocalNode:
            keep = partial(write_snapshot, run / "kept.json")
            return LocalNode(self.node, ReplicaKeeper(BOUNDS, tell, time.time), Bench(run), keep, tell)

        return SimpleNamespace(
            clock=time.time,
            run_directory=run,
            declared=SimpleNamespace(declaration=declare(settings, Lattice(shipped_profile("uk")))),
            node=node,
            offer=lambda place: FleetNode(place, cpus, 1 << 30),
            digests=tuple,
            known=lambda name: (replace(CARD, name=name), None),
            known_adapter=lambda _name: None,
            revoked=frozenset,
            kept_orders=SnapshotReader(run / "kept.json", NodeOrders).poll,
            new_orders=SnapshotReader(run / ORDERS, NodeOrders).poll,
            neighbours=None,
            gateways=SimpleNamespace(names=("gateway-0",)),
        )

    async def look(self) -> None:
        while True:
            await asyncio.sleep(LOOK_S)
            await self.ours.look()

    async def wait(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    def live(self) -> frozenset[str]:
        return frozenset(engines_below(self._run))

    async def crash(self, replica: str) -> None:
        os.kill(engines_below(self._run)[replica], signal.SIGKILL)

    async def close(self) -> None:
        await self.port.close()
        await self.ours.close()


@asynccontextmanager
async def local() -> AsyncIterator[LocalSite]:
    """Open a site of this machine."""
    run = Path(tempfile.mkdtemp(prefix="fst-"))
    try:
        site = LocalSite(run)
        await site.ours.begin()
        looking = asyncio.create_task(site.look())
        try:
            yield site
        finally:
            ended = looking.done()  # by an error, which is what went wrong
            looking.cancel()
            said = await asyncio.gather(looking, return_exceptions=True)
            await site.close()
            assert not ended, said
    finally:
        shutil.rmtree(run)
