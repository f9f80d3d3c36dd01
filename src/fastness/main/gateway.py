"""The gateway process, composed."""

from __future__ import annotations

import os
import time

from fastness.config import Settings
from fastness.main.process import (
    GATEWAY_VARIABLE,
    LISTENER_VARIABLE,
    RECEIPT_SALTS,
    WITNESSED,
    bind_listener,
    die_with_supervisor,
    milliseconds,
    open_log,
    prepare_directories,
    signing,
    stay_local,
    write_no_core,
)


def run_gateway(settings: Settings) -> int:
    """Run one gateway until SIGTERM."""
    import socket

    import uvloop

    from fastness.core.batch import SOCKET_NAME
    from fastness.core.identity import IdentitySnapshot
    from fastness.core.policy import PolicySnapshot
    from fastness.core.replica import RoutingSnapshot
    from fastness.core.tenant import AccessSnapshot
    from fastness.core.witnessed import WitnessSnapshot
    from fastness.engines.catalogue import dialect
    from fastness.gateway.process import GatewayParts, serve
    from fastness.identity.authenticator import Authenticator
    from fastness.identity.pepper import load_or_create
    from fastness.ledger.loop import LoopLedger
    from fastness.policy.cedar import CedarEngine
    from fastness.store.snapshot_file import SnapshotProblem, SnapshotReader

    write_no_core()
    die_with_supervisor()
    inherited = os.environ.get(LISTENER_VARIABLE)
    listener = socket.socket(fileno=int(inherited)) if inherited else bind_listener(settings)
    stay_local()
    run = prepare_directories(settings)
    name = os.environ.get(GATEWAY_VARIABLE, "gateway-0")
    log = open_log(settings, name)

    def report(problem: SnapshotProblem) -> None:
        log.record("warning", "snapshot.problem", reason=problem.fault.value, where=problem.path.name)

    def told(problem: SnapshotProblem) -> None:
        if settings.ledger.witness_policy:  # else there are no witnesses to tell of
            report(problem)

    parts = GatewayParts(
        settings=settings,
        access=Authenticator(load_or_create(settings.home / "secrets/pepper"), settings.identity),
        access_reader=SnapshotReader(run / "access.json", AccessSnapshot, report),
        routing_reader=SnapshotReader(run / "routing.json", RoutingSnapshot, report),
        identity_reader=SnapshotReader(run / "identity.json", IdentitySnapshot, report),
        policy_reader=SnapshotReader(run / "policy.json", PolicySnapshot, report),
        witness_reader=SnapshotReader(run / WITNESSED, WitnessSnapshot, told),
        policy_engine=CedarEngine,
        ledger=LoopLedger.open(
            settings.home / "ledger" / name, name, settings.ledger, milliseconds, signing=signing(settings)
        ),
        dialect=dialect,
        log=log,
        clock=time.time,
        listener=listener,
        probes=run / ("gateway.sock" if name == "gateway-0" else f"{name}.sock"),
        batches=run / SOCKET_NAME,
        control=run / "control.sock",
        reports=run / f"load-{name}.json",
        secret=load_or_create(settings.home / RECEIPT_SALTS),
        name=name,
    )
    return uvloop.run(serve(parts))
