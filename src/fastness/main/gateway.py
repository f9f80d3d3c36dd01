"""The gateway process, composed."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from fastness.config import ConfigError, Settings
from fastness.main.listeners import bind_listener
from fastness.main.process import (
    GATEWAY_VARIABLE,
    LISTENER_VARIABLE,
    SALT_DAYS,
    WITNESSED,
    die_with_supervisor,
    log_place,
    milliseconds,
    open_log,
    prepare_directories,
    signing,
    stay_local,
    write_no_core,
)
from fastness.main.trust import belongs, checking

if TYPE_CHECKING:
    import socket

    from fastness.gateway.http.remote import RemoteEngines
    from fastness.ledger.port import CallbackLedger
    from fastness.sealed.writer import Sealer


def run_gateway(settings: Settings) -> int:
    """Run one gateway until SIGTERM."""
    import uvloop

    from fastness.core.batch import SOCKET_NAME
    from fastness.core.gateways import socket_of
    from fastness.core.identity import IdentitySnapshot
    from fastness.core.own_process import PROCESSES, OwnProcesses
    from fastness.core.policy import PolicySnapshot
    from fastness.core.replica import RoutingSnapshot
    from fastness.core.retention import SealingSnapshot
    from fastness.core.tenant import AccessSnapshot
    from fastness.core.witnessed import WitnessSnapshot
    from fastness.engines.catalogue import dialect
    from fastness.gateway.process import GatewayParts, serve
    from fastness.identity.authenticator import Authenticator
    from fastness.identity.pepper import load_or_create
    from fastness.ledger.receipts.salt_secrets import DAY_MS, DaySalting, load_or_begin
    from fastness.policy.cedar import CedarEngine
    from fastness.store.snapshot_file import SnapshotProblem, SnapshotReader

    name = _name(settings)
    write_no_core()
    die_with_supervisor()
    listener = _listener(settings)
    stay_local()
    run = prepare_directories(settings)
    log = open_log(settings, name)

    def report(problem: SnapshotProblem) -> None:
        log.record("warning", "snapshot.problem", reason=problem.fault.value, where=problem.path.name)

    parts = GatewayParts(
        settings=settings,
        access=Authenticator(load_or_create(settings.home / "secrets/pepper"), settings.identity),
        access_reader=SnapshotReader(run / "access.json", AccessSnapshot, report),
        routing_reader=SnapshotReader(run / "routing.json", RoutingSnapshot, report),
        identity_reader=SnapshotReader(run / "identity.json", IdentitySnapshot, report),
        policy_reader=SnapshotReader(run / "policy.json", PolicySnapshot, report),
        witness_reader=SnapshotReader(run / WITNESSED, WitnessSnapshot),
        policy_engine=CedarEngine,
        sealing_reader=SnapshotReader(run / "sealing.json", SealingSnapshot, report),
        sealer=_sealer(settings, name),
        ledger=_ledger(settings, name),
        dialect=dialect,
        log=log,
        clock=time.time,
        listener=listener,
        probes=run / socket_of(name),
        batches=run / SOCKET_NAME,
        control=run / "control.sock",
        reports=run / f"load-{name}.json",
        salting=DaySalting(load_or_begin(settings.home / SALT_DAYS, milliseconds() // DAY_MS)),
        processes=SnapshotReader(run / PROCESSES, OwnProcesses).poll,
        name=name,
        remote=remote_engines(settings, run),
    )
    return uvloop.run(serve(parts))


def _name(settings: Settings) -> str:
    """Return which gateway this process is; raises ConfigError for one that there is not."""
    from fastness.core.gateways import FIRST, gateway_names

    name = os.environ.get(GATEWAY_VARIABLE, FIRST)
    if name not in gateway_names(settings.gateway.processes):
        raise ConfigError(
            f"{name} is none of this installation's gateways: gateway.processes is {settings.gateway.processes}, and "
            f"they are called {FIRST} and so on. Raise it for the whole installation, since slots are dealt out by it."
        )
    return name


def _listener(settings: Settings) -> socket.socket:
    """Take over the supervisor's listening socket, or make one, before no more sockets can be made."""
    import socket

    inherited = os.environ.get(LISTENER_VARIABLE)
    return socket.socket(fileno=int(inherited)) if inherited else bind_listener(settings)


def _ledger(settings: Settings, name: str) -> CallbackLedger:
    from fastness.ledger.loop import LoopLedger

    return LoopLedger.open(*log_place(settings, name), signing=signing(settings))


def _sealer(settings: Settings, name: str) -> Sealer:
    from fastness.sealed.writer import Sealer

    bounds = settings.retention
    return Sealer(settings.home / "sealed", name, bounds.waiting_bytes_max, bounds.segment_bytes_max, time.time)


def remote_engines(settings: Settings, run: Path) -> Callable[[], RemoteEngines] | None:
    """Return what makes connections to engines of other hosts, on the running loop; None on one that has none."""
    if not belongs(settings.home):
        return None
    from fastness.fleet.door.connector import ask_for
    from fastness.fleet.door.orders import CONNECTOR, ENGINE_PROTOCOL
    from fastness.gateway.http.remote import RemoteEngines
    from fastness.identity.cluster.folder import cluster_folder
    from fastness.identity.cluster.membership import Membership

    membership = Membership(cluster_folder(settings.home))
    context, check = membership.client_context(), checking(membership)

    return lambda: RemoteEngines(context, ENGINE_PROTOCOL, partial(ask_for, run / CONNECTOR), check)
