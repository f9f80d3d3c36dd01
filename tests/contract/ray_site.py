"""A node behind Ray as the site of the fleet's contract: Ray is real, on two hosts; engines only look like some.

The head's side is what the supervisor there does, and the node's what a joined host does, both in this process; Ray
carries their letters, with token and certificates, between two network namespaces. It is started once for all proofs.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cluster_world import World
from fastness.config import run_directory
from fastness.control.leased_node import LeasedNode, LeasedParts
from fastness.control.neighbours import Neighbours
from fastness.control.node_files import NodeFiles
from fastness.control.post import REPORT, WORD, SealedPost
from fastness.control.wanted_models import WantedModels
from fastness.core.desired import DeploymentSpec, Needs
from fastness.core.marking import Label, Node
from fastness.core.node import Device, DeviceKind, FleetNode
from fastness.fleet.keeper import ReplicaKeeper
from fastness.fleet.local import LocalFleet
from fastness.fleet.node import LocalNode
from fastness.identity.cluster.claims import HostClaims, HostRole
from fastness.identity.cluster.membership import Membership
from fastness.main.outside import ray_directory
from hosts_world import Hosts, hosts
from local_site import BOUNDS, Bench, engines_below

HEAD, NODE = "head", "leeds-01"
OFFICIAL = Label("OFFICIAL")
LOOK_S = 0.02
LEASE_S = 6.0
START_S = 90.0


@dataclass
class Carried:
    """Ray between a head and a node, each with a home; the letters go through their run directories."""

    net: Hosts
    homes: dict[str, Path]
    members: dict[str, Membership]
    processes: list[subprocess.Popen[bytes]]

    def run(self, name: str) -> Path:
        return run_directory(self.homes[name], os.getuid())


_running: list[Carried] = []


@contextmanager
def ray_between_hosts() -> Iterator[None]:
    """Have Ray for all sites while it lasts."""
    folder = Path(tempfile.mkdtemp(prefix="fst-"))
    with hosts(HEAD, NODE) as net:
        cluster = World(folder, time.time())
        members = {
            name: cluster.host(name, role, addresses=(net[name].address,))
            for name, role in ((HEAD, HostRole.HEAD), (NODE, HostRole.NODE))
        }
        carried = Carried(net, {name: folder / name for name in members}, members, [])
        try:
            for name in members:
                carried.run(name).mkdir(mode=0o700, exist_ok=True)
                (carried.homes[name] / "logs").mkdir()
                carried.processes.append(_outside(carried, name))
            _running.append(carried)
            yield
        finally:
            _running.clear()
            for process in carried.processes:
                process.send_signal(signal.SIGTERM)
                process.wait(30)
            for name in members:
                shutil.rmtree(ray_directory(carried.run(name)).parent, ignore_errors=True)
                shutil.rmtree(carried.run(name), ignore_errors=True)
            shutil.rmtree(folder)


def _outside(carried: Carried, name: str) -> subprocess.Popen[bytes]:
    environ = os.environ | {
        "FASTNESS_HOME": str(carried.homes[name]),
        "FASTNESS_PARENT": str(os.getpid()),
        "FASTNESS__RAY__ADDRESS": carried.net[HEAD].address,
    }
    program = [sys.executable, "-c", "from fastness.main.outside import run_outside; run_outside()"]
    return carried.net[name].popen(program, environ, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


class Quiet:
    """In the place of ledger and log."""

    def append(self, *_: Any, **__: Any) -> None: ...

    def fails(self, *_: Any) -> None: ...

    def observed(self, _: Any) -> None: ...


class RaySite:
    """A node that is reached through Ray, with new supervisors on both sides."""

    patience_s = 60.0

    def __init__(self, carried: Carried) -> None:
        self.node, self.devices = NODE, ("cpu-0", "cpu-1", "cpu-2")
        self.spec = DeploymentSpec("chat", "health", "smol", "ab" * 32, "chat", OFFICIAL, Needs(OFFICIAL, 1))
        self._carried, self._there = carried, carried.run(NODE)
        files = NodeFiles(carried.run(HEAD))
        self.port = LocalFleet(files.reports, files.send)
        self._head = self._neighbours()
        self._leased = LeasedNode(self._parts(), Quiet())  # type: ignore[arg-type]

    def begin(self) -> None:
        self._head.begin()
        self._leased.begin()

    def _neighbours(self) -> Neighbours:
        def place(claims: HostClaims) -> Node:
            return Node(claims.name, claims.jurisdiction, claims.operator, "GB", OFFICIAL)

        post = SealedPost(self._carried.members[HEAD], WORD, REPORT, clock_ms)
        run = self._carried.run(HEAD)
        return Neighbours(run, post, place, 7443, str, time.monotonic, LEASE_S, lambda _way, _why: None)

    def _parts(self) -> LeasedParts:
        cpus = tuple(Device(one, DeviceKind.CPU, "cpu", 0) for one in self.devices)
        offer = FleetNode(Node(NODE, "GB", "", "", OFFICIAL), cpus, 1 << 30)

        def node(tell: Any) -> LocalNode:
            keeper = ReplicaKeeper(BOUNDS, tell, time.time)
            return LocalNode(NODE, keeper, Bench(self._there), lambda _orders: None, tell)

        post = SealedPost(self._carried.members[NODE], REPORT, WORD, clock_ms)
        return LeasedParts(
            run_directory=self._there,
            head=HEAD,
            post=post,
            offer=lambda: offer,
            digests=tuple,
            take_revoked=lambda _pem: None,
            node=node,
            clock_ms=clock_ms,
            now=time.monotonic,
            lease_s=LEASE_S,
            models=WantedModels(lambda: None),
            take_record=lambda _record: None,
        )

    async def look(self) -> None:
        while True:
            await asyncio.sleep(LOOK_S)
            await self._leased.look()
            self._head.look()

    async def joined(self) -> None:
        async with asyncio.timeout(START_S):
            while not await self.port.observe():
                await asyncio.sleep(LOOK_S)

    async def wait(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    def live(self) -> frozenset[str]:
        return frozenset(engines_below(self._there))

    async def crash(self, replica: str) -> None:
        os.kill(engines_below(self._there)[replica], signal.SIGKILL)

    async def close(self) -> None:
        await self.port.close()
        await self._leased.close()


def clock_ms() -> int:
    return time.time_ns() // 1_000_000


@asynccontextmanager
async def ray() -> AsyncIterator[RaySite]:
    """Open a site behind Ray, which has to run."""
    site = RaySite(_running[0])
    site.begin()
    looking = asyncio.create_task(site.look())
    try:
        await site.joined()
        yield site
    finally:
        looking.cancel()
        with suppress(asyncio.CancelledError):
            await looking
        await site.close()
