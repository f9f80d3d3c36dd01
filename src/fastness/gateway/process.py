"""One gateway process: reads the snapshots, listens, sweeps, drains."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import socket
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Protocol, TypeVar

from fastness.config import Settings
from fastness.core.replica import RoutingSnapshot
from fastness.core.tenant import AccessSnapshot
from fastness.engines.port import Dialect
from fastness.gateway.app import App
from fastness.gateway.gateway import Authenticator, Gateway
from fastness.gateway.http import EngineConnections, HttpServer
from fastness.gateway.meters import Meters
from fastness.gateway.routing import Routing
from fastness.gateway.tls import tls_context
from fastness.gateway.wire.errors import error_body
from fastness.ledger.port import Ledger
from fastness.telemetry.log import JsonLog
from fastness.telemetry.metrics import GatewayMetrics

POLL_S: Final = 0.1
SWEEP_S: Final = 0.25

T_co = TypeVar("T_co", covariant=True)


class Reader(Protocol[T_co]):
    """A snapshot that somebody else writes."""

    def poll(self) -> T_co | None:
        """Return it when it changed."""
        ...


class Access(Authenticator, Protocol):
    """An authenticator that takes new snapshots."""

    def replace(self, snapshot: AccessSnapshot) -> None:
        """From now on, these tenants and keys."""
        ...


@dataclass(frozen=True, slots=True)
class GatewayParts:
    """What the composition root gives a gateway. `listener` is an open listening socket, or None to open one."""

    settings: Settings
    access: Access
    access_reader: Reader[AccessSnapshot]
    routing_reader: Reader[RoutingSnapshot]
    ledger: Ledger
    dialect: Callable[[str], Dialect]
    log: JsonLog
    clock: Callable[[], float]
    listener: socket.socket | None = None


async def serve(parts: GatewayParts) -> int:
    """Serve until SIGTERM or SIGINT, then drain; return the exit code."""
    settings, loop = parts.settings, asyncio.get_running_loop()
    engines = EngineConnections()
    routing = Routing(settings.traffic, parts.dialect, engines.forget, loop.time)
    meters = Meters(GatewayMetrics())
    gateway = Gateway(
        settings,
        routing,
        parts.access,
        parts.ledger,
        engines,
        meters,
        parts.log,
        parts.clock,
        reread_access=lambda: _read_access(parts),
    )
    app = App(gateway)
    server = HttpServer(
        app,
        settings.gateway,
        new_request_id=_request_id,
        error_body=lambda refusal, _request_id: error_body(refusal),
        ssl=tls_context(settings.gateway),
    )
    app.connections = lambda: server.connections
    ended = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, ended.set)
    _read_snapshots(parts, routing)
    poller = loop.create_task(_poll(parts, routing))
    sweeper = loop.create_task(_sweep(gateway))
    if parts.listener is not None:
        await server.listen_on(parts.listener)
    else:
        await server.listen(settings.gateway.host, settings.gateway.port)
    # Everything made so far lives as long as the process: the collector need not look at it again.
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)
    parts.log.record("info", "gateway.listening", pid=os.getpid())
    await ended.wait()
    parts.log.record("info", "gateway.draining", count=server.connections)
    app.draining = True
    await server.drain(settings.gateway.drain_timeout_s)
    await app.cut()
    poller.cancel()
    sweeper.cancel()
    await asyncio.gather(poller, sweeper, return_exceptions=True)
    await server.close()
    await engines.close()
    await parts.ledger.close()
    parts.log.record("info", "gateway.stopped")
    parts.log.flush()
    return 0


async def _poll(parts: GatewayParts, routing: Routing) -> None:
    while True:
        _read_snapshots(parts, routing)
        parts.log.flush()
        await asyncio.sleep(POLL_S)


def _read_snapshots(parts: GatewayParts, routing: Routing) -> None:
    _read_access(parts)
    if (snapshot := parts.routing_reader.poll()) is not None:
        routing.replace(snapshot)


def _read_access(parts: GatewayParts) -> bool:
    access = parts.access_reader.poll()
    if access is not None:
        parts.access.replace(access)
    return access is not None


async def _sweep(gateway: Gateway) -> None:
    while True:
        await asyncio.sleep(SWEEP_S)
        gateway.sweep()


def _request_id() -> str:
    return "req_" + os.urandom(16).hex()
