"""The gateway process, composed."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

from fastness.config import ConfigError, Settings
from fastness.main.listeners import bind_listener
from fastness.main.process import (
    GATEWAY_VARIABLE,
    LISTENER_VARIABLE,
    die_with_supervisor,
    milliseconds,
    open_log,
    prepare_directories,
    signing,
    stay_local,
    write_no_core,
)

if TYPE_CHECKING:
    from fastness.ledger.port import CallbackLedger
    from fastness.sealed.writer import Sealer


def run_gateway(settings: Settings) -> int:
    """Run one gateway until SIGTERM."""
    import socket

    import uvloop

    from fastness.core.batch import SOCKET_NAME
    from fastness.core.gateways import FIRST, gateway_names, socket_of
    from fastness.core.identity import IdentitySnapshot
    from fastness.core.policy import PolicySnapshot
    from fastness.core.replica import RoutingSnapshot
    from fastness.core.retention import SealingSnapshot
    from fastness.core.tenant import AccessSnapshot
    from fastness.engines.catalogue import dialect
    from fastness.gateway.process import GatewayParts, serve
    from fastness.identity.authenticator import Authenticator
    from fastness.identity.pepper import load_or_create
    from fastness.policy.cedar import CedarEngine
    from fastness.store.snapshot_file import SnapshotProblem, SnapshotReader

    name = os.environ.get(GATEWAY_VARIABLE, FIRST)
    if name not in gateway_names(settings.gateway.processes):
        raise ConfigError(
            f"{name} is none of this installation's gateways: gateway.processes is {settings.gateway.processes}, and "
            f"they are called {FIRST} and so on. Raise it for the whole installation, since slots are dealt out by it."
        )
    write_no_core()
    die_with_supervisor()
    inherited = os.environ.get(LISTENER_VARIABLE)
    listener = socket.socket(fileno=int(inherited)) if inherited else bind_listener(settings)
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
        name=name,
    )
    return uvloop.run(serve(parts))


def _ledger(settings: Settings, name: str) -> CallbackLedger:
    from fastness.ledger.loop import LoopLedger

    directory = settings.home / "ledger" / name
    return LoopLedger.open(directory, name, settings.ledger, milliseconds, signing=signing(settings))


def _sealer(settings: Settings, name: str) -> Sealer:
    from fastness.sealed.writer import Sealer

    bounds = settings.retention
    return Sealer(settings.home / "sealed", name, bounds.waiting_bytes_max, bounds.segment_bytes_max, time.time)
