"""A host of a cluster that the head gives orders to, composed."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from fastness.cli.composition import NodeJoined, UpProgress
from fastness.config import ConfigError, Settings
from fastness.main.anew import Companions, look_at
from fastness.main.node import digests, offer
from fastness.main.outside import outside
from fastness.main.process import (
    UNSEALED_VARIABLE,
    milliseconds,
    open_log,
    prepare_directories,
    stay_local,
    write_no_core,
)
from fastness.main.starter import starter

if TYPE_CHECKING:
    from fastness.control.host import HostParts
    from fastness.control.leased_node import LeasedParts
    from fastness.core.replica import Replica
    from fastness.fleet.adopted import Starter
    from fastness.fleet.node import LocalNode
    from fastness.identity.cluster.invitation import HeadPlace
    from fastness.identity.cluster.membership import Membership


def run_node(settings: Settings, progress: UpProgress, unsealed: bool, joined: Callable[[NodeJoined], None]) -> int:
    """Run the node until it is told to stop; raises ConfigError, SealUnavailable, StartRefused."""
    import uvloop

    from fastness.control.host import Host
    from fastness.identity.cluster.certificate import NotTrusted
    from fastness.identity.cluster.claims import HostRole
    from fastness.identity.cluster.folder import cluster_folder
    from fastness.identity.cluster.invitation import read_head
    from fastness.identity.cluster.membership import Membership

    write_no_core()
    run = prepare_directories(settings)
    try:
        membership = Membership(cluster_folder(settings.home))
        if membership.claims.role is HostRole.HEAD:
            raise ConfigError(
                f"{membership.claims.name} is the head of its cluster, which nobody gives orders to. "
                f"Start it: fastness up --ray {membership.claims.addresses[0]}"
            )
        head = read_head(cluster_folder(settings.home))
    except NotTrusted as error:
        raise ConfigError(str(error)) from None
    settings = replace(settings, node=replace(settings.node, name=membership.claims.name))
    if unsealed:
        os.environ[UNSEALED_VARIABLE] = "1"

    def told(elapsed_s: float) -> None:
        joined(NodeJoined(membership.claims.name, head.name, os.getpid(), elapsed_s, not unsealed))

    async def keep() -> int:
        parts = _parts(settings, run, membership, head, unsealed, starts)
        made = replace(parts, companions=partial(look_at, companions))
        return await Host(made, progress, unsealed=unsealed).run(told)

    companions: Companions = []
    with outside(settings, companions), starter(settings, companions, unsealed=unsealed) as starts:
        stay_local(unsealed)
        return uvloop.run(keep())


def _parts(
    settings: Settings, run: Path, membership: Membership, head: HeadPlace, unsealed: bool, starts: Starter | None
) -> HostParts:
    from fastness.control.host import HostParts
    from fastness.ledger.file import FileLedger
    from fastness.perimeter.local import LocalPerimeter

    allowed, perimeter = asyncio.Event(), LocalPerimeter()
    return HostParts(
        leased=_leased(settings, run, membership, head, allowed, unsealed, starts),
        allowed=allowed,
        ledger=FileLedger.open(settings.home / "ledger/node", "node", settings.ledger, milliseconds),
        log=open_log(settings, "supervisor"),
        clock=time.time,
        prove_seal=lambda: f"proved: {perimeter.check().summary()}",
    )


def _leased(
    settings: Settings,
    run: Path,
    membership: Membership,
    head: HeadPlace,
    allowed: asyncio.Event,
    unsealed: bool,
    starts: Starter | None,
) -> LeasedParts:
    from fastness.control.leased_node import LeasedParts
    from fastness.control.neighbours import place_of
    from fastness.control.post import REPORT, WORD, SealedPost
    from fastness.control.wanted_models import WantedModels
    from fastness.core.marking import Label, Node
    from fastness.fleet.door.orders import REPORT as REPORT_OF_DOOR
    from fastness.fleet.door.orders import DoorReport
    from fastness.fleet.keeper import ReplicaKeeper
    from fastness.fleet.node import LocalNode
    from fastness.main.engines import Engines
    from fastness.perimeter.local import LocalPerimeter
    from fastness.registry.library import ModelLibrary
    from fastness.store.snapshot_file import SnapshotReader

    claims = membership.claims
    place = Node(claims.name, claims.jurisdiction, claims.operator, "", Label(claims.ceiling))
    offered, library = offer(settings)(place), ModelLibrary(settings.home)
    models = WantedModels(SnapshotReader(run / REPORT_OF_DOOR, DoorReport).poll)

    def node(tell: Callable[[Replica | None], None]) -> LocalNode:
        keeper = ReplicaKeeper(settings.engine, tell, time.time)
        sealed, obtain = LocalPerimeter(), models.obtain
        engines = Engines(settings, run, sealed, library, allowed, unsealed=unsealed, obtain=obtain, starter=starts)
        return LocalNode(claims.name, keeper, engines, lambda _orders: None, tell)

    def take_revoked(pem: str) -> None:
        membership.take_revoked(pem.encode())

    return LeasedParts(
        run_directory=run,
        head=head.name,
        post=SealedPost(membership, REPORT, WORD, milliseconds),
        offer=lambda: offered,
        digests=partial(digests, settings.home),
        take_revoked=take_revoked,
        node=node,
        clock_ms=milliseconds,
        now=time.monotonic,
        lease_s=settings.ray.lease_s,
        models=models,
        take_record=library.take_record,
        head_door=place_of(head.addresses[0], head.port),
    )
