"""What the fleet's contract is tested on: one node with a few devices, and the means to break what runs there.

Another kind of fleet joins by a class of its own with these methods, and a line in SITES. Time passes by `wait` alone,
which may be virtual; whoever waits for something polls, until `patience_s` have passed.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Protocol

from fastness.core.desired import DeploymentSpec, Needs
from fastness.core.marking import Label, Node
from fastness.core.node import Device, DeviceKind, FleetNode
from fastness.fleet.port import Fleet
from fastness.fleet.simulated import Change, SimulatedFleet, SimulatedNodes, Step
from local_site import local
from ray_site import ray

OFFICIAL = Label("OFFICIAL")
POLL_S = 0.05


class Site(Protocol):
    """One node behind a fleet port. `devices` are three at least; `spec` is of a model that it can run."""

    port: Fleet
    node: str
    devices: tuple[str, ...]
    spec: DeploymentSpec
    patience_s: float

    async def wait(self, seconds: float) -> None:
        """Let time pass."""
        ...

    def live(self) -> frozenset[str]:
        """The replicas whose engine's process is there at this moment, looked at from outside."""
        ...

    async def crash(self, replica: str) -> None:
        """End the process of an engine as the kernel would."""
        ...

    async def close(self) -> None:
        """Close the port, and end the node."""
        ...


class SimulatedSite:
    """A simulated node in virtual time."""

    patience_s = 60.0

    def __init__(self) -> None:
        self.node, self.devices = "leeds-01", ("gpu-0", "gpu-1", "gpu-2")
        gpus = tuple(Device(one, DeviceKind.GPU, "h100-80gb", 80_000_000_000) for one in self.devices)
        offer = FleetNode(Node(self.node, "GB", "crown", "GB", OFFICIAL), gpus, 500_000_000_000)
        needs = Needs(OFFICIAL, 40_000_000_000)
        self.spec = DeploymentSpec("chat", "health", "smol", "ab" * 32, "chat", OFFICIAL, needs)
        self._live: dict[str, str] = {}
        self._now_s = 0.0
        self._nodes = SimulatedNodes([offer], on_change=self._note)
        self.port = SimulatedFleet(self._nodes, lambda: self._now_s)

    async def wait(self, seconds: float) -> None:
        self._now_s += seconds
        self._nodes.advance(self._now_s)

    def live(self) -> frozenset[str]:
        return frozenset(self._live.values())

    async def crash(self, replica: str) -> None:
        assert self._nodes.crash(self._now_s, self.node, replica)

    async def close(self) -> None:
        await self.port.close()
        await self.wait(1.0)

    def _note(self, change: Change) -> None:
        """Devices as they are in use, not as anybody reports them."""
        for device in change.assignment.part.devices:
            if change.step is Step.BEGAN:
                assert device not in self._live, f"{device} is in use by {self._live[device]}"
                self._live[device] = change.assignment.replica
            elif change.step is Step.GONE:
                del self._live[device]


@asynccontextmanager
async def simulated() -> AsyncIterator[SimulatedSite]:
    """Open a simulated site."""
    yield SimulatedSite()


SITES: dict[str, Callable[[], AbstractAsyncContextManager[Site]]] = {"simulated": simulated, "local": local, "ray": ray}
