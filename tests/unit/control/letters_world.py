"""A head and a node that write to each other by way of carriers whom neither trusts."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from cluster_world import World as Cluster
from fastness.control.handing_on import ModelsKnown
from fastness.control.leased_node import LeasedNode, LeasedParts
from fastness.control.neighbours import Neighbours
from fastness.control.node_files import NodeFiles
from fastness.control.post import REPORT, WORD, SealedPost
from fastness.control.wanted_models import WantedModels
from fastness.core.desired import DeploymentSpec, Needs
from fastness.core.event import EventType
from fastness.core.fleet_event import Part
from fastness.core.marking import Label, Node
from fastness.core.node import FleetNode
from fastness.core.observation import Assignment, NodeOrders
from fastness.core.replica import Replica, ReplicaState
from fastness.fleet.door.orders import DoorOrders, HostPlace
from fastness.fleet.letter_files import HEAD, HEAD_BY_DOOR, door_way
from fastness.fleet.node import LocalNode
from fastness.identity.cluster.claims import HostClaims, HostRole
from fastness.store.snapshot_file import SnapshotReader

OFFICIAL = Label("OFFICIAL")
SPEC = DeploymentSpec("chat", "health", "smol", "ab" * 32, "chat", OFFICIAL, Needs(OFFICIAL, 1))
LEASE_S = 4.0
NODE = "bristol-07"
MARK = b"a run of the node"[:16]


class Keeper:
    """Engines that are ready at once, and end when they are killed."""

    def __init__(self, tell: Callable[[Any], None]) -> None:
        self.tell, self.kept = tell, dict[str, Replica]()

    async def start(self, replica: Replica, starts: int = 0) -> None:
        self.kept[replica.id] = replica
        self.tell(replica)

    async def stop(self, replica_id: str) -> None:
        self.kept.pop(replica_id, None)

    def kill(self) -> None:
        self.kept.clear()

    def observe(self) -> tuple[Replica, ...]:
        return tuple(self.kept.values())


class Workshop:
    async def prepare(self, one: Assignment, tell: Callable[[str], None]) -> Replica:
        return replace(one.as_replica(ReplicaState.READY), pid=1, epoch=1, socket="engine.sock")

    def release(self, replica: str) -> None:
        pass


def place(claims: HostClaims) -> Node:
    return Node(claims.name, claims.jurisdiction, claims.operator, "GB", Label(claims.ceiling))


class Recorded:
    def __init__(self) -> None:
        self.events: list[tuple[EventType, dict[str, Any]]] = []
        self.failed: list[tuple[str, str]] = []

    def append(self, type_: EventType, **fields: Any) -> None:
        self.events.append((type_, fields))

    def fails(self, event: str, reason: str) -> None:
        self.failed.append((event, reason))

    def observed(self, replica: Any) -> None:
        pass


class Two:
    """A head and a node, each with a run directory; `carry` is the carrier. Time passes by `now_s` alone."""

    def __init__(self, folder: Path, known: ModelsKnown | None = None) -> None:
        self.known, self.cluster = known, Cluster(folder / "pki", now_s=time.time())
        self.head_is = self.cluster.host("head", HostRole.HEAD)
        self.node_is = self.cluster.host(NODE, labels=(("rack", "b7"),), pool="gpu")
        self.now_s, self.refused, self.recorded = 0.0, list[tuple[str, str]](), Recorded()
        self.revoked = ""
        self.models, self.records = WantedModels(lambda: None), list[str]()
        self.run, self.there = folder / "head", folder / "node"
        for one in (self.run, self.there):
            one.mkdir()
        self.head = self.new_head()
        self.control = NodeFiles(self.run)
        self.keeper: Keeper | None = None
        self.by_ray = True
        """Whether Ray carries anything."""
        self.by_doors = True
        """Whether the doors do, when they are told to."""

    def new_head(self) -> Neighbours:
        """The head's part in a supervisor that has just begun."""
        return Neighbours(
            self.run,
            SealedPost(self.head_is, WORD, REPORT, self.clock_ms),
            place,
            7443,
            lambda: self.revoked,
            lambda: self.now_s,
            LEASE_S,
            lambda way, why: self.refused.append((way, why)),
            self.known,
        )

    def clock_ms(self) -> int:
        return int(time.time() * 1_000)

    def begin(self) -> LeasedNode:
        claimed = Node("london-01", "US", "", "", Label("TOP SECRET"))

        def make(tell: Callable[[Any], None]) -> LocalNode:
            self.keeper = Keeper(tell)
            return LocalNode(NODE, self.keeper, Workshop(), lambda _orders: None, tell)  # type: ignore[arg-type]

        parts = LeasedParts(
            self.there,
            "head",
            SealedPost(self.node_is, REPORT, WORD, self.clock_ms, lambda _: MARK),
            lambda: FleetNode(claimed, (), 1, labels=(("spot", ""),)),
            lambda: ("ab" * 32,),
            lambda pem: self.node_is.take_revoked(pem.encode()) and None,
            make,
            self.clock_ms,
            lambda: self.now_s,
            LEASE_S,
            self.models,
            self.records.append,
            "10.0.0.1:7443",
        )
        self.node = LeasedNode(parts, self.recorded)  # type: ignore[arg-type]
        self.head.begin()
        self.node.begin()
        return self.node

    def carry(self, way: str = "ray-1", brought: str = HEAD) -> None:
        """Exchange what there is, as a courier does."""
        for source, target in (
            (self.there / "letters/out/head", self.run / "letters/in" / way),
            (self.run / "letters/out" / way, self.there / "letters/in" / brought),
        ):
            if source.exists() and (not target.exists() or target.read_bytes() != source.read_bytes()):
                target.write_bytes(source.read_bytes())

    def bring(self) -> None:
        """Let everybody carry who does."""
        told = SnapshotReader(self.there / "door.json", DoorOrders).poll()
        if self.by_doors and told and told.carries:
            assert told.head == HostPlace("head", "10.0.0.1:7443")
            self.carry(door_way(NODE), HEAD_BY_DOOR)
        if self.by_ray:
            self.carry()

    async def turn(self, seconds: float = 0.5) -> bool:
        """Let everybody act once."""
        self.now_s += seconds
        await self.node.look()
        self.bring()
        changed = self.head.look()
        self.bring()
        await self.node.look()
        await asyncio.sleep(0.001)
        return changed

    async def turns(self, condition: Callable[[], bool]) -> None:
        for _ in range(200):
            if condition():
                return
            await self.turn()
        raise AssertionError(self.recorded.failed or self.refused)

    def order(self, version: int, *replicas: str, routed: bool = True, term: int = 1) -> None:
        there = tuple(Assignment(one, SPEC, 1, term, Part(NODE, ("cpu-0",)), routed) for one in replicas)
        self.control.send(NodeOrders(NODE, version, there, (SPEC,)))

    def routed(self) -> dict[str, ReplicaState]:
        return {one.id: one.state for one in self.head.replicas()}


def to_the_node(post: SealedPost, body: bytes) -> bytes:
    """A letter to the node as it is, whoever writes it."""
    post._theirs[NODE] = MARK
    return post.seal(NODE, body)


def run(journey: Callable[[Two], Awaitable[None]], folder: Path, known: ModelsKnown | None = None) -> None:
    async def whole() -> None:
        two = Two(folder, known)
        two.begin()
        try:
            await journey(two)
        finally:
            await two.node.close()

    asyncio.run(whole())


async def serving(two: Two) -> None:
    await two.turn()
    two.order(3, "chat-1")
    await two.turns(lambda: two.routed() == {"chat-1": ReplicaState.READY})
