"""The door of this host, composed: the one process that other hosts of the cluster may speak to."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from fastness.config import Settings
from fastness.main.process import (
    UNSEALED_VARIABLE,
    die_with_supervisor,
    open_log,
    prepare_directories,
    write_no_core,
)
from fastness.main.trust import checking, judging, refreshing

CONNECT_TIMEOUT_S = 3.0
READ_BUFFER_BYTES = 1_048_576
FILES_MAX = 32_768
"""Two for each connection, and some."""

if TYPE_CHECKING:
    from fastness.fleet.door.gangs import Connect
    from fastness.fleet.door.orders import HostPlace
    from fastness.fleet.door.wire import Wire
    from fastness.identity.cluster.membership import Membership

Streams = tuple[asyncio.StreamReader, asyncio.WriteTransport]


def run_door(settings: Settings) -> int:
    """Be the door until SIGTERM. Raises NotTrusted when this host belongs to no cluster, OSError."""
    import uvloop

    from fastness.fleet.door.orders import CONNECTOR, GANGS, ORDERS, REPORT, DoorOrders
    from fastness.fleet.door.process import DoorParts, serve
    from fastness.identity.cluster.claims import HostRole
    from fastness.identity.cluster.folder import cluster_folder
    from fastness.identity.cluster.membership import Membership
    from fastness.store.snapshot_file import SnapshotReader, write_snapshot

    write_no_core()
    die_with_supervisor()
    _open_many_files()
    membership = Membership(cluster_folder(settings.home))
    keep_to_ports(settings.cluster.port)
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
        models=settings.home / "models",
        reach=reaching(membership),
        run_directory=run,
        is_head=membership.claims.role is HostRole.HEAD,
        open_line=writing(membership),
        gangs=run / GANGS,
        wire=wiring(membership),
        report=lambda report: write_snapshot(run / REPORT, report, durable=False),
        log=log,
    )
    return uvloop.run(serve(parts))


def _open_many_files() -> None:
    import resource

    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(most, FILES_MAX), most))


def run() -> None:
    """Be the door, in a process that was started for it."""
    from fastness.config import load

    sys.exit(run_door(load(os.environ)[0]))


def keep_to_ports(*ports: int) -> None:
    """Give up, for this process and all that it starts, all sockets but Unix ones and TCP on these ports."""
    from fastness.perimeter import reach
    from fastness.perimeter.seal import NotSealed

    try:
        reach.keep_to(ports)
    except NotSealed:
        if not os.environ.get(UNSEALED_VARIABLE):
            raise


def reaching(membership: Membership) -> Callable[[HostPlace], Awaitable[Streams]]:
    """Return what connects to the door of another host for models."""
    from fastness.fleet.door.orders import MODEL_PROTOCOL, models_name

    enter = _entering(membership, MODEL_PROTOCOL)

    async def reach(source: HostPlace) -> Streams:
        reader = asyncio.StreamReader(READ_BUFFER_BYTES)
        return reader, await enter(source.place, models_name(source.host), asyncio.StreamReaderProtocol(reader))

    return reach


def writing(membership: Membership) -> Callable[[HostPlace, asyncio.Protocol], Awaitable[None]]:
    """Return what connects to the door of the head for letters."""
    from fastness.fleet.door.orders import LETTER_PROTOCOL, letters_name

    enter = _entering(membership, LETTER_PROTOCOL)

    async def write(head: HostPlace, line: asyncio.Protocol) -> None:
        await enter(head.place, letters_name(head.host), line)

    return write


def wiring(membership: Membership) -> Connect:
    """Return what connects to the door of another host for a gang."""
    from fastness.fleet.door.orders import GANG_PROTOCOL

    enter = _entering(membership, GANG_PROTOCOL)

    async def wire(made: Wire, place: str, name: str) -> None:
        await enter(place, name, made)

    return wire


def _entering(
    membership: Membership, protocol: str
) -> Callable[[str, str, asyncio.Protocol], Awaitable[asyncio.WriteTransport]]:
    """Return what connects to a door at `address:port` for one of our protocols; it raises OSError.

    Whoever answers must prove to be the server of that name.
    """
    from fastness.fleet.door.connector import connect

    context, check = membership.client_context(), checking(membership)
    context.set_alpn_protocols([protocol])

    async def enter(place: str, name: str, inside: asyncio.Protocol) -> asyncio.WriteTransport:
        made = await connect(place, CONNECT_TIMEOUT_S)
        try:
            transport, _ = await asyncio.get_running_loop().create_connection(
                lambda: inside,
                sock=made,
                ssl=context,
                server_hostname=name,
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
        return transport

    return enter
