"""The supervisor, composed."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from fastness.cli.composition import UpProgress
from fastness.config import Settings, run_directory
from fastness.main.anew import Companions, look_at
from fastness.main.asking import first_admin_key, why
from fastness.main.broker import broker
from fastness.main.children import own_process
from fastness.main.controls import controls
from fastness.main.identities import check_identities
from fastness.main.listeners import bind_listeners
from fastness.main.neighbours import neighbours
from fastness.main.node import digests, ensuring, keeping, offer
from fastness.main.outside import outside
from fastness.main.process import (
    GATEWAY_VARIABLE,
    UNSEALED_VARIABLE,
    log_place,
    open_log,
    prepare_directories,
    signing,
    stay_local,
    write_no_core,
)
from fastness.main.starter import starter

if TYPE_CHECKING:
    import socket

    from fastness.control.declaration import Declared
    from fastness.control.site import Site
    from fastness.fleet.adopted import Starter
    from fastness.fleet.supervised import Supervised
    from fastness.store.snapshot_file import SnapshotProblem
    from fastness.telemetry.log import JsonLog


CONTROL = "control.sock"


def run_up(settings: Settings, progress: UpProgress, unsealed: bool) -> int:
    """Run the supervisor until it is told to stop; raises ConfigError, SealUnavailable, StartRefused."""
    import uvloop

    from fastness.cli.composition import UpReady
    from fastness.control.declaration import Declared
    from fastness.control.site import Up
    from fastness.control.supervisor import Supervisor
    from fastness.gateway.tls import tls_context

    def tell(up: Up) -> None:
        progress.ready(
            UpReady(
                base_url=up.base_url,
                admin_key=up.admin_key,
                console_url=None,
                pid=up.pid,
                elapsed_s=up.elapsed_s,
                models=up.models,
                prove_line="Nothing leaves this machine. Prove it: fastness perimeter prove",
                sealed=up.sealed,
            )
        )

    async def supervise() -> int:
        made = replace(site(settings, declared, listeners, starts), companions=partial(look_at, companions))
        return await Supervisor(made, progress, unsealed=unsealed).run(tell)

    write_no_core()
    tls_context(settings.gateway)  # what cannot be used is said before anything starts
    run = prepare_directories(settings)
    check_identities(settings, run)
    declared = Declared(settings, run / "policy.json")
    listeners = bind_listeners(settings, settings.gateway.processes)
    if unsealed:
        os.environ[UNSEALED_VARIABLE] = "1"
    companions: Companions = []
    with (
        broker(settings, run, companions),
        outside(settings, companions) if settings.ray.address else nullcontext(),
        starter(settings, companions, unsealed=unsealed) as starts,
    ):
        stay_local(unsealed)  # from here on neither this process nor one that it starts makes a socket to the outside
        return uvloop.run(supervise())


def site(
    settings: Settings, declared: Declared, listeners: Sequence[socket.socket], starts: Starter | None = None
) -> Site:
    """Build what the supervisor stands on; each gateway gets one of the listeners. `starts` is for families."""
    import asyncio

    from fastness.control.gateways import Front, Gateways
    from fastness.control.run_files import ORDERS
    from fastness.control.site import Site
    from fastness.core.gateways import gateway_names, socket_of
    from fastness.core.observation import NodeOrders
    from fastness.fleet.probe import status_of
    from fastness.ledger.file import FileLedger
    from fastness.perimeter.local import LocalPerimeter
    from fastness.registry.library import ModelLibrary
    from fastness.store.snapshot_file import SnapshotReader

    run = run_directory(settings.home, os.getuid())
    log = open_log(settings, "supervisor")
    perimeter = LocalPerimeter()
    library = ModelLibrary(settings.home)

    def prove_seal() -> str:
        return f"proved: {perimeter.check().summary()}"

    def gateway(name: str, listener: socket.socket, on_change: Callable[[], None]) -> Supervised:
        async def is_ready() -> bool:
            return await status_of(run / socket_of(name), "/livez", 2.0) == 200

        stop_timeout_s = settings.gateway.drain_timeout_s + 5.0
        return own_process(
            settings, "gateway", is_ready, stop_timeout_s, listener, on_change, variables={GATEWAY_VARIABLE: name}
        )

    named = list(zip(gateway_names(len(listeners)), listeners, strict=True))
    return Site(
        settings=settings,
        declared=declared,
        run_directory=run,
        ledger=FileLedger.open(*log_place(settings, "node"), signing=signing(settings)),
        log=log,
        clock=time.time,
        ensure_model=ensuring(settings, library),
        is_revoked=library.is_revoked,
        revoked=library.revoked,
        prove_seal=prove_seal,
        known=library.known,
        known_adapter=library.known_adapter,
        node=partial(keeping, settings, run, perimeter, library, starts),
        kept_orders=SnapshotReader(settings.home / ORDERS, NodeOrders, partial(_report, log)).poll,
        new_orders=SnapshotReader(run / ORDERS, NodeOrders).poll,
        offer=offer(settings),
        digests=partial(digests, settings.home),
        first_admin=lambda: asyncio.to_thread(first_admin_key, run / CONTROL),
        why=lambda name: asyncio.to_thread(why, run / CONTROL, name),
        controls=partial(controls, settings, run / CONTROL),
        gateways=Gateways([Front(name, one, partial(gateway, name, one)) for name, one in named]),
        neighbours=neighbours(settings, declared, log) if settings.ray.address else None,
    )


def _report(log: JsonLog, problem: SnapshotProblem) -> None:
    """A node starts without the orders that it cannot read: control gives them again."""
    if problem.fault.value != "missing":
        log.record("warning", "snapshot.problem", reason=problem.fault.value, where=problem.path.name)
