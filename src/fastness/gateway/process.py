"""One gateway process: reads the snapshots, listens, sweeps, drains."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import socket
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol, TypeVar

from fastness import __version__
from fastness.config import Settings
from fastness.config.document import configuration_digest
from fastness.core.event import Event, EventType, Scalar
from fastness.core.gateways import FIRST, gateway_names, socket_of
from fastness.core.identity import IdentitySnapshot
from fastness.core.own_process import OwnProcesses
from fastness.core.policy import PolicyBundle, PolicySnapshot
from fastness.core.replica import RoutingSnapshot
from fastness.core.retention import SealingSnapshot
from fastness.core.tenant import AccessSnapshot
from fastness.core.witnessed import WitnessSnapshot
from fastness.engines.port import Dialect
from fastness.gateway.app import App
from fastness.gateway.binding import Binding
from fastness.gateway.fellows import Fellows
from fastness.gateway.gateway import Authenticator, Gateway
from fastness.gateway.http import EngineConnections, HttpServer, RemoteEngines
from fastness.gateway.in_force import PolicyInForce
from fastness.gateway.leases import Leases
from fastness.gateway.meters import Meters
from fastness.gateway.pulse import Pulse
from fastness.gateway.reports import Reporter
from fastness.gateway.routing import Routing
from fastness.gateway.tls import tls_context
from fastness.gateway.wire.errors import error_body
from fastness.gateway.witnessed import Witnessed
from fastness.ledger.port import Ledger
from fastness.ledger.receipts.salt_secrets import DaySalting
from fastness.policy.port import PolicyEngine, PolicyProblem
from fastness.sealed.writer import Sealer
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


class PolicyReader(Reader[PolicySnapshot], Protocol):
    """The policy's snapshot, which has to be good now: one that was good before is not in force any more."""

    @property
    def problem(self) -> object | None:
        """What is wrong with the file at present; None when it holds what was read last."""
        ...


class Access(Authenticator, Protocol):
    """An authenticator that takes new snapshots."""

    def replace(self, snapshot: AccessSnapshot) -> None:
        """From now on, these tenants and keys."""
        ...

    def replace_identities(self, snapshot: IdentitySnapshot, now_s: float) -> None:
        """From now on, these issuers and services."""
        ...


@dataclass(frozen=True, slots=True)
class GatewayParts:
    """What the composition root gives a gateway. `listener` is bound, and will listen.

    `policy_engine` makes the engine of a policy, in a thread; raises PolicyProblem for one that cannot be in force.
    `probes` is where the supervisor asks for health, and batches for answers: a Unix socket, since they make no other.
    `batches` is where files and batches are kept, another one. `control` is where limits are leased, for the gateway
    called `name`, which is also its log's name. `reports` is the file that tells of its load. `remote` makes, on the
    running loop, the connections to engines of other hosts; None: there are none. `salting` is for receipts.
    `processes` returns how the supervisor's processes are, if that has changed.
    """

    settings: Settings
    access: Access
    access_reader: Reader[AccessSnapshot]
    routing_reader: Reader[RoutingSnapshot]
    identity_reader: Reader[IdentitySnapshot]
    policy_reader: PolicyReader
    witness_reader: Reader[WitnessSnapshot]
    policy_engine: Callable[[PolicyBundle], PolicyEngine]
    sealing_reader: Reader[SealingSnapshot]
    sealer: Sealer
    ledger: Ledger
    dialect: Callable[[str], Dialect]
    log: JsonLog
    clock: Callable[[], float]
    listener: socket.socket
    probes: Path
    control: Path
    reports: Path
    salting: DaySalting
    processes: Callable[[], OwnProcesses | None] = lambda: None
    name: str = FIRST
    batches: Path | None = None
    remote: Callable[[], RemoteEngines] | None = None


async def serve(parts: GatewayParts) -> int:
    """Serve until SIGTERM or SIGINT, then drain; return the exit code."""
    settings, loop = parts.settings, asyncio.get_running_loop()
    engines = EngineConnections(remote=parts.remote() if parts.remote else None)
    routing = Routing(settings.traffic, parts.dialect, engines.forget, loop.time, parts.clock, name=parts.name)
    gateway = Gateway(
        settings,
        routing,
        parts.access,
        parts.ledger,
        engines,
        Meters(GatewayMetrics(), parts.processes),
        parts.log,
        parts.clock,
        reread_access=lambda: _read_access(parts, gateway),
        sealer=parts.sealer,
        leases=Leases(parts.clock, engines, str(parts.control), parts.name, os.urandom(8).hex(), parts.log),
        binding=Binding(parts.name, parts.salting, configuration_digest(settings)),
        witnessed=Witnessed(parts.name, settings.ledger.witness_grace_s, parts.clock),
    )
    gateway.append(_configured(parts))
    app = App(gateway, parts.batches, parts.name, _fellows(parts, engines), parts.control)
    server = HttpServer(
        app,
        settings.gateway,
        new_request_id=_request_id,
        error_body=lambda refusal, _request_id: error_body(refusal),
        ssl=tls_context(settings.gateway),
    )
    app.connections = lambda: server.connections
    ended = _told_to_end(loop)
    _read_snapshots(parts, gateway)
    await _read_policy(parts, gateway)
    reporter = Reporter(parts.reports, parts.name, routing, parts.clock, parts.log)
    pulse = Pulse(routing, engines, str(parts.control))
    work = (_poll(parts, gateway), _sweep(gateway), gateway.leases.keep(), reporter.keep(), pulse.keep())
    tasks = [loop.create_task(one) for one in work]
    await server.listen_at(parts.probes)
    await server.listen_on(parts.listener)
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
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    await gateway.leases.close()
    await server.close()
    await engines.close()
    await parts.sealer.close()
    await parts.ledger.close()
    parts.log.record("info", "gateway.stopped")
    parts.log.flush()
    return 0


def _fellows(parts: GatewayParts, engines: EngineConnections) -> Fellows:
    others = (name for name in gateway_names(parts.settings.gateway.processes) if name != parts.name)
    return Fellows(engines, {name: str(parts.probes.parent / socket_of(name)) for name in others})


def _told_to_end(loop: asyncio.AbstractEventLoop) -> asyncio.Event:
    ended = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, ended.set)
    return ended


def _configured(parts: GatewayParts) -> Event:
    """The entry that says under which settings the answers after it are given."""
    digest = configuration_digest(parts.settings)
    said: dict[str, Scalar] = {"process": parts.name, "configuration": digest, "version": __version__}
    return Event(EventType.CONFIGURATION_LOADED, round(parts.clock() * 1_000), said)


async def _poll(parts: GatewayParts, gateway: Gateway) -> None:
    while True:
        _read_snapshots(parts, gateway)
        await _read_policy(parts, gateway)
        parts.log.flush()
        await asyncio.sleep(POLL_S)


def _read_snapshots(parts: GatewayParts, gateway: Gateway) -> None:
    _read_access(parts, gateway)
    if (identities := parts.identity_reader.poll()) is not None:
        parts.access.replace_identities(identities, parts.clock())
        gateway.access_changed()
    if (sealing := parts.sealing_reader.poll()) is not None:
        parts.sealer.replace(sealing)
    if (snapshot := parts.routing_reader.poll()) is not None:
        gateway.routing.replace(snapshot)
        if gateway.routing.portion is None:
            reason = f"the installation has {', '.join(snapshot.gateways)}: nothing is sent anywhere"
            parts.log.record("error", "gateway.not_known", reason=reason, version=snapshot.version)
    if (seen := parts.witness_reader.poll()) is not None:
        gateway.witnessed.replace(seen)


def _read_access(parts: GatewayParts, gateway: Gateway) -> bool:
    access = parts.access_reader.poll()
    if access is not None:
        parts.access.replace(access)
        gateway.leases.replace(access.limits)
        gateway.access_changed()
    return access is not None


async def _read_policy(parts: GatewayParts, gateway: Gateway) -> None:
    """Put the policy in force that the snapshot holds; without one that can be, nothing is permitted (law 4).

    The engine is made in a thread: reading and checking rules takes longer than the loop may stand still.
    """
    snapshot = parts.policy_reader.poll()
    if snapshot is None:
        if parts.policy_reader.problem is not None and gateway.policy is not None:
            gateway.put_in_force(None)
        return
    try:
        engine = await asyncio.to_thread(parts.policy_engine, snapshot.bundle)
        policy = PolicyInForce(engine, parts.settings.policy.decisions_max)
    except Exception as error:  # noqa: BLE001 - whatever is wrong with a policy, it is not in force
        reason = "invalid" if isinstance(error, PolicyProblem) else type(error).__name__
        parts.log.record("error", "policy.problem", reason=reason, version=snapshot.version)
        gateway.put_in_force(None)
        return
    gateway.put_in_force(policy)
    parts.log.record("info", "policy.in_force", version=snapshot.version)


async def _sweep(gateway: Gateway) -> None:
    while True:
        await asyncio.sleep(SWEEP_S)
        gateway.sweep()


_DRAWN_IDS: Final = 256
_drawn: Final[list[str]] = []


def _request_id() -> str:
    """Return 128 random bits, drawn from the kernel for many requests at a time."""
    if not _drawn:
        text = os.urandom(16 * _DRAWN_IDS).hex()
        _drawn.extend([f"req_{text[at : at + 32]}" for at in range(0, len(text), 32)])
    return _drawn.pop()
