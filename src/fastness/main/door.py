"""The door of this host, composed: the one process that other hosts of the cluster may speak to."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from fastness.config import Settings
from fastness.main.process import (
    UNSEALED_VARIABLE,
    die_with_supervisor,
    open_log,
    prepare_directories,
    write_no_core,
)

CONNECT_TIMEOUT_S = 3.0
READ_BUFFER_BYTES = 1_048_576

if TYPE_CHECKING:
    from fastness.fleet.door.orders import ModelSource
    from fastness.fleet.door.server import Guest
    from fastness.identity.cluster.membership import Membership

Streams = tuple[asyncio.StreamReader, asyncio.WriteTransport]


@dataclass(frozen=True, slots=True)
class CertifiedGuest:
    """A host that came, by its certificate."""

    name: str
    gives_orders: bool
    serial: int


def run_door(settings: Settings) -> int:
    """Be the door until SIGTERM. Raises NotTrusted when this host belongs to no cluster, OSError."""
    import uvloop

    from fastness.fleet.door.orders import CONNECTOR, ORDERS, REPORT, DoorOrders
    from fastness.fleet.door.process import DoorParts, serve
    from fastness.identity.cluster.folder import cluster_folder
    from fastness.identity.cluster.membership import Membership
    from fastness.store.snapshot_file import SnapshotReader, write_snapshot

    write_no_core()
    die_with_supervisor()
    membership = Membership(cluster_folder(settings.home))
    keep_to_doors(settings.cluster.port)
    run = prepare_directories(settings)
    log = open_log(settings, "door")
    parts = DoorParts(
        context=membership.server_context(),
        judge=judging(membership),
        addresses=settings.cluster.address.split() or list(membership.claims.addresses),
        port=settings.cluster.port,
        connector=run / CONNECTOR,
        orders=SnapshotReader(run / ORDERS, DoorOrders).poll,
        refresh=refreshing(membership, lambda reason: log.record("error", "revoked.unreadable", reason=reason)),
        counts=lambda serial: serial not in membership.revoked.serials,
        models=settings.home / "models",
        reach=reaching(membership),
        report=lambda report: write_snapshot(run / REPORT, report, durable=False),
        log=log,
    )
    return uvloop.run(serve(parts))


def keep_to_doors(port: int) -> None:
    """Give up, for this process and all that it starts, all sockets but Unix ones and TCP on the port of the doors."""
    from fastness.perimeter import reach
    from fastness.perimeter.seal import NotSealed

    try:
        reach.keep_to((port,))
    except NotSealed:
        if not os.environ.get(UNSEALED_VARIABLE):
            raise


def judging(membership: Membership) -> Callable[[bytes], Guest]:
    """Return what tells who somebody is whose certificate TLS has verified; it raises Refused."""
    from fastness.fleet.door.server import Refused
    from fastness.identity.cluster.certificate import NotTrusted
    from fastness.identity.cluster.claims import HostRole

    def judge(der: bytes) -> Guest:
        try:
            found = membership.check(der, time.time())
        except NotTrusted as error:
            raise Refused(str(error)) from None
        return CertifiedGuest(found.claims.name, found.claims.role is HostRole.HEAD, found.serial)

    return judge


def reaching(membership: Membership) -> Callable[[ModelSource], Awaitable[Streams]]:
    """Return what connects to the door of another host for models."""
    from fastness.fleet.door.connector import connect
    from fastness.fleet.door.orders import MODEL_PROTOCOL, models_name

    context, check = membership.client_context(), checking(membership)
    context.set_alpn_protocols([MODEL_PROTOCOL])

    async def reach(source: ModelSource) -> Streams:
        loop, reader = asyncio.get_running_loop(), asyncio.StreamReader(READ_BUFFER_BYTES)
        made = await connect(source.place, CONNECT_TIMEOUT_S)
        try:
            transport, _ = await loop.create_connection(
                lambda: asyncio.StreamReaderProtocol(reader),
                sock=made,
                ssl=context,
                server_hostname=models_name(source.host),
                ssl_handshake_timeout=CONNECT_TIMEOUT_S,
            )
        except BaseException:
            made.close()
            raise
        try:
            check(transport.get_extra_info("ssl_object").getpeercert(binary_form=True) or b"")
        except OSError:
            transport.abort()
            raise
        return reader, transport

    return reach


def checking(membership: Membership) -> Callable[[bytes], None]:
    """Return what checks the certificate of a door that we reached; it raises OSError, and knows who was revoked."""
    from fastness.identity.cluster.certificate import NotTrusted

    refresh = refreshing(membership, lambda _reason: None)

    def check(der: bytes) -> None:
        refresh()
        try:
            membership.check(der, time.time())
        except NotTrusted as error:
            raise OSError(str(error)) from None

    return check


def refreshing(membership: Membership, tell: Callable[[str], None]) -> Callable[[], bool]:
    """Return what reads the list of revoked certificates again. One that cannot be read leaves the last in force."""
    from fastness.identity.cluster.certificate import NotTrusted

    def refresh() -> bool:
        try:
            return membership.refresh()
        except NotTrusted as error:
            tell(str(error))
            return False

    return refresh


def belongs(home: Path) -> bool:
    """Tell whether this host belongs to a cluster."""
    from fastness.identity.cluster.folder import CERTIFICATE, cluster_folder

    return (cluster_folder(home) / CERTIFICATE).exists()
